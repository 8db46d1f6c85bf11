#include "model/run.h"

#include "base/clock.h"
#include "model/batch.h"
#include "model/model.h"
#include "model/signature.h"

/* To ask for a client that waited for less costs a system call, which is what a small run costs. */
#define LONG_WAIT_NS CLOCK_MS

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
    if (inference->waited_ns < LONG_WAIT_NS || !inference->is_left(inference))
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

/* A slot's turn: who has it, and how it went. */
struct slot_turn {
    struct worker *worker;
    struct model *model;
    uint32_t slot;
    bool is_misfit; /* requests failed together for reasons of the engine's */
};

/* What stopped a run counts, whatever its engine said. */
static void explain_stop(struct inference *inference, enum slot_stop stop)
{
    if (stop == SLOT_ENDING)
        gp_error_set(&inference->error, GP_UNAVAILABLE,
                     "the run was stopped: the server ended");
    else if (stop != SLOT_GOES_ON)
        gp_error_set(&inference->error, GP_CANCELLED,
                     "the run was stopped: its client left");
}

/* Runs the engine while the watcher watches the slot. */
static void run_alone(const struct slot_turn *turn, struct inference *inference)
{
    struct model *model = turn->model;
    struct run *run = &inference->run;
    run->slot = turn->slot;
    inference->next_member = NULL;
    slots_run_begin(&model->slots, run);
    run->engine_run.call.n_free_cores = count_free_cores(turn->worker, model);
    run->engine_run.writes_outputs = model->description.flags & GP_WRITES_OUTPUTS;
    const bool is_done =
        model_settle(inference) &&
        engine_run_execute(&run->engine_run, model->engine, model->handle, turn->slot,
                           &inference->error) == GP_OK;
    const enum slot_stop stop = slots_run_end(&model->slots, run);
    if (!run_is_late(inference) && !is_done)
        explain_stop(inference, stop);
}

/* The process has ended, perhaps by one of them: each runs alone in another one. Those that go on
 * are NULL then. */
static void run_again(const struct slot_turn *turn, struct inference **members,
                      unsigned n, const struct gp_error *err)
{
    for (unsigned i = 0; i < n; i++) {
        struct inference *member = members[i];
        member->next_member = NULL;
        member->may_join = false;
        if (slots_enter(&turn->model->slots, turn->worker, &member->run))
            members[i] = NULL;
        else
            member->error = *err;
    }
}

bool run_blames_nobody(enum gp_status status)
{
    return status == GP_DEADLINE || status == GP_CANCELLED || status == GP_UNAVAILABLE ||
           status == GP_BUSY || status == GP_IO;
}

/* The same for several. False if they have to be run apart. */
static bool run_together(struct slot_turn *turn, struct inference **members, unsigned n)
{
    struct model *model = turn->model;
    struct batch *batch = model->slots.all[turn->slot].batch;
    struct gp_error err = {0};
    for (unsigned i = 0; i < n; i++)
        members[i]->next_member = i + 1 < n ? members[i + 1] : NULL;
    batch->run.inference = members[0];
    batch->run.slot = turn->slot;
    batch_begin(batch, count_free_cores(turn->worker, model));
    slots_run_begin(&model->slots, &batch->run);
    const enum gp_status status = batch_run(batch, &err);
    const enum slot_stop stop = slots_run_end(&model->slots, &batch->run);
    if (n > 1 && stop == SLOT_GOES_ON) {
        if (status == GP_UNAVAILABLE && model->isolate) {
            run_again(turn, members, n, &err);
            return true;
        }
        if (status != GP_OK && !run_blames_nobody(status)) {
            turn->is_misfit |= status != GP_NO_MEMORY;
            return false;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (status != GP_OK)
            members[i]->error = err;
        if (!run_is_late(members[i]) && status != GP_OK)
            explain_stop(members[i], stop);
    }
    return true;
}

/* Moves those that can be run to the front; returns how many they are. */
static unsigned sift(struct inference **members, unsigned n)
{
    unsigned n_ready = 0;
    for (unsigned i = 0; i < n; i++) {
        struct inference *member = members[i];
        const bool is_joint =
            n > 1 || batch_is_needed(&member->model->batch_rules, member);
        if (is_in_vain(member) || (is_joint && !model_settle(member)))
            continue;
        members[i] = members[n_ready];
        members[n_ready++] = member;
    }
    return n_ready;
}

/* If they fail together each half is tried, so that in the end only those fail that are to blame. */
static void run_members(struct slot_turn *turn, struct inference **members, unsigned n)
{
    n = sift(members, n);
    if (n == 1 && !batch_is_needed(&turn->model->batch_rules, members[0])) {
        run_alone(turn, members[0]);
    } else if (n && !run_together(turn, members, n)) {
        run_members(turn, members, n / 2);
        run_members(turn, members + n / 2, n - n / 2);
    }
}

/* So many batches in a row, and the model takes no more of them. */
enum { MOST_MISFITS = 3 };

/* Requests that fail together but run well apart are not to blame: the model is. */
static void judge_model(const struct slot_turn *turn, struct inference *const *members,
                        unsigned n)
{
    struct model *model = turn->model;
    if (n == 1)
        return;
    for (unsigned i = 0; i < n && turn->is_misfit; i++)
        if (!members[i] || members[i]->error.status != GP_OK)
            return;
    if (!turn->is_misfit)
        atomic_store(&model->n_misfits, 0);
    else if (atomic_fetch_add(&model->n_misfits, 1) + 1 == MOST_MISFITS) {
        slots_stop_joining(&model->slots);
        log_line(
            model->host->log, GP_LOG_WARNING,
            "%s: requests run one at a time from now on, since they failed together "
            "and ran well apart; --max-batch is for models that give one row of each "
            "output for each row",
            model->metadata.name);
    }
}

/* For the metrics: the first that ran stands for all. */
static void choose_leader(struct inference *const *members, unsigned n,
                          enum run_reason reason)
{
    struct inference *leader = NULL;
    uint64_t n_rows = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!members[i] || !members[i]->ran_ns)
            continue;
        leader = leader ? leader : members[i];
        n_rows += members[i]->n_rows;
    }
    if (!leader)
        return;
    leader->leads_run = true;
    leader->run_rows = n_rows;
    leader->run_reason =
        n_rows >= leader->model->batch_rules.max_rows ? RUN_WAS_FULL : reason;
}

/* The slot is passed on before any answer is written. */
static void run_go(struct worker *worker, struct task *task)
{
    struct run *run = (struct run *)(void *)task; /* its first member */
    struct inference *members[QUEUE_MOST_MEMBERS];
    struct slot_turn turn = {worker, run->inference->model, run->slot, false};
    const enum run_reason reason = run->inference->run_reason;
    unsigned n = 0;
    if (run->inference->may_join)
        slots_fill(&turn.model->slots, run);
    for (struct inference *i = run->inference; i; i = i->next_member)
        members[n++] = i;
    worker_engage(worker);
    run_members(&turn, members, n);
    worker_disengage(worker);
    judge_model(&turn, members, n);
    choose_leader(members, n, reason);
    slots_pass(&turn.model->slots, worker, turn.slot);
    for (unsigned i = 0; i < n; i++)
        if (members[i])
            members[i]->task.go(worker, &members[i]->task);
}

/* Those whose requests have come already can join before it begins. */
static void run_soon(struct worker *worker, struct task *task)
{
    task->go = run_go;
    worker_postpone(worker, task);
}

static struct run *run_of(struct inference *inference)
{
    inference->run.inference = inference;
    inference->next_member = NULL;
    const uint64_t max_rows = inference->model->batch_rules.max_rows;
    inference->has_rows = max_rows && signature_has_rows(inference);
    inference->may_join = inference->has_rows && inference->n_rows && max_rows > 1;
    inference->run.task.go = inference->may_join ? run_soon : run_go;
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
