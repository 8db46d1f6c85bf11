/* Requests of each kind, with the answers that the server gives when all goes well. */
#ifndef GP_TESTS_SAMPLES_H
#define GP_TESTS_SAMPLES_H

#include "site.h"

enum { MOST_ANSWERS = 3 };

struct sample {
    const char *name;
    char *bytes; /* one request, or several to be sent at once */
    size_t size;
    size_t n_answers;
    bool is_head;
    bool is_varying; /* the body is another each time */
    int status[MOST_ANSWERS];
    char *body[MOST_ANSWERS];
    size_t body_size[MOST_ANSWERS];
};

enum { MOST_SAMPLES = 16 };

extern struct sample samples[MOST_SAMPLES];
extern size_t n_samples;

/* Makes the requests, and has a server with these options answer each. */
void samples_make(const struct gp_server_options *options);
void samples_free(void);

/* What may come for a sample while something fails: its answers, 503, or the end of the
 * connection. The last answer. */
struct reply sample_judge(const struct sample *sample, struct peer *peer, bool may_fail);

/* Sends it; nothing may fail now. */
void sample_succeeds(const struct sample *sample, struct peer *peer);

#endif
