#include "model/run.h"

#include "base/clock.h"
#include "model/model.h"

bool run_is_late(struct inference *inference)
{
    if (!inference->deadline_ns || clock_now_ns() < inference->deadline_ns)
        return false;
    gp_error_set(
        &inference->error, GP_DEADLINE,
        "the deadline was over after %lld ms (X-GraphPipe-Timeout-Ms, --timeout)",
        (long long)((inference->deadline_ns - inference->arrived_ns) / CLOCK_MS));
    return true;
}

/* True if it is too late, or the client left while it waited. */
static bool is_in_vain(struct inference *inference)
{
    if (run_is_late(inference))
        return true;
    if (!inference->queued_ns || !inference->is_left(inference))
        return false;
    gp_error_set(&inference->error, GP_CANCELLED,
                 "the client left while its request waited");
    return true;
}

static uint32_t count_free_cores(const struct worker *worker, const struct model *model)
{
    const unsigned n_others = worker_n_engaged(worker) - 1;
    return n_others < model->host->n_cores ? model->host->n_cores - n_others : 1;
}

/* Runs the engine while the watcher watches the slot. */
static void execute_run(struct worker *worker, struct run *run)
{
    struct inference *inference = run->inference;
    struct model *model = inference->model;
    struct gp_error *err = &inference->error;
    worker_engage(worker);
    slots_run_begin(&model->slots, run);
    run->engine_run.call.n_free_cores = count_free_cores(worker, model);
    run->engine_run.writes_outputs = model->description.flags & GP_WRITES_OUTPUTS;
    const bool is_done = model_settle(inference) &&
                         engine_run_execute(&run->engine_run, model->engine,
                                            model->handle, run->slot, err) == GP_OK;
    const enum slot_stop stop = slots_run_end(&model->slots, run);
    worker_disengage(worker);
    if (run_is_late(inference) || is_done)
        return;
    if (stop == SLOT_ENDING)
        gp_error_set(err, GP_UNAVAILABLE, "the run was stopped: the server ended");
    else if (stop != SLOT_GOES_ON)
        gp_error_set(err, GP_CANCELLED, "the run was stopped: its client left");
}

/* The slot is passed on before the answer is written. */
static void run_go(struct worker *worker, struct task *task)
{
    struct run *run = (struct run *)(void *)task; /* its first member */
    struct inference *inference = run->inference;
    if (!is_in_vain(inference))
        execute_run(worker, run);
    slots_pass(&inference->model->slots, worker, run->slot);
    inference->task.go(worker, &inference->task);
}

static struct run *run_of(struct inference *inference)
{
    inference->run.task.go = run_go;
    inference->run.inference = inference;
    return &inference->run;
}

bool run_enter(struct worker *worker, struct inference *inference)
{
    return slots_enter(&inference->model->slots, worker, run_of(inference));
}

bool run_enter_at(struct worker *worker, struct inference *inference, uint32_t slot)
{
    return slots_enter_at(&inference->model->slots, worker, run_of(inference), slot);
}
