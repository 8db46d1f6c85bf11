/* Each row alone comes first, the first of them twice: a model that answers the same row differently
 * tells nothing, nor does one that answers all rows alike. */
#include "model/row_check.h"

#include "base/clock.h"
#include "model/compare.h"
#include "model/run.h"
#include "model/sample.h"
#include "model/trial.h"
#include "model/warm_up_requests.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { MOST_ROWS = 5 };

struct row_checking {
    struct row_check *check;
    const char *requests;
    struct trial *trial;
    struct sample sample;
    int64_t until_ns;
    /* The outputs of each row, in the sample's arena. */
    struct gp_tensor *alone[MOST_ROWS];
    uint32_t n_outputs;
    double *largest; /* of each output */
};

static bool judge_rows(struct row_checking *c, enum row_verdict verdict,
                       const char *format, ...) GP_PRINTF(3, 4);

/* Returns false: there is no more to do. */
static bool judge_rows(struct row_checking *c, enum row_verdict verdict,
                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    c->check->verdict = verdict;
    (void)vsnprintf(c->check->why, sizeof c->check->why, format, args);
    va_end(args);
    return false;
}

/* The error of the inference says why not. To be ended in any case. */
static bool run_rows(struct row_checking *c, const uint32_t *rows, uint32_t n)
{
    struct trial *trial = c->trial;
    struct inference *inference = &trial->inference;
    struct gp_error *err = &inference->error;
    struct gp_encoding message;
    struct gp_call call;
    trial_begin(trial);
    c->check->n_runs++;
    return sample_call(&c->sample, rows, n, inference->arena, &call, err) == GP_OK &&
           gp_request_encode(inference->arena, &call, &message, err) == GP_OK &&
           warm_up_requests_view(&message, inference->arena, &inference->run.engine_run,
                                 &trial->request, err) == GP_OK &&
           trial_run(trial);
}

static const struct gp_tensor *output(const struct row_checking *c, uint32_t i)
{
    return &c->trial->inference.run.engine_run.outputs[i].tensor;
}

/* For a run of that many rows. */
static bool have_rows(struct row_checking *c, uint32_t n)
{
    const struct engine_run *run = &c->trial->inference.run.engine_run;
    if (c->alone[0] && run->n_outputs != c->n_outputs)
        return judge_rows(c, ROWS_UNKNOWN,
                          "it has %u outputs in one run, and %u in another", c->n_outputs,
                          run->n_outputs);
    for (uint32_t i = 0; i < run->n_outputs; i++) {
        char shape[96];
        const struct gp_tensor *y = output(c, i);
        if (y->rank && y->shape[0] == n)
            continue;
        return judge_rows(
            c, ROWS_DEPENDENT, "output %u is %s for %u row%s", i,
            gp_shape_format(y->dtype, y->shape, y->rank, shape, sizeof shape), n,
            n == 1 ? "" : "s");
    }
    return true;
}

static bool keep_alone(struct row_checking *c, uint32_t row)
{
    struct gp_arena *arena = c->sample.arena;
    const uint32_t n = c->trial->inference.run.engine_run.n_outputs;
    if (row == 0) {
        c->n_outputs = n;
        c->largest = gp_arena_alloc(arena, n * sizeof *c->largest);
        if (!c->largest)
            return judge_rows(c, ROWS_UNKNOWN, "no memory for the outputs");
        memset(c->largest, 0, n * sizeof *c->largest);
    }
    c->alone[row] = gp_arena_alloc(arena, n * sizeof *c->alone[row]);
    if (!c->alone[row])
        return judge_rows(c, ROWS_UNKNOWN, "no memory for the outputs");
    for (uint32_t i = 0; i < n; i++) {
        if (!compare_copy(arena, output(c, i), &c->alone[row][i]))
            return judge_rows(c, ROWS_UNKNOWN, "no memory for the outputs");
        c->largest[i] = compare_largest(&c->alone[row][i], c->largest[i]);
    }
    return true;
}

/* An output of the run, which has the row at `at`, that is not as it is for the row alone; or the number
 * of outputs. */
static uint32_t find_other(struct row_checking *c, uint32_t row, uint32_t at,
                           double *difference)
{
    for (uint32_t i = 0; i < c->n_outputs; i++) {
        const struct gp_tensor *y = output(c, i);
        *difference = compare_row(&c->alone[row][i], y, at, c->largest[i]);
        if (*difference > compare_tolerance(y->dtype))
            return i;
        if (*difference > c->check->difference)
            c->check->difference = *difference;
    }
    return c->n_outputs;
}

/* Whatever came of it, there is no telling. */
static bool judge_alone(struct row_checking *c)
{
    return judge_rows(c, ROWS_UNKNOWN, "a row alone fails: %.*s",
                      gp_cut(c->trial->inference.error.message, 300),
                      c->trial->inference.error.message);
}

static bool run_alone(struct row_checking *c, uint32_t row)
{
    const bool is_well =
        run_rows(c, &row, 1) ? have_rows(c, 1) && keep_alone(c, row) : judge_alone(c);
    trial_end(c->trial);
    return is_well;
}

static bool run_first_again(struct row_checking *c)
{
    static const uint32_t first = 0;
    double difference;
    bool is_well = run_rows(c, &first, 1) ? have_rows(c, 1) : judge_alone(c);
    if (is_well && find_other(c, 0, 0, &difference) < c->n_outputs)
        is_well =
            judge_rows(c, ROWS_UNKNOWN, "one row alone is answered differently twice");
    trial_end(c->trial);
    return is_well;
}

static bool has_time(const struct row_checking *c)
{
    return clock_now_ns() <= c->until_ns;
}

static bool run_each_alone(struct row_checking *c)
{
    uint32_t n = 0;
    while (n < c->sample.n_rows && (n < 2 || has_time(c)))
        if (!run_alone(c, n++))
            return false;
    c->sample.n_rows = n;
    c->check->n_rows = n;
    return run_first_again(c);
}

static bool are_all_alike(const struct row_checking *c)
{
    for (uint32_t row = 1; row < c->sample.n_rows; row++)
        for (uint32_t i = 0; i < c->n_outputs; i++)
            if (compare_row(&c->alone[0][i], &c->alone[row][i], 0, c->largest[i]) >
                compare_tolerance(c->alone[0][i].dtype))
                return false;
    return true;
}

/* Failures that say nothing of the rows. */
static bool is_bad_luck(enum gp_status status)
{
    return run_blames_nobody(status) || status == GP_NO_MEMORY || status == GP_TOO_LARGE;
}

static bool compare_rows(struct row_checking *c, const uint32_t *rows, uint32_t n)
{
    for (uint32_t at = 0; at < n; at++) {
        double difference = 0;
        const uint32_t i = find_other(c, rows[at], at, &difference);
        if (i < c->n_outputs && isfinite(difference))
            return judge_rows(
                c, ROWS_DEPENDENT,
                "output %u of a row differs by %.2g of its largest value when "
                "it runs with %u others",
                i, difference, n - 1);
        if (i < c->n_outputs)
            return judge_rows(c, ROWS_DEPENDENT,
                              "output %u of a row differs when it runs with %u others", i,
                              n - 1);
    }
    return true;
}

static bool run_together(struct row_checking *c, const uint32_t *rows, uint32_t n)
{
    const struct gp_error *why = &c->trial->inference.error;
    bool is_well = true;
    if (!run_rows(c, rows, n))
        is_well = judge_rows(c, is_bad_luck(why->status) ? ROWS_UNKNOWN : ROWS_DEPENDENT,
                             "%u rows together fail: %.*s", n, gp_cut(why->message, 300),
                             why->message);
    else
        is_well = have_rows(c, n) && compare_rows(c, rows, n);
    trial_end(c->trial);
    return is_well;
}

/* The first two are all rows, one way and the other. */
static bool run_some_together(struct row_checking *c)
{
    static const struct {
        uint32_t n, rows[MOST_ROWS];
    } selections[] = {{5, {0, 1, 2, 3, 4}}, {5, {4, 3, 2, 1, 0}}, {2, {1, 0}},
                      {3, {0, 2, 4}},       {3, {1, 1, 3}},       {4, {2, 4, 0, 3}},
                      {2, {3, 4}}};
    for (size_t i = 0; i < sizeof selections / sizeof *selections; i++) {
        uint32_t rows[MOST_ROWS], n = 0;
        if (i >= 2 && !has_time(c))
            break;
        for (uint32_t at = 0; at < selections[i].n; at++)
            if (selections[i].rows[at] < c->sample.n_rows)
                rows[n++] = selections[i].rows[at];
        if (n > 1 && !run_together(c, rows, n))
            return false;
    }
    return true;
}

/* --- which rows --- */

static bool take_request(struct row_checking *c, const struct warm_up_requests *requests,
                         size_t i)
{
    struct gp_request request;
    struct gp_error err;
    if (warm_up_requests_decode(requests, i, c->sample.arena, &request, &err) == GP_OK &&
        sample_add(&c->sample, &request.call, MOST_ROWS, &err) == GP_OK)
        return true;
    return judge_rows(c, ROWS_UNKNOWN, "request %zu, %.*s: %.*s", i + 1,
                      gp_cut(requests->paths[i], 150), requests->paths[i],
                      gp_cut(err.message, 300), err.message);
}

static bool take_requests(struct row_checking *c)
{
    struct warm_up_requests requests = {0};
    struct gp_error err;
    const struct model *model = c->trial->inference.model;
    bool is_well = true;
    if (warm_up_requests_init(&requests, model, c->requests, &err) != GP_OK)
        is_well = judge_rows(c, ROWS_UNKNOWN, "%s", err.message);
    else if (!requests.paths)
        is_well = judge_rows(c, ROWS_UNKNOWN, "\"%.*s\" is neither a file nor a folder",
                             gp_cut(c->requests, 150), c->requests);
    else
        for (size_t i = 0; is_well && i < requests.n && c->sample.n_rows < MOST_ROWS; i++)
            is_well = take_request(c, &requests, i);
    warm_up_requests_finish(&requests);
    return is_well;
}

static bool check_recorded(struct row_checking *c)
{
    if (!take_requests(c))
        return false;
    if (c->sample.n_rows < 2)
        return judge_rows(c, ROWS_UNKNOWN, "the requests have fewer than 2 rows");
    return run_each_alone(c);
}

/* Dimensions that the model leaves open may have to be of some size. */
static bool check_generated(struct row_checking *c)
{
    static const int64_t sizes[] = {4, 1, 64};
    struct gp_error err;
    bool is_well = false;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !is_well; i++) {
        const struct model *model = c->trial->inference.model;
        gp_arena_reset(c->sample.arena);
        c->check->open = sizes[i];
        if (sample_generate(&c->sample, model, sizes[i], MOST_ROWS, &err) != GP_OK)
            return judge_rows(c, ROWS_UNKNOWN, "%s", err.message);
        is_well = run_each_alone(c);
        if (!is_well && (c->n_outputs || trial_is_over(c->trial)))
            return false; /* other sizes would not help */
    }
    return is_well;
}

static bool play_rows(struct trial *trial, void *context)
{
    struct row_checking *c = context;
    c->trial = trial;
    if ((c->requests ? check_recorded : check_generated)(c) && run_some_together(c)) {
        c->check->verdict = ROWS_INDEPENDENT;
        if (are_all_alike(c))
            judge_rows(c, ROWS_UNKNOWN, "it answers all rows alike");
    }
    return true;
}

enum gp_status row_check_model(struct model *model, const char *requests,
                               struct row_check *check, struct gp_error *err)
{
    struct row_checking c = {.check = check,
                             .requests = requests,
                             .until_ns = clock_now_ns() + ROW_CHECK_NS,
                             .sample = {.arena = gp_arena_create()}};
    const struct trial_plan plan = {.name = "row check",
                                    .model = model,
                                    .n_slots = 1,
                                    .limit_ns = TRIAL_LIMIT_NS,
                                    .play = play_rows,
                                    .context = &c};
    *check = (struct row_check){.verdict = ROWS_UNKNOWN};
    if (!c.sample.arena)
        return gp_error_set(err, GP_NO_MEMORY, "row check: no memory");
    const enum gp_status status = trials_run(&plan, err);
    gp_arena_destroy(c.sample.arena);
    return status;
}
