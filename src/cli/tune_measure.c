#include "cli/tune.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/histogram.h"
#include "model/sample.h"
#include "model/trial.h"
#include "model/warm_up_requests.h"

/* Before any is counted, and at the least after that, however long they take. */
enum { FIRST_RUNS = 1, LEAST_RUNS = 2 };

/* What one instance did. */
struct tune_slot {
    struct histogram runs;
};

struct tuning {
    const struct tune_plan *plan;
    struct tune_cell *cell;
    const struct sample *sample;
    struct tune_slot *slots;
    int64_t until_ns;
};

static enum gp_status make_call(const struct tuning *tuning, struct gp_arena *arena,
                                struct gp_call *call, struct gp_error *err)
{
    const uint32_t n = tuning->cell->n_rows;
    if (tuning->plan->is_whole) {
        *call = tuning->sample->call;
        return GP_OK;
    }
    uint32_t *rows = gp_arena_alloc(arena, n * sizeof *rows);
    for (uint32_t i = 0; rows && i < n; i++)
        rows[i] = i % tuning->sample->n_rows;
    return rows ? sample_call(tuning->sample, rows, n, arena, call, err)
                : gp_error_set(err, GP_NO_MEMORY, "out of memory");
}

static bool run_once(const struct tuning *tuning, struct trial *trial)
{
    struct inference *inference = &trial->inference;
    struct gp_arena *arena = inference->arena;
    struct gp_error *err = &inference->error;
    struct gp_encoding message;
    struct gp_call call;
    trial_begin(trial);
    return make_call(tuning, arena, &call, err) == GP_OK &&
           gp_request_encode(arena, &call, &message, err) == GP_OK &&
           warm_up_requests_view(&message, arena, &inference->run.engine_run,
                                 &trial->request, err) == GP_OK &&
           trial_run(trial);
}

static bool play_runs(struct trial *trial, void *context)
{
    const struct tuning *tuning = context;
    struct histogram *runs = &tuning->slots[trial->slot].runs;
    for (unsigned n = 0; n < FIRST_RUNS + LEAST_RUNS || clock_now_ns() < tuning->until_ns;
         n++) {
        const bool is_well = run_once(tuning, trial);
        trial->error = trial->inference.error;
        if (is_well && n >= FIRST_RUNS)
            histogram_add(runs, trial->inference.ran_ns);
        trial_end(trial);
        if (!is_well)
            return false;
    }
    return true;
}

static void sum_up(const struct tuning *tuning, uint32_t n_slots)
{
    struct tune_cell *cell = tuning->cell;
    struct histogram *all = &tuning->slots[0].runs;
    cell->rows_per_s = 0;
    for (uint32_t i = 0; i < n_slots; i++) {
        const struct histogram *runs = &tuning->slots[i].runs;
        if (runs->n && runs->sum_ns > 0)
            cell->rows_per_s +=
                (double)runs->n * cell->n_rows * (double)CLOCK_S / runs->sum_ns;
    }
    for (uint32_t i = 1; i < n_slots; i++)
        histogram_merge(all, &tuning->slots[i].runs);
    cell->p50_ns = histogram_at(all, 0.5);
    cell->p99_ns = histogram_at(all, 0.99);
}

static enum gp_status measure_cell(const struct tune_plan *plan, struct model *model,
                                   const struct sample *sample, struct tune_cell *cell,
                                   struct gp_error *err)
{
    struct tuning tuning = {.plan = plan,
                            .cell = cell,
                            .sample = sample,
                            .slots = mem_array(model->slots.n, sizeof *tuning.slots),
                            .until_ns = clock_now_ns() + plan->slice_ns};
    const struct trial_plan trials = {.name = "tune",
                                      .model = model,
                                      .n_slots = model->slots.n,
                                      .limit_ns = TRIAL_LIMIT_NS,
                                      .play = play_runs,
                                      .context = &tuning};
    if (!tuning.slots)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    const enum gp_status status = trials_run(&trials, err);
    if (status == GP_OK)
        sum_up(&tuning, model->slots.n);
    mem_free(tuning.slots);
    return status;
}

/* The first one alone if a run is one request. */
static enum gp_status take_recorded(const struct tune_plan *plan, struct sample *sample,
                                    const struct model *model, uint32_t most_rows,
                                    struct gp_error *err)
{
    const char *path = plan->requests;
    struct warm_up_requests requests = {0};
    struct gp_request request;
    enum gp_status status = warm_up_requests_init(&requests, model, path, err);
    if (status == GP_OK && !requests.paths)
        status = gp_error_set(err, GP_INVALID, "\"%.*s\" is neither a file nor a folder",
                              gp_cut(path, 150), path);
    for (size_t i = 0; status == GP_OK && i < requests.n && sample->n_rows < most_rows;
         i++) {
        status = warm_up_requests_decode(&requests, i, sample->arena, &request, err);
        if (status == GP_OK && plan->is_whole) {
            sample->call = request.call;
            break;
        }
        if (status == GP_OK)
            status = sample_add(sample, &request.call, most_rows, err);
    }
    if (status == GP_OK && !sample->n_rows && !plan->is_whole)
        status = gp_error_set(err, GP_INVALID, "the requests have no rows");
    warm_up_requests_finish(&requests);
    return status;
}

static enum gp_status measure_cells(const struct tune_plan *plan, struct model *model,
                                    struct tune_cell *cells, size_t n,
                                    void (*done)(void *context), void *context,
                                    struct gp_error *err)
{
    struct sample sample = {.arena = gp_arena_create()};
    uint32_t most_rows = 1;
    for (size_t i = 0; i < n; i++)
        most_rows = cells[i].n_rows > most_rows ? cells[i].n_rows : most_rows;
    enum gp_status status =
        sample.arena ? GP_OK : gp_error_set(err, GP_NO_MEMORY, "out of memory");
    if (status == GP_OK)
        status = plan->requests ? take_recorded(plan, &sample, model, most_rows, err)
                                : sample_generate(&sample, model, plan->open,
                                                  plan->is_whole ? 0 : most_rows, err);
    for (size_t i = 0; i < n && status == GP_OK; i++) {
        status = measure_cell(plan, model, &sample, &cells[i], err);
        done(context);
    }
    gp_arena_destroy(sample.arena);
    return status;
}

enum gp_status tune_measure(const struct tune_plan *plan, struct tune_cell *cells,
                            size_t n, void (*done)(void *context), void *context,
                            struct gp_error *err)
{
    struct gp_model_options options = plan->options;
    options.n_slots = cells[0].n_instances;
    options.n_threads = cells[0].n_threads;
    struct model *model = model_open(plan->host, &options, 1, err);
    if (!model)
        return err->status;
    const enum gp_status status =
        measure_cells(plan, model, cells, n, done, context, err);
    model_close(model);
    return status;
}
