/* Each thread takes one slot after another. The calling thread enforces the deadlines: the watcher may
 * not run yet, and knows only models that are served. */
#include "model/warm_up.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/place.h"
#include "model/run.h"
#include "model/warm_up_requests.h"

#include <string.h>

#define LOOK_NS (20 * CLOCK_MS)

struct warm_up {
    struct model *model;
    int64_t limit_ns;
    struct warm_up_requests requests;

    pthread_mutex_t lock;   /* of what follows */
    pthread_cond_t changed; /* on the monotonic clock: a run or a thread has ended */
    uint32_t next_slot;
    unsigned n_active;     /* threads */
    struct gp_error error; /* why the first request failed */
};

/* A thread and its current request. */
struct warm_up_thread {
    struct inference inference; /* first: request_ended */
    struct task start;
    struct warm_up *warm_up;
    struct worker *worker;
    pthread_t thread;
    struct gp_request request;
    struct pool_buffer body;
    uint32_t slot;
    bool has_ended; /* under the lock */
};

/* --- one request, on one slot --- */

static bool is_ending(const struct inference *inference)
{
    return atomic_load(inference->model->host->is_ending);
}

static void request_ended(struct worker *worker, struct task *task)
{
    (void)worker;
    struct warm_up_thread *thread = (struct warm_up_thread *)(void *)task;
    struct warm_up *warm_up = thread->warm_up;
    pthread_mutex_lock(&warm_up->lock);
    thread->has_ended = true;
    pthread_cond_broadcast(&warm_up->changed);
    pthread_mutex_unlock(&warm_up->lock);
}

static void start_request(struct worker *worker, struct task *task)
{
    struct warm_up_thread *thread =
        (struct warm_up_thread *)(void *)((char *)task -
                                          offsetof(struct warm_up_thread, start));
    struct inference *inference = &thread->inference;
    if (run_enter_at(worker, inference, thread->slot))
        return;
    gp_error_set(&inference->error, GP_ENGINE, "the process of slot %u has ended",
                 thread->slot);
    request_ended(worker, &inference->task);
}

/* Runs it on this thread or the slot's own. */
static void carry_request(struct warm_up_thread *thread)
{
    struct warm_up *warm_up = thread->warm_up;
    thread->has_ended = false;
    worker_carry(thread->worker, &thread->start);
    pthread_mutex_lock(&warm_up->lock);
    while (!thread->has_ended)
        pthread_cond_wait(&warm_up->changed, &warm_up->lock);
    pthread_mutex_unlock(&warm_up->lock);
}

static void begin_request(struct warm_up_thread *thread)
{
    struct inference *inference = &thread->inference;
    inference->arrived_ns = clock_now_ns();
    inference->deadline_ns = inference->arrived_ns + thread->warm_up->limit_ns;
    inference->inputs = NULL;
    inference->wanted = NULL;
}

static void end_request(struct warm_up_thread *thread)
{
    struct engine_run *run = &thread->inference.run.engine_run;
    engine_run_drop(run);
    pool_give(run->pool, &thread->body);
    gp_arena_reset(thread->inference.arena);
}

/* "warm-up request 2 of 5, requests/b: ..."; with the lock held. */
static void keep_failure(struct warm_up_thread *thread, size_t index)
{
    struct warm_up *warm_up = thread->warm_up;
    const struct warm_up_requests *requests = &warm_up->requests;
    const struct gp_error *why = &thread->inference.error;
    const char *path = requests->paths ? requests->paths[index] : "";
    if (warm_up->error.status != GP_OK)
        return;
    if (is_ending(&thread->inference))
        gp_error_set(&warm_up->error, GP_UNAVAILABLE,
                     "the server ended during the warm-up");
    else if (why->status == GP_DEADLINE)
        gp_error_set(&warm_up->error, GP_DEADLINE,
                     "warm-up request %zu of %zu%s%.*s: still running after %lld ms",
                     index + 1, requests->n, *path ? ", " : "", gp_cut(path, 120), path,
                     (long long)(warm_up->limit_ns / CLOCK_MS));
    else
        gp_error_set(&warm_up->error, why->status, "warm-up request %zu of %zu%s%.*s: %s",
                     index + 1, requests->n, *path ? ", " : "", gp_cut(path, 120), path,
                     why->message);
}

/* True when all is well, here and with the other threads. */
static bool run_request(struct warm_up_thread *thread, size_t index)
{
    struct warm_up *warm_up = thread->warm_up;
    struct inference *inference = &thread->inference;
    begin_request(thread);
    if (is_ending(inference))
        gp_error_set(&inference->error, GP_UNAVAILABLE, "the server is ending");
    else if (warm_up_requests_read(&warm_up->requests, index, inference->arena,
                                   &inference->run.engine_run, &thread->request,
                                   &inference->error) == GP_OK &&
             model_bind(inference))
        carry_request(thread);
    end_request(thread);
    pthread_mutex_lock(&warm_up->lock);
    if (inference->error.status != GP_OK)
        keep_failure(thread, index);
    const bool is_well = warm_up->error.status == GP_OK;
    pthread_mutex_unlock(&warm_up->lock);
    return is_well;
}

/* --- the threads --- */

static bool take_slot(struct warm_up_thread *thread)
{
    struct warm_up *warm_up = thread->warm_up;
    pthread_mutex_lock(&warm_up->lock);
    const bool has_slot = warm_up->next_slot < warm_up->model->slots.n;
    if (has_slot)
        thread->slot = warm_up->next_slot++;
    pthread_mutex_unlock(&warm_up->lock);
    return has_slot;
}

static void *warm_up_main(void *arg)
{
    struct warm_up_thread *thread = arg;
    struct warm_up *warm_up = thread->warm_up;
    bool is_well = true;
    while (is_well && take_slot(thread))
        for (size_t i = 0; i < warm_up->requests.n && is_well; i++)
            is_well = run_request(thread, i);
    pthread_mutex_lock(&warm_up->lock);
    warm_up->n_active--;
    pthread_cond_broadcast(&warm_up->changed);
    pthread_mutex_unlock(&warm_up->lock);
    return NULL;
}

static void finish_thread(struct warm_up_thread *thread)
{
    engine_run_finish(&thread->inference.run.engine_run);
    gp_arena_destroy(thread->inference.arena);
    worker_destroy(thread->worker);
}

static bool init_thread(struct warm_up_thread *thread, struct warm_up *warm_up)
{
    struct model *model = warm_up->model;
    struct inference *inference = &thread->inference;
    struct engine_run *run = &inference->run.engine_run;
    thread->warm_up = warm_up;
    thread->start.go = start_request;
    inference->task.go = request_ended;
    inference->model = model;
    inference->request = &thread->request;
    inference->is_left = is_ending;
    inference->arena = gp_arena_create();
    thread->worker = inference->arena ? worker_create(model->host->poller) : NULL;
    if (!thread->worker) {
        gp_arena_destroy(inference->arena);
        return false;
    }
    engine_run_init(run, model->host->pool, inference->arena);
    run->body = &thread->body;
    run->memory = model->memory;
    return true;
}

static bool begin_thread(struct warm_up_thread *thread, struct warm_up *warm_up)
{
    char words[PLACE_WORDS_BYTES];
    const bool has_memory = init_thread(thread, warm_up);
    pthread_mutex_lock(&warm_up->lock);
    const int rc =
        has_memory ? pthread_create(&thread->thread, NULL, warm_up_main, thread) : 0;
    if (!has_memory)
        gp_error_set(&warm_up->error, GP_NO_MEMORY, "warm-up: no memory for a thread");
    else if (rc != 0)
        gp_error_set(&warm_up->error, GP_UNAVAILABLE, "warm-up: cannot make a thread: %s",
                     place_explain(rc, words));
    const bool is_begun = has_memory && rc == 0;
    warm_up->n_active += is_begun;
    pthread_mutex_unlock(&warm_up->lock);
    if (has_memory && !is_begun)
        finish_thread(thread);
    return is_begun;
}

/* Until all threads have ended. */
static void watch_threads(struct warm_up *warm_up)
{
    pthread_mutex_lock(&warm_up->lock);
    while (warm_up->n_active) {
        const int64_t until_ns = clock_now_ns() + LOOK_NS;
        const struct timespec until = {.tv_sec = until_ns / CLOCK_S,
                                       .tv_nsec = until_ns % CLOCK_S};
        (void)pthread_cond_timedwait(&warm_up->changed, &warm_up->lock, &until);
        pthread_mutex_unlock(&warm_up->lock);
        slots_watch(&warm_up->model->slots);
        pthread_mutex_lock(&warm_up->lock);
    }
    pthread_mutex_unlock(&warm_up->lock);
}

static void run_threads(struct warm_up *warm_up)
{
    const struct model *model = warm_up->model;
    const unsigned n_cores = model->host->n_cores;
    const unsigned n = model->slots.n < n_cores ? model->slots.n : n_cores;
    struct warm_up_thread *threads = mem_array(n, sizeof *threads);
    unsigned n_begun = 0;
    if (!threads) {
        gp_error_set(&warm_up->error, GP_NO_MEMORY, "warm-up: no memory for threads");
        return;
    }
    while (n_begun < n && begin_thread(&threads[n_begun], warm_up))
        n_begun++;
    watch_threads(warm_up);
    for (unsigned i = 0; i < n_begun; i++) {
        pthread_join(threads[i].thread, NULL);
        finish_thread(&threads[i]);
    }
    mem_free(threads);
}

static void init_lock(struct warm_up *warm_up)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&warm_up->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&warm_up->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

enum gp_status warm_up_model(struct model *model, const char *what, int64_t limit_ns,
                             struct gp_error *err)
{
    const int64_t began_ns = clock_now_ns();
    struct warm_up warm_up = {.model = model, .limit_ns = limit_ns};
    enum gp_status status = GP_OK;
    if (what)
        status = warm_up_requests_init(&warm_up.requests, model, what, err);
    if (status == GP_OK && warm_up.requests.n) {
        init_lock(&warm_up);
        run_threads(&warm_up);
        pthread_cond_destroy(&warm_up.changed);
        pthread_mutex_destroy(&warm_up.lock);
        model->warm_up_ns = clock_now_ns() - began_ns;
        if (warm_up.error.status != GP_OK)
            status = gp_error_set(err, warm_up.error.status, "%s", warm_up.error.message);
    }
    warm_up_requests_finish(&warm_up.requests);
    return status;
}
