/* A server that follows a script, on a thread of the test: for what no sane server does.
 * Every wait in it ends after two seconds, and the first step that fails is told by
 * scripted_finish. */
#ifndef GP_TESTS_SCRIPTED_H
#define GP_TESTS_SCRIPTED_H

#include <graphpipe/client.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum script_action {
    SCRIPT_ACCEPT,
    SCRIPT_READ,         /* a whole request */
    SCRIPT_READ_HEAD,    /* its head; the body stays where it is */
    SCRIPT_READ_BODY,    /* that body */
    SCRIPT_SEND,         /* text */
    SCRIPT_DRIP,         /* text, byte by byte */
    SCRIPT_ANSWER,       /* 200 with the message */
    SCRIPT_MESSAGE,      /* the message alone */
    SCRIPT_CHUNKS,       /* the message, chunked: `size` bytes each */
    SCRIPT_CLOSE,        /* with whatever was not read: a reset, then */
    SCRIPT_RESET,        /* at once, dropping what was not sent */
    SCRIPT_DEAF,         /* takes what has come, and no more; the client's sends fail */
    SCRIPT_AWAIT_HANGUP, /* reads nothing until the client has closed, then closes */
    SCRIPT_AWAIT_CLOSE,  /* reads what comes until the client has closed, then closes */
    SCRIPT_PAUSE,        /* `size` milliseconds */
    /* Turns the clock by `size` milliseconds, as soon as the client has read what was sent.
     * Over a unix socket, which tells that. */
    SCRIPT_TURN
};

struct script_step {
    enum script_action action;
    const char *text;
    size_t size;
};

#define ACCEPT                                                                           \
    {                                                                                    \
        .action = SCRIPT_ACCEPT                                                          \
    }
#define READ                                                                             \
    {                                                                                    \
        .action = SCRIPT_READ                                                            \
    }
#define READ_HEAD                                                                        \
    {                                                                                    \
        .action = SCRIPT_READ_HEAD                                                       \
    }
#define READ_BODY                                                                        \
    {                                                                                    \
        .action = SCRIPT_READ_BODY                                                       \
    }
#define SEND(words)                                                                      \
    {                                                                                    \
        .action = SCRIPT_SEND, .text = (words)                                           \
    }
#define DRIP(words)                                                                      \
    {                                                                                    \
        .action = SCRIPT_DRIP, .text = (words)                                           \
    }
#define ANSWER                                                                           \
    {                                                                                    \
        .action = SCRIPT_ANSWER                                                          \
    }
#define MESSAGE                                                                          \
    {                                                                                    \
        .action = SCRIPT_MESSAGE                                                         \
    }
#define CHUNKS(n)                                                                        \
    {                                                                                    \
        .action = SCRIPT_CHUNKS, .size = (n)                                             \
    }
#define CLOSE                                                                            \
    {                                                                                    \
        .action = SCRIPT_CLOSE                                                           \
    }
#define RESET                                                                            \
    {                                                                                    \
        .action = SCRIPT_RESET                                                           \
    }
#define DEAF                                                                             \
    {                                                                                    \
        .action = SCRIPT_DEAF                                                            \
    }
#define AWAIT_HANGUP                                                                     \
    {                                                                                    \
        .action = SCRIPT_AWAIT_HANGUP                                                    \
    }
#define PAUSE(ms)                                                                        \
    {                                                                                    \
        .action = SCRIPT_PAUSE, .size = (ms)                                             \
    }
#define AWAIT_CLOSE                                                                      \
    {                                                                                    \
        .action = SCRIPT_AWAIT_CLOSE                                                     \
    }
#define PAUSE(ms)                                                                        \
    {                                                                                    \
        .action = SCRIPT_PAUSE, .size = (ms)                                             \
    }

#define TURN(ms)                                                                         \
    {                                                                                    \
        .action = SCRIPT_TURN, .size = (ms)                                              \
    }

struct scripted {
    char address[128];  /* for gp_client_create */
    char head[8192];    /* of the last request, terminated */
    uint64_t body_hash; /* of the last request that was read: scripted_hash */
    unsigned n_requests;

    const struct script_step *steps;
    size_t n_steps;
    const char *message;
    size_t message_size;
    char path[64]; /* of a unix socket */
    int listener;
    int fd;
    char trouble[128];
    pthread_t thread;
};

/* Listens, and begins the script when the first client comes. */
void scripted_start(struct scripted *server, bool is_unix,
                    const struct script_step *steps, size_t n_steps, const char *message,
                    size_t message_size);

/* Waits for the script's end, and fails the test when a step of it failed. */
void scripted_check(struct scripted *server);

/* A client, or the test fails. */
struct gp_client *scripted_connect(const char *address,
                                   const struct gp_client_options *options);

/* A call that has to fail, with words that are in its message. */
void scripted_assert_fails(struct gp_client *client, const struct gp_call *call,
                           enum gp_status status, const char *words);

/* Goes on from the hash of what came before, 0 at first. */
uint64_t scripted_hash(uint64_t hash, const void *bytes, size_t size);

/* The parts in one piece, on the heap. */
char *scripted_flatten(const struct gp_encoding *encoding);

#endif
