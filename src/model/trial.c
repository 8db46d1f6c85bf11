/* Each thread takes one slot after another. */
#include "model/trial.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/place.h"
#include "model/run.h"

#include <stddef.h>

#define LOOK_NS (20 * CLOCK_MS)

struct trials {
    const struct trial_plan *plan;

    pthread_mutex_t lock;   /* of what follows */
    pthread_cond_t changed; /* on the monotonic clock: a run or a thread has ended */
    uint32_t next_slot;
    unsigned n_active;     /* threads */
    struct gp_error error; /* the first */
};

/* --- one request, on one slot --- */

static bool is_ending(const struct inference *inference)
{
    return atomic_load(inference->model->host->is_ending);
}

bool trial_is_over(const struct trial *trial)
{
    return is_ending(&trial->inference);
}

static void request_ended(struct worker *worker, struct task *task)
{
    (void)worker;
    struct trial *trial = (struct trial *)(void *)task;
    struct trials *trials = trial->trials;
    pthread_mutex_lock(&trials->lock);
    trial->has_ended = true;
    pthread_cond_broadcast(&trials->changed);
    pthread_mutex_unlock(&trials->lock);
}

static void start_request(struct worker *worker, struct task *task)
{
    struct trial *trial =
        (struct trial *)(void *)((char *)task - offsetof(struct trial, start));
    struct inference *inference = &trial->inference;
    if (run_enter_at(worker, inference, trial->slot))
        return;
    gp_error_set(&inference->error, GP_ENGINE, "the process of slot %u has ended",
                 trial->slot);
    request_ended(worker, &inference->task);
}

/* Runs it on this thread or the slot's own. */
static void carry_request(struct trial *trial)
{
    struct trials *trials = trial->trials;
    trial->has_ended = false;
    worker_carry(trial->worker, &trial->start);
    pthread_mutex_lock(&trials->lock);
    while (!trial->has_ended)
        pthread_cond_wait(&trials->changed, &trials->lock);
    pthread_mutex_unlock(&trials->lock);
}

void trial_begin(struct trial *trial)
{
    struct inference *inference = &trial->inference;
    inference->arrived_ns = clock_now_ns();
    inference->deadline_ns = inference->arrived_ns + trial->trials->plan->limit_ns;
    inference->inputs = NULL;
    inference->wanted = NULL;
    inference->error = (struct gp_error){0};
}

static bool has_failed(struct trials *trials)
{
    pthread_mutex_lock(&trials->lock);
    const bool result = trials->error.status != GP_OK;
    pthread_mutex_unlock(&trials->lock);
    return result;
}

bool trial_run(struct trial *trial)
{
    struct inference *inference = &trial->inference;
    if (is_ending(inference))
        gp_error_set(&inference->error, GP_UNAVAILABLE, "the server is ending");
    else if (has_failed(trial->trials))
        gp_error_set(&inference->error, GP_CANCELLED, "another request has failed");
    else if (model_bind(inference))
        carry_request(trial);
    return inference->error.status == GP_OK;
}

void trial_end(struct trial *trial)
{
    struct engine_run *run = &trial->inference.run.engine_run;
    engine_run_drop(run);
    pool_give(run->pool, &trial->body);
    gp_arena_reset(trial->inference.arena);
}

/* --- the threads --- */

static bool take_slot(struct trial *trial)
{
    struct trials *trials = trial->trials;
    pthread_mutex_lock(&trials->lock);
    const bool has_slot = trials->next_slot < trials->plan->n_slots;
    if (has_slot)
        trial->slot = trials->next_slot++;
    pthread_mutex_unlock(&trials->lock);
    return has_slot;
}

static void *trial_main(void *arg)
{
    struct trial *trial = arg;
    struct trials *trials = trial->trials;
    bool is_well = true;
    while (is_well && take_slot(trial))
        is_well = trials->plan->play(trial, trials->plan->context);
    pthread_mutex_lock(&trials->lock);
    if (!is_well && trials->error.status == GP_OK)
        trials->error = trial->error;
    trials->n_active--;
    pthread_cond_broadcast(&trials->changed);
    pthread_mutex_unlock(&trials->lock);
    return NULL;
}

static void finish_trial(struct trial *trial)
{
    engine_run_finish(&trial->inference.run.engine_run);
    gp_arena_destroy(trial->inference.arena);
    worker_destroy(trial->worker);
}

static bool init_trial(struct trial *trial, struct trials *trials)
{
    struct model *model = trials->plan->model;
    struct inference *inference = &trial->inference;
    struct engine_run *run = &inference->run.engine_run;
    trial->trials = trials;
    trial->start.go = start_request;
    inference->task.go = request_ended;
    inference->model = model;
    inference->request = &trial->request;
    inference->is_left = is_ending;
    inference->arena = gp_arena_create();
    trial->worker = inference->arena ? worker_create(model->host->poller) : NULL;
    if (!trial->worker) {
        gp_arena_destroy(inference->arena);
        return false;
    }
    engine_run_init(run, model->host->pool, inference->arena);
    run->body = &trial->body;
    run->memory = model->memory;
    return true;
}

static bool begin_trial(struct trial *trial, struct trials *trials)
{
    char words[PLACE_WORDS_BYTES];
    const bool has_memory = init_trial(trial, trials);
    pthread_mutex_lock(&trials->lock);
    const int rc =
        has_memory ? pthread_create(&trial->thread, NULL, trial_main, trial) : 0;
    if (!has_memory)
        gp_error_set(&trials->error, GP_NO_MEMORY, "%s: no memory for a thread",
                     trials->plan->name);
    else if (rc != 0)
        gp_error_set(&trials->error, GP_UNAVAILABLE, "%s: cannot make a thread: %s",
                     trials->plan->name, place_explain(rc, words));
    const bool is_begun = has_memory && rc == 0;
    trials->n_active += is_begun;
    pthread_mutex_unlock(&trials->lock);
    if (has_memory && !is_begun)
        finish_trial(trial);
    return is_begun;
}

/* Until all threads have ended. */
static void watch_threads(struct trials *trials)
{
    pthread_mutex_lock(&trials->lock);
    while (trials->n_active) {
        const int64_t until_ns = clock_now_ns() + LOOK_NS;
        const struct timespec until = {.tv_sec = until_ns / CLOCK_S,
                                       .tv_nsec = until_ns % CLOCK_S};
        (void)pthread_cond_timedwait(&trials->changed, &trials->lock, &until);
        pthread_mutex_unlock(&trials->lock);
        slots_watch(&trials->plan->model->slots);
        pthread_mutex_lock(&trials->lock);
    }
    pthread_mutex_unlock(&trials->lock);
}

static void run_threads(struct trials *trials)
{
    const struct trial_plan *plan = trials->plan;
    const unsigned n_cores = plan->model->host->n_cores;
    const unsigned n = plan->n_slots < n_cores ? plan->n_slots : n_cores;
    struct trial *threads = mem_array(n, sizeof *threads);
    unsigned n_begun = 0;
    if (!threads) {
        gp_error_set(&trials->error, GP_NO_MEMORY, "%s: no memory for threads",
                     plan->name);
        return;
    }
    while (n_begun < n && begin_trial(&threads[n_begun], trials))
        n_begun++;
    watch_threads(trials);
    for (unsigned i = 0; i < n_begun; i++) {
        pthread_join(threads[i].thread, NULL);
        finish_trial(&threads[i]);
    }
    mem_free(threads);
}

static void init_lock(struct trials *trials)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&trials->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&trials->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

enum gp_status trials_run(const struct trial_plan *plan, struct gp_error *err)
{
    struct trials trials = {.plan = plan};
    init_lock(&trials);
    run_threads(&trials);
    pthread_cond_destroy(&trials.changed);
    pthread_mutex_destroy(&trials.lock);
    const struct gp_error *error = &trials.error;
    return error->status == GP_OK
               ? GP_OK
               : gp_error_set(err, error->status, "%s", error->message);
}
