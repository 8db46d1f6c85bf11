/* server/exchange.h - one request and its answer: everything that lives as long as they
 * do.
 *
 * It is made when the first byte of a head arrives and recycled when the last byte of the
 * answer has left, so a connection between requests holds none. It belongs to whichever
 * thread owns its connection; while it waits for a slot it belongs to the model's queue.
 */
#ifndef GP_SERVER_EXCHANGE_H
#define GP_SERVER_EXCHANGE_H

#include "base/pool.h"
#include "base/text.h"
#include "engine/engine.h"
#include "http/http.h"

#include <graphpipe/message.h>

enum { EXCHANGE_HEAD_BYTES = 512 };

struct connection;
struct exchange;
struct route;

struct exchange {
    struct exchange *next; /* in the model's queue, or in the list of spare ones */
    struct connection *connection;
    struct gp_server *server;
    struct gp_arena *arena; /* owns all that is allocated for this request */

    /* The request. */
    struct http_message http;
    size_t head_fed;    /* bytes of an incomplete head that the parser has seen */
    const char *target; /* path and query, in the arena */
    bool is_head;       /* of an answer without body */
    bool accepts_graphpipe;
    bool accepts_json;
    const struct route *route; /* NULL: the model's */
    const char *allow;         /* with 405: the methods that would do */
    bool is_counted;           /* in flight */
    struct pool_buffer body;
    size_t body_size;   /* received */
    size_t body_length; /* announced */
    struct gp_request request;

    /* The inference. */
    struct gp_tensor *inputs; /* bound, and views until they are settled */
    enum gp_dtype *wanted;    /* the type that each is to be */
    struct engine_run run;
    uint32_t slot;
    const uint32_t *output_order; /* answer's output i is the run's output_order[i] */
    uint32_t n_wanted;
    int64_t arrived_ns;  /* of the head */
    int64_t deadline_ns; /* 0: none */
    int64_t queued_ns;
    int64_t run_began_ns;
    int64_t waited_ns;
    int64_t ran_ns;

    /* The answer. */
    struct gp_error error; /* why it failed, for the peer and the log */
    bool has_failed;
    bool must_close; /* the rest of the request is unread, or cannot be trusted */
    int status;
    bool is_kept_alive;
    struct text text; /* a body made here */
    struct iovec *parts;
    size_t n_parts;
    uint64_t answer_bytes; /* sent */
    struct iovec small_parts[3];
    char head[EXCHANGE_HEAD_BYTES];
};

/* Spare exchanges, for reuse. */
struct exchanges {
    pthread_mutex_t lock;
    struct exchange *spare;
    unsigned n_spare;
};

void exchanges_init(struct exchanges *exchanges);
void exchanges_finish(struct exchanges *exchanges);

/* An empty exchange for a connection; NULL when memory is short. */
struct exchange *exchange_take(struct gp_server *server, struct connection *connection);

/* Drops outputs and body, and makes it spare. */
void exchange_give(struct exchange *x);

/* Reads what the complete head says beyond HTTP's own: Accept, the deadline.
 * False: the exchange has failed. */
bool exchange_read_head(struct exchange *x, const char *base);

/* Makes the answer ready to be sent; none of these can fail (short of memory they answer
 * 503). `content_type` may be NULL for text. */
void exchange_answer_text(struct exchange *x, int status, const char *content_type);
void exchange_answer_message(struct exchange *x, const struct gp_encoding *encoding);

/* Answers with x->error: as an InferResponse, JSON or text, as the request accepts. */
void exchange_answer_error(struct exchange *x);

#endif
