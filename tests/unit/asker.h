/* Makes round trips over one link to a scripted server. */
#ifndef GP_TESTS_ASKER_H
#define GP_TESTS_ASKER_H

#include "client/roundtrip.h"

#include "scripted.h"

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
#define OK_ANSWER OK_HEAD "ok"

struct asker {
    struct scripted server;
    struct client_link link;
    struct client_buffers buffers;
    struct client_reply reply;
    char *scratch;
    struct gp_error err;
};

extern const struct gp_encoding no_parts;

/* The server is behind a unix socket, since it can tell then what the client has read. */
void asker_begin(struct asker *a, const struct script_step *steps, size_t n_steps,
                 const char *message, size_t message_size);
#define BEGIN(a, ...)                                                                    \
    static const struct script_step steps[] = {__VA_ARGS__};                             \
    asker_begin(a, steps, sizeof steps / sizeof *steps, NULL, 0)

/* Waits for the end of the script. */
void asker_end(struct asker *a);

enum gp_status asker_ask(struct asker *a, const struct gp_encoding *message,
                         int64_t deadline_ns);

/* With 8 MiB, which the socket does not take. */
void asker_ask_at_length(struct asker *a);

/* An empty request is answered so. */
void assert_answered(struct asker *a, int status, const char *body);

/* It fails, with these words behind the server's address, and the link is closed. */
void assert_told(const struct asker *a, enum gp_status got, enum gp_status status,
                 const char *words);
void assert_fails(struct asker *a, enum gp_status status, const char *words);

#endif
