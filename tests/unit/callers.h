/* Callers of a model of one slot that takes batches and gives y = 2 x for x float32[-1,2], by a clock
 * that the test turns, without threads. */
#ifndef GP_TESTS_CALLERS_H
#define GP_TESTS_CALLERS_H

#include "fake_model.h"
#include "still_poller.h"
#include "turned_clock.h"

/* When it begins: in the far future, so that no timerfd fires. */
#define CALLERS_NS (1000000000 * CLOCK_S)

enum { CALLERS_N = 6, CALLERS_COLUMNS = 2, CALLERS_MOST_RUNS = 32, CALLERS_LARGE = 1500 };

/* A value that the engine cannot run. */
#define CALLERS_BAD (-1.0f)

/* y = 2 x, and what the engine was called with. */
struct callers_script {
    struct callers *f;
    unsigned n_runs;
    int n_then; /* callers who come while the first runs */
    uint64_t rows[CALLERS_MOST_RUNS];
    int64_t takes_ns;
    bool is_watched;               /* while it runs */
    bool sums;                     /* over all rows: y is a scalar */
    bool narrows;                  /* from the second run on: y has one column */
    bool adds;                     /* likewise: y comes twice */
    uint64_t gives_rows;           /* of y; 0: as many as x has */
    enum gp_status fails_together; /* if it gets more than one row */
    unsigned leaving;              /* in the second run: callers, by bit */
    unsigned n_cancels;
    int64_t deadline_ns;
    float last[CALLERS_COLUMNS]; /* row of the last run */
};

struct caller {
    struct fake_inference fake; /* first */
    struct gp_tensor input;
    enum gp_dtype wanted;
    int64_t shape[2];
    float x[CALLERS_COLUMNS * CALLERS_LARGE];
    const char *output;
};

struct callers {
    struct poller poller;
    struct fake_model model;
    struct caller all[CALLERS_N];
    struct callers_script script;
};

/* As fake_model_batch has them. */
void callers_begin(struct callers *f, uint64_t max_rows, const uint32_t *sizes,
                   size_t n_sizes);
/* The same with more slots. */
void callers_begin_slots(struct callers *f, uint32_t n_slots, uint64_t max_rows,
                         const uint32_t *sizes, size_t n_sizes);
void callers_end(struct callers *f);

/* The i-th caller's value in a row. */
float callers_value_of(int i, uint64_t row);

/* The i-th one's request of so many rows, bound. */
struct inference *callers_prepare(struct callers *f, int i, uint64_t n_rows);

void callers_enter(struct callers *f, struct inference *inference);

/* Prepares it, and enters. */
void callers_send(struct callers *f, int i, uint64_t n_rows);

/* All that have entered, to their end. */
void callers_serve(struct callers *f);

/* The first caller runs while the n others come; all have been prepared. */
void callers_serve_before(struct callers *f, int n_others);

/* It has twice its own rows, as an output of its own. */
void callers_assert_answered(const struct callers *f, int i);

/* It has failed. */
void callers_assert_told(const struct callers *f, int i, enum gp_status status,
                         const char *words);

/* The same, and nothing is left of its outputs. */
void callers_assert_failed(const struct callers *f, int i, enum gp_status status,
                           const char *words);

/* The rows of each run. */
void callers_assert_runs(const struct callers *f, unsigned n, const uint64_t *rows);

#define CALLERS_ASSERT_RUNS(f, ...)                                                      \
    callers_assert_runs(f, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t),         \
                        (uint64_t[]){__VA_ARGS__})

#endif
