/* cli/bench_link.h - one of the load's connections: a request at a time, without waiting.
 */
#ifndef GP_CLI_BENCH_LINK_H
#define GP_CLI_BENCH_LINK_H

#include "cli/bench.h"
#include "http/http.h"

#include <sys/socket.h>

/* An answer's body that is kept to be looked at; one at a time. */
struct bench_sample {
    const struct bench_link *link; /* whose answer it is; NULL: nobody's */
    unsigned char *data;
    size_t size_bytes;
    size_t capacity_bytes;
    bool is_short; /* of memory */
    bool is_message;
};

/* What the connections share. */
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
    size_t part; /* what is left to send: from byte `offset` of it */
    size_t offset;

    struct http_message answer;
    char *head; /* on the heap: of one that came in pieces */
    size_t head_bytes;
    uint64_t body_left; /* of a known length */
    uint64_t received_bytes;

    struct bench_link *before, *after; /* of the load's lists */
};

enum bench_step {
    BENCH_WAITS,
    BENCH_ANSWERED, /* with answer.status */
    BENCH_FAILED    /* the connection is closed; *error says how */
};

/* Begins a request on a link that is not busy: connects it where it is not, and sends. */
enum bench_step bench_link_begin(struct bench_net *net, struct bench_link *link,
                                 const struct bench_message *message,
                                 enum bench_error *error);

/* Goes on with what epoll said. */
enum bench_step bench_link_turn(struct bench_net *net, struct bench_link *link,
                                uint32_t events, enum bench_error *error);

void bench_link_close(struct bench_link *link);

#endif
