/* Requests of rows for a model that is cached and says what it was asked, without threads. */
#ifndef GP_TESTS_CACHED_FIXTURE_H
#define GP_TESTS_CACHED_FIXTURE_H

#include "fake_model.h"
#include "model/cached.h"
#include "still_poller.h"

enum {
    CACHED_FIXTURE_MOST = 8192,      /* rows of a request */
    CACHED_FIXTURE_TEXTS = 150 << 10 /* of all letters */
};

/* What the engine does, and what it was last asked. */
struct cached_script {
    int n_runs;
    int64_t n_rows;
    char names[16];
    int fails;            /* the next so many runs do */
    bool is_short;        /* of memory, when one fails */
    int64_t more_rows;    /* than it gets, in output "len" */
    int64_t wide;         /* columns of output "sum" */
    bool is_without_rows; /* output "len" */
};

/* A request of rows {number, text}. */
struct asking {
    struct fake_inference fake; /* first */
    int32_t numbers[CACHED_FIXTURE_MOST];
    uint32_t offsets[CACHED_FIXTURE_MOST]; /* of the texts, as in a message */
    unsigned char texts[CACHED_FIXTURE_TEXTS];
    int64_t shape[3];
    struct gp_tensor inputs[2];
    struct pool_buffer body; /* where it came in, as the run has it */
    enum gp_dtype wanted[2];
    const char *names[2];
    uint32_t order[2];
    bool is_turned; /* the texts come first */
};

struct cached_fixture {
    struct poller poller;
    struct fake_model model;
    struct cached_script script;
    struct asking a, b, c;
};

/* The cache is in tree_path("/rows"). */
void cached_fixture_begin(struct cached_fixture *f);
void cached_fixture_end(struct cached_fixture *f);

/* Makes a bound request of rows, and enters one: each letter is a row, whose number is its place in the
 * alphabet, and whose text that many letters, of a capital 4000 times as many. `names`: "sl", "s" or "l",
 * the outputs in order. */
void cached_fixture_fill(struct asking *asking, const char *rows, const char *names);
enum cached_way cached_fixture_enter(struct cached_fixture *f, struct asking *asking,
                                     const char *rows, const char *names);

/* It was answered as the model would. */
void cached_fixture_assert(const struct cached_fixture *f, const struct asking *asking,
                           const char *rows, const char *names);

#endif
