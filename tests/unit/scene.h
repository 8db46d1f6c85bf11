/* A server without threads, its visitors, which are the test's, and a clock that the test turns. The
 * model is a function with one input, x, and two outputs: y, and z, which has one byte more. */
#ifndef GP_TESTS_SCENE_H
#define GP_TESTS_SCENE_H

#include "server/server.h"
#include "server/turn.h"

#include "still_poller.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SCENE_N = 32, SCENE_LARGE = 4 << 20 /* more than a socket holds */ };
enum { SCENE_POOL_BYTES = 64 << 20, SCENE_SHARE_BYTES = SCENE_POOL_BYTES / 4 };

/* When it begins: in the far future, so that no timerfd fires. */
#define SCENE_NS (1000000000 * CLOCK_S)

struct visitor {
    struct connection *c; /* its other end */
    int fd;
    size_t n_received;
    char received[2048]; /* the first of them, terminated */
    bool is_ended;       /* by the server */
    size_t n_stuffed;
};

struct scene {
    struct gp_server *server;
    struct visitor visitors[SCENE_N];
    int64_t run_ns; /* how long a run takes */
    unsigned n_runs;
    void (*during)(struct scene *scene); /* what happens during each; or NULL */
};

/* A server with these options (NULL: the defaults), one slot and a pool of SCENE_POOL_BYTES. */
struct scene *scene_begin(const struct gp_server_options *options);

/* All visitors leave, and nothing is left of them. */
void scene_end(struct scene *scene);

/* The i-th visitor, who comes from a struct sockaddr_in6 or another of that size; NULL: through a unix
 * socket. */
struct visitor *scene_connect(struct scene *scene, int i, const void *from);

/* The same, but he has said this before he is let in, or refused (c is NULL where his connection has been
 * closed at once); without has_descriptors his is a spare. False: others must have a turn before the next
 * one is let in. */
bool scene_knock(struct scene *scene, int i, const void *from, bool has_descriptors,
                 const char *text);

/* A struct sockaddr_in6 or in, cut to that of the first, with this address and port 4567. */
const void *scene_address(struct sockaddr_in6 *from, const char *text);

void scene_leave(struct scene *scene, struct visitor *visitor);

/* Serves whatever there is to be served. */
void scene_serve(struct scene *scene);

/* What is sent last is not served yet. */
void scene_send(struct scene *scene, struct visitor *visitor, const void *bytes,
                size_t size);

/* Sends a text, or zeros, and serves it. */
void scene_say(struct scene *scene, struct visitor *visitor, const char *text);
void scene_say_zeros(struct scene *scene, struct visitor *visitor, size_t n);

/* The head of a request that begins like this, "POST /", with a body of that length. */
void scene_announce(struct scene *scene, struct visitor *visitor, const char *begins,
                    size_t length);

/* A request with so many bytes of x, for so many of y, or for these outputs; to be freed. */
char *scene_message(size_t x_bytes, const char *y_bytes, size_t *size);
char *scene_message_for(const char *const *names, uint32_t n_names, size_t x_bytes,
                        const char *y_bytes, size_t *size);

/* Sends and frees it, with more header fields; what is sent last is not served yet. */
void scene_post_message(struct scene *scene, struct visitor *visitor, char *message,
                        size_t size, const char *fields);

/* Makes it and sends it. */
void scene_post(struct scene *scene, struct visitor *visitor, size_t x_bytes,
                const char *y_bytes, const char *fields);

/* The same, with 8 bytes of x, for these outputs. */
void scene_post_for(struct scene *scene, struct visitor *visitor,
                    const char *const *names, uint32_t n_names, const char *y_bytes);

/* The same for y, in chunks. */
void scene_post_chunked(struct scene *scene, struct visitor *visitor, size_t x_bytes,
                        const char *y_bytes);

/* Receives until the server has nothing more to send; what comes has to begin with this. */
void scene_hear(struct scene *scene, struct visitor *visitor, const char *begins);

/* The same: exactly this comes, a text in plain answer with these fields behind its length. */
void scene_hear_text(struct scene *scene, struct visitor *visitor, const char *status,
                     const char *fields, const char *text);

/* The same: nothing comes, and the connection goes on. */
void scene_hear_nothing(struct scene *scene, struct visitor *visitor);

/* Fills what the server sends to the visitor through, as if he did not read; and he reads that. */
void scene_stuff(struct visitor *visitor);
void scene_unstuff(struct visitor *visitor);

/* So long after the beginning; the second ends what is late then. */
void scene_turn_to(int64_t ms);
void scene_expire_at(struct scene *scene, int64_t ms);

#endif
