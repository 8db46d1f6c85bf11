/* server/exchange.h - one request and its answer, and everything that lives as long.
 *
 * An exchange is made when the first byte of a head arrives and recycled when the last byte of the
 * answer has left, so a connection between requests has none. It belongs to the thread that owns
 * its connection, except while its inference waits or runs.
 */
#ifndef GP_SERVER_EXCHANGE_H
#define GP_SERVER_EXCHANGE_H

#include "base/pool.h"
#include "base/text.h"
#include "http/http.h"
#include "model/inference.h"
#include "server/metrics.h"

#include <graphpipe/message.h>

struct connection;
struct exchange;
struct gp_server;
struct guest;
struct route;

/* How bodies are read and answers written. Readers fail with x->error; writers make the answer. */
struct format {
    enum metrics_protocol protocol;
    bool (*read_request)(struct exchange *x);
    void (*write_metadata)(struct exchange *x);
    void (*write_outputs)(struct exchange *x, const struct gp_tensor *outputs,
                          uint32_t n);
    void (*write_error)(struct exchange *x);
    void (*write_word)(struct exchange *x, const char *word); /* with x->answer.status */
};

/* An answer in any protocol. What it points to lives as long as the exchange. */
struct answer {
    int status; /* of HTTP */
    const char *content_type;
    const char *fields; /* more header fields, each with its "\r\n"; or NULL */
    const struct iovec *parts;
    size_t n_parts;
    uint64_t size_bytes; /* of the parts */
};

struct exchange {
    struct exchange *next; /* in the list of spares */
    struct connection *connection;
    const struct guest *guest; /* of the connection */
    struct gp_server *server;
    struct exchanges *exchanges; /* where it comes from */
    struct gp_arena *arena;      /* owns everything allocated for this request */

    /* The request. */
    struct http_message http;
    size_t head_fed;           /* bytes of an incomplete head that the parser has seen */
    const char *target;        /* path and query, in the arena */
    const struct route *route; /* NULL for a model */
    const struct format *format;
    struct model *model; /* held; NULL if none is requested */
    bool is_counted;     /* in flight */
    bool is_uncached;    /* it asked for that */
    const char *cors;    /* the answer's fields for web pages; NULL: none */
    bool is_for_page;    /* of an origin that may read the answer */
    enum metrics_kind kind;
    enum metrics_protocol protocol; /* of an inference, however it is answered */
    struct pool_buffer body;
    size_t body_size;   /* received */
    size_t body_length; /* announced; 0 for one in chunks */
    struct gp_request request;
    struct inference inference;
    int64_t arrived_ns; /* of the head */

    /* The answer. */
    struct gp_error error; /* why it failed, for the peer and the log */
    bool has_failed;
    bool must_close;  /* the rest of the request is unread or cannot be trusted */
    struct text text; /* a body made here */
    struct answer answer;
    struct iovec text_parts[2];

    /* On its way out. */
    bool is_kept_alive;
    struct iovec *parts; /* not sent yet, the head in front; NULL: not begun */
    size_t n_parts;
    uint64_t sent_bytes;
    struct iovec few_parts[3];
};

/* Spare exchanges, for reuse. */
struct exchanges {
    struct gp_server *server;
    struct pool *pool;
    pthread_mutex_t lock; /* of what follows */
    struct exchange *spare;
    unsigned n_spare;
};

void exchanges_init(struct exchanges *exchanges, struct gp_server *server,
                    struct pool *pool);
void exchanges_finish(struct exchanges *exchanges);

/* An empty exchange, whose memory counts as the peer's; NULL if memory is short. */
struct exchange *exchange_take(struct exchanges *exchanges, struct pool_peer *peer);

/* Drops outputs, body and model, and keeps the exchange as a spare. */
void exchange_give(struct exchange *x);

/* These make the answer and cannot fail (if memory is short, the answer is 503). The text is
 * x->text; with has_failed the status is that of x->error. The parts of a message belong to the
 * arena. */
void exchange_answer_text(struct exchange *x, const char *content_type);
void exchange_answer_message(struct exchange *x, const struct gp_encoding *encoding);

/* Answers with x->error in x->format. */
void exchange_answer_error(struct exchange *x);

/* Answers with x->error as plain text, without allocating. */
void exchange_answer_plainly(struct exchange *x);

#endif
