/* cli/bench_link.h - one connection of the load: one request at a time, without
 * blocking. */
#ifndef GP_CLI_BENCH_LINK_H
#define GP_CLI_BENCH_LINK_H

#include "cli/bench.h"
#include "http/http.h"

#include <sys/socket.h>

/* The body of an answer that is kept for inspection; one at a time. */
struct bench_sample {
    const struct bench_link *link; /* the link with that answer; NULL: none */
    unsigned char *data;
    size_t size_bytes;
    size_t capacity_bytes;
    bool is_short; /* of memory */
    bool is_message;
};

/* Shared by the connections. */
struct bench_net {
    int epoll;
    struct sockaddr_storage server;
    socklen_t server_size;
    char *scratch; /* BENCH_SCRATCH_BYTES, for receiving */
    struct bench_sample sample;
    bool wants_failure; /* keep the first answer that is not 200 */
};

enum { BENCH_SCRATCH_BYTES = 256 * 1024 };

struct bench_link {
    int fd; /* -1: none */
    uint32_t events;
    bool is_busy;
    bool is_connecting;
    bool is_sent;
    bool has_head;
    bool is_resting; /* after a failure */

    const struct bench_message *message;
    int64_t due_ns;
    int64_t sent_ns;
    size_t part; /* what remains to be sent: from its byte `offset` */
    size_t offset;

    struct http_message answer;
    char *head; /* on the heap: a head that came in pieces */
    size_t head_bytes;
    uint64_t body_left; /* of a known length */
    uint64_t received_bytes;

    struct bench_link *before, *after; /* of the load's lists */
};

enum bench_step {
    BENCH_WAITS,
    BENCH_ANSWERED, /* with answer.status */
    BENCH_FAILED    /* the connection is closed; *error says why */
};

/* Begins a request on an idle link: connects it if necessary, and sends. */
enum bench_step bench_link_begin(struct bench_net *net, struct bench_link *link,
                                 const struct bench_message *message,
                                 enum bench_error *error);

/* Handles the events from epoll. */
enum bench_step bench_link_turn(struct bench_net *net, struct bench_link *link,
                                uint32_t events, enum bench_error *error);

void bench_link_close(struct bench_link *link);

#endif
