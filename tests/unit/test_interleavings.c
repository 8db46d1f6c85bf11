/* Entries, ends of waits, passes, cancels, lost slots and models that come and go at random, on several
 * threads, for what the tests of single steps cannot reach: two steps at once. Worth most under
 * ThreadSanitizer.
 *
 * A few dozen inferences go round: each enters, comes back, and enters again on whichever thread it
 * has come to, until so many have, or for a few seconds. The test's thread meanwhile turns the clock, has clients leave,
 * looks as the watcher does, cancels all, plays the supervisor of children, and checks what has to
 * hold at any moment. GP_SEED repeats the choices, though not the threads' order. */
#include "chance.h"
#include "engine/isolate_child.h"
#include "fake_model.h"
#include "model/cached.h"
#include "net/poller.h"
#include "row_request.h"
#include "temp_tree.h"
#include "tenants.h"
#include "turned_clock.h"

#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 24, N_CLIENTS = 3, MAX_SLOTS = 3, MAX_WAITING = 16, N_ENTRIES = 10000 };

/* In real time: what beside other busy processes takes longer is cut short; only a hang reaches the
 * limit. */
enum { SECONDS = 5, LIMIT_S = 120 };

enum kind { PLAIN, SLOT_THREADS, CHILDREN, MODELS, BATCHES, CACHED };

struct rounder {
    struct fake_inference fake; /* first */
    struct task again;
    struct world *world;
    atomic_bool is_away; /* entered, and not back yet */
    atomic_int n_cancels;
    int n_ends; /* that were over in the world when it entered */

    struct row_request rows; /* with BATCHES and CACHED */
};

struct world {
    struct poller poller;
    struct fake_model model;
    struct slots *slots;
    struct rounder rounders[N];
    struct share_taker clients[N_CLIENTS];
    atomic_int n_entered;
    atomic_bool is_late;     /* nothing more enters */
    atomic_int n_going;      /* rounders */
    atomic_int n_ends_begun; /* of all that enters */
    atomic_int n_ends_over;
    unsigned n_runs[MAX_SLOTS]; /* not atomic: a slot has one run at a time */
    pthread_t threads[MAX_SLOTS];
    atomic_int n_cancels[MAX_SLOTS]; /* with BATCHES and CACHED */
    enum kind kind;

    struct isolate isolate;
    struct child children[MAX_SLOTS];
    struct task news;
    atomic_bool has_news; /* the task is under way */

    struct tenants *tenants;
};

/* The linker puts it in the place of pthread_mutex_lock: threads meet more often where one could have
 * gone on and yields instead. */
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (any(4) == 0)
        sched_yield();
    return __real_pthread_mutex_lock(mutex);
}

static bool has_rows(const struct world *world)
{
    return world->kind == BATCHES || world->kind == CACHED;
}

/* --- the engine --- */

/* Left registered: it may come until the run's result has been taken, and not when it is back. */
static void cancel_run(void *arg)
{
    struct rounder *rounder = arg;
    CHECK(atomic_load(&rounder->is_away));
    CHECK(atomic_fetch_add(&rounder->n_cancels, 1) == 0);
}

static void check_slot(struct world *world, uint32_t slot)
{
    if (!world->n_runs[slot]++)
        world->threads[slot] = pthread_self();
    CHECK(world->kind != SLOT_THREADS ||
          pthread_equal(world->threads[slot], pthread_self()));
}

static enum gp_status work_anyhow(const struct gp_call *call, struct gp_error *err)
{
    struct rounder *rounder = (struct rounder *)(void *)fake_inference_of(call);
    atomic_store(&rounder->n_cancels, 0);
    bool is_stopped = any(2) && gp_call_on_cancel(call, cancel_run, rounder) != GP_OK;
    for (unsigned i = any(4) ? any(4) : any(200); i > 0 && !is_stopped; i--) {
        sched_yield();
        is_stopped = atomic_load(&rounder->n_cancels) > 0;
    }
    return is_stopped || any(4) == 0 ? gp_error_set(err, GP_ENGINE, "it gave up") : GP_OK;
}

static void count_cancel(void *n_cancels)
{
    CHECK(atomic_fetch_add((atomic_int *)n_cancels, 1) == 0);
}

/* Gives the rows back, whosoever they are. */
static enum gp_status run_rows(struct world *world, uint32_t slot,
                               const struct gp_call *call, struct gp_outputs *outputs,
                               struct gp_error *err)
{
    atomic_int *n_cancels = &world->n_cancels[slot];
    atomic_store(n_cancels, 0);
    bool is_stopped = any(2) && gp_call_on_cancel(call, count_cancel, n_cancels) != GP_OK;
    for (unsigned i = any(4) ? any(4) : any(200); i > 0 && !is_stopped; i--) {
        sched_yield();
        is_stopped = atomic_load(n_cancels) > 0;
    }
    if (is_stopped || any(8) == 0)
        return gp_error_set(err, GP_ENGINE, "it gave up");
    return row_request_echo(call, outputs, err);
}

static enum gp_status run_anyhow(void *handle, uint32_t slot, const struct gp_call *call,
                                 struct gp_outputs *outputs, struct gp_error *err)
{
    struct world *world = handle;
    check_slot(world, slot);
    if (has_rows(world))
        return run_rows(world, slot, call, outputs, err);
    const enum gp_status status = work_anyhow(call, err);
    if (world->kind == CHILDREN && any(8) == 0)
        world->children[slot].is_late = true; /* the slot is lost, for a while */
    return status;
}

/* --- the inferences --- */

static void go_on(struct rounder *rounder, struct worker *worker)
{
    struct task *again = &rounder->again;
    if (any(2))
        worker_take(worker, again);
    else
        poller_ready(&rounder->world->poller, again);
    if (any(8) == 0)
        worker_share(worker);
}

static void come_back(struct worker *worker, struct task *task);

/* Few rows, so that others have them too. */
static void ask_for_known(struct rounder *rounder)
{
    static const char *const names[] = {"y"};
    static const uint32_t order[] = {0};
    struct inference *inference = &rounder->fake.inference;
    for (uint64_t i = 0; i < inference->n_rows; i++)
        rounder->rows.rows[i] %= 64;
    inference->run.engine_run.call.output_names = names;
    inference->run.engine_run.call.n_outputs = inference->n_wanted = 1;
    inference->output_order = order;
}

static enum cached_way enter_model(struct worker *worker, struct rounder *rounder)
{
    struct inference *inference = &rounder->fake.inference;
    if (rounder->world->kind == CACHED)
        return cached_enter(worker, inference);
    return run_enter(worker, inference) ? CACHED_GOES : CACHED_REFUSED;
}

static void enter(struct worker *worker, struct task *task)
{
    struct rounder *rounder =
        (struct rounder *)(void *)((char *)task - offsetof(struct rounder, again));
    struct world *world = rounder->world;
    struct inference *inference = &rounder->fake.inference;
    if (atomic_load(&world->is_late) ||
        atomic_fetch_add(&world->n_entered, 1) >= N_ENTRIES) {
        atomic_fetch_sub(&world->n_going, 1);
        return;
    }
    fake_inference_renew(&rounder->fake,
                         any(2) ? clock_now_ns() + any(20) * CLOCK_MS : 0);
    if (world->kind == MODELS && !tenants_hold(world->tenants, inference)) {
        go_on(rounder, worker);
        return;
    }
    if (has_rows(world))
        row_request_fill(&rounder->rows, inference);
    if (world->kind == CACHED)
        ask_for_known(rounder);
    inference->client = &world->clients[any(N_CLIENTS)];
    rounder->n_ends = atomic_load(&world->n_ends_over);
    CHECK(!atomic_exchange(&rounder->is_away, true));
    const enum cached_way way = enter_model(worker, rounder);
    if (way == CACHED_GOES)
        return; /* it is another's from now on */
    if (way == CACHED_FOUND) {
        come_back(worker, &inference->task);
        return;
    }
    CHECK(atomic_exchange(&rounder->is_away, false));
    CHECK(inference->error.status == GP_BUSY);
    if (world->kind == MODELS)
        tenants_drop(inference);
    go_on(rounder, worker);
}

/* It failed for no reason but what has happened to it. */
static bool is_explained(struct rounder *rounder)
{
    const struct inference *inference = &rounder->fake.inference;
    switch (inference->error.status) {
    case GP_OK:
    case GP_ENGINE:
        return true;
    case GP_CANCELLED:
        return atomic_load(&rounder->fake.is_left);
    case GP_DEADLINE:
        return inference->deadline_ns && inference->deadline_ns <= clock_now_ns();
    case GP_UNAVAILABLE:
        return rounder->n_ends != atomic_load(&rounder->world->n_ends_begun);
    case GP_BUSY: /* when its turn came to run what another had failed to */
        return rounder->world->kind == CACHED;
    default:
        return false;
    }
}

static void come_back(struct worker *worker, struct task *task)
{
    struct rounder *rounder = (struct rounder *)(void *)task;
    CHECK(atomic_exchange(&rounder->is_away, false));
    CHECK(is_explained(rounder));
    CHECK(!has_rows(rounder->world) || rounder->fake.inference.error.status != GP_OK ||
          row_request_has_answer(&rounder->rows, &rounder->fake.inference));
    if (rounder->world->kind == MODELS)
        tenants_drop(&rounder->fake.inference);
    go_on(rounder, worker);
}

/* --- the world --- */

static void take_news(struct worker *worker, struct task *task)
{
    struct world *world =
        (struct world *)(void *)((char *)task - offsetof(struct world, news));
    (void)worker;
    atomic_store(&world->has_news, false);
    slots_take_news(world->slots);
}

static void begin_children(struct world *world)
{
    struct isolate *isolate = &world->isolate;
    world->slots->isolate = isolate;
    isolate->children = world->children;
    isolate->n_children = world->slots->n;
    isolate->supervisor_fd = eventfd(0, EFD_NONBLOCK);
    for (uint32_t i = 0; i < isolate->n_children; i++)
        world->children[i] =
            (struct child){.isolate = isolate, .slot = i, .pid = INT_MAX, .link.fd = -1};
}

/* Some wait for others, so long that the clock has to be turned. */
static void begin_batches(struct world *world)
{
    static const uint32_t sizes[] = {2, 5};
    const int64_t delay_ns = any(2) * 10 * CLOCK_MS;
    fake_model_batch(&world->model, ROW_REQUEST_MOST, sizes, any(3));
    assert_int_equal(slots_delay(world->slots, delay_ns, NULL), GP_OK);
}

/* The poller's timer, which knows no other clock than the real one. */
static void ring(struct world *world)
{
    const struct itimerspec soon = {.it_value.tv_nsec = 1};
    if (world->poller.alarm.serve)
        timerfd_settime(world->poller.alarm.fd, 0, &soon, NULL);
}

static struct world *begin(enum kind kind, uint32_t n_slots, int n_rounders)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    turned_clock_end();
    turned_clock_set(clock_now_ns() + 3600 * CLOCK_S); /* no wait ends by it */
    world->kind = kind;
    world->news.go = take_news;
    assert_int_equal(poller_init(&world->poller, NULL, 2, NULL), GP_OK);
    fake_model_begin(&world->model, &world->poller, n_slots, MAX_WAITING);
    assert_int_equal(poller_need(&world->poller, 1, NULL), GP_OK);
    fake_model_run_with(&world->model, run_anyhow, world);
    world->slots = &world->model.model.slots;
    pthread_mutex_init(&world->isolate.lock, NULL);
    if (kind == CHILDREN)
        begin_children(world);
    if (has_rows(world))
        begin_batches(world);
    if (kind == CACHED)
        fake_model_cache(&world->model, tree_path("/rows"));
    if (kind == MODELS)
        world->tenants = tenants_begin(&world->model.host, work_anyhow);
    if (kind == SLOT_THREADS)
        assert_int_equal(slots_start_threads(world->slots, NULL), GP_OK);
    for (int i = 0; i < N; i++) {
        struct rounder *rounder = &world->rounders[i];
        fake_inference_begin(&rounder->fake, &world->model);
        rounder->fake.inference.task.go = come_back;
        rounder->again.go = enter;
        rounder->world = world;
    }
    world->n_going = n_rounders;
    assert_int_equal(poller_start(&world->poller, NULL), GP_OK);
    for (int i = 0; i < n_rounders; i++)
        poller_ready(&world->poller, &world->rounders[i].again);
    return world;
}

/* Children that the supervisor has are started again. */
static void supervise(struct world *world)
{
    bool has_news = false;
    pthread_mutex_lock(&world->isolate.lock);
    for (uint32_t i = 0; i < world->isolate.n_children; i++) {
        struct child *child = &world->children[i];
        if (!child->is_supervised)
            continue;
        child->is_late = false;
        child->state = ISOLATE_READY;
        child->is_supervised = false;
        child->is_usable_news = true;
        has_news = true;
    }
    pthread_mutex_unlock(&world->isolate.lock);
    if (has_news && !atomic_exchange(&world->has_news, true))
        poller_ready(&world->poller, &world->news);
}

/* What holds at any moment. */
static void check_queue(struct world *world)
{
    struct slots *slots = world->slots;
    unsigned n = 0, n_held = 0;
    pthread_mutex_lock(&slots->lock);
    struct task **at = &slots->queue.first;
    for (; *at; at = &(*at)->next, n++) {
        const int64_t deadline_ns = ((struct run *)(void *)*at)->inference->deadline_ns;
        CHECK(!deadline_ns ||
              (slots->queue.deadline_ns && slots->queue.deadline_ns <= deadline_ns));
    }
    for (int i = 0; i < N_CLIENTS; i++)
        n_held += world->clients[i].n_held;
    CHECK(slots->queue.end == at);
    CHECK(slots->queue.n == n);
    CHECK(n_held == n || world->kind == MODELS);
    CHECK(n <= MAX_WAITING);
    CHECK(n == 0 || slots->first_free >= slots->n || slots->queue.max_delay_ns);
    if (has_rows(
            world)) /* an engine that gives up at random seems not to be made for it */
        slots->queue.max_rows = ROW_REQUEST_MOST;
    pthread_mutex_unlock(&slots->lock);
}

static void watch_model(struct model *model, void *arg)
{
    (void)arg;
    slots_watch(&model->slots);
    cached_watch(model);
}

static void cancel_model(struct model *model, void *arg)
{
    (void)arg;
    cached_cancel(model);
    slots_cancel(&model->slots);
}

/* As the server does. */
static void watch_all(struct world *world)
{
    watch_model(&world->model.model, NULL);
    if (world->kind == MODELS)
        tenants_each(world->tenants, watch_model);
}

static void cancel_all(struct world *world)
{
    cancel_model(&world->model.model, NULL);
    if (world->kind == MODELS)
        tenants_each(world->tenants, cancel_model);
}

/* One step of the test's thread. */
static void meddle(struct world *world)
{
    if (world->kind == MODELS)
        tenants_change(world->tenants);
    switch (any(8)) {
    case 0:
        turned_clock_add(any(30) * CLOCK_MS);
        break;
    case 1:
        atomic_store(&world->rounders[any(N)].fake.is_left, true);
        break;
    case 2:
    case 3:
        watch_all(world);
        break;
    case 4:
        if (any(16))
            break;
        atomic_fetch_add(&world->n_ends_begun, 1);
        cancel_all(world);
        atomic_fetch_add(&world->n_ends_over, 1);
        break;
    case 5:
        supervise(world);
        break;
    case 6:
        ring(world);
        sched_yield();
        break;
    default:
        check_queue(world);
    }
}

static void end(struct world *world)
{
    poller_stop(&world->poller);
    slots_stop_threads(world->slots);
    assert_null(world->poller.ready_tasks);
    assert_int_equal(world->poller.n_ready, 0);
    assert_int_equal(world->poller.n_engaged, 0);
    for (int i = 0; i < N_CLIENTS; i++)
        assert_int_equal(world->clients[i].n_held, 0);
    for (int i = 0; i < N; i++) {
        assert_false(world->rounders[i].is_away);
        fake_inference_end(&world->rounders[i].fake);
    }
    if (world->kind == CHILDREN)
        close(world->isolate.supervisor_fd);
    if (world->kind == MODELS)
        tenants_end(world->tenants);
    pthread_mutex_destroy(&world->isolate.lock);
    fake_model_end(&world->model); /* every slot is free */
    poller_finish(&world->poller);
    free(world);
    turned_clock_end();
}

/* Until all are back for good, and no slot is lost any more. */
static void explore(enum kind kind, uint32_t n_slots, int n_rounders)
{
    struct world *world = begin(kind, n_slots, n_rounders);
    const time_t begin_s = time(NULL);
    while (atomic_load(&world->n_going) || atomic_load(&world->poller.n_engaged) ||
           atomic_load(&world->has_news)) {
        meddle(world);
        if (time(NULL) - begin_s > SECONDS)
            atomic_store(&world->is_late, true);
        CHECK(time(NULL) - begin_s < LIMIT_S);
    }
    end(world);
}

static void runs_on_the_threads_that_poll(void **state)
{
    (void)state;
    explore(PLAIN, 1, 2);
    explore(PLAIN, 2, 3);
    explore(PLAIN, 3, N);
}

static void runs_on_threads_of_their_own(void **state)
{
    (void)state;
    explore(SLOT_THREADS, 2, 3);
    explore(SLOT_THREADS, 3, N);
}

static void slots_that_are_lost_for_a_while(void **state)
{
    (void)state;
    explore(CHILDREN, 2, 3);
    explore(CHILDREN, 3, N);
}

static void runs_of_several(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        explore(BATCHES, 1, N);
        explore(BATCHES, 2, N);
    }
}

static void rows_that_others_compute(void **state)
{
    (void)state;
    explore(CACHED, 1, 4);
    explore(CACHED, 1, N);
    explore(CACHED, 2, N);
}

static void models_that_come_and_go(void **state)
{
    (void)state;
    explore(MODELS, 1, 3);
    explore(MODELS, 1, N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_on_the_threads_that_poll),
        cmocka_unit_test(runs_on_threads_of_their_own),
        cmocka_unit_test(slots_that_are_lost_for_a_while),
        cmocka_unit_test(runs_of_several),
        cmocka_unit_test_setup_teardown(rows_that_others_compute, tree_make, tree_remove),
        cmocka_unit_test(models_that_come_and_go),
    };
    const char *wanted = getenv("GP_SEED");
    chance_seed = wanted ? strtoul(wanted, NULL, 10) : (unsigned long)time(NULL);
    (void)printf("GP_SEED=%lu\n", chance_seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
