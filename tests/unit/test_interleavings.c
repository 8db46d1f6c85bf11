/* Entries, ends of waits, passes, cancels, lost slots and models that come and go at random, on several
 * threads, for what the tests of single steps cannot reach: two steps at once. Worth most under
 * ThreadSanitizer.
 *
 * A few dozen inferences go round (rounders.h), until so many have entered, or for a few seconds. The
 * test's thread meanwhile turns the clock, has clients leave, looks as the watcher does, cancels all, plays
 * the supervisor of children, and checks what has to hold at any moment. GP_SEED repeats the choices,
 * though not the threads' order. */
#include "chance.h"
#include "model/cached.h"
#include "rounders.h"
#include "temp_tree.h"
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

enum { MAX_WAITING = 16 };

/* In real time: what beside other busy processes takes longer is cut short; only a hang reaches the
 * limit. */
enum { SECONDS = 5, LIMIT_S = 120 };

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

static void take_news(struct worker *worker, struct task *task)
{
    struct rounders_world *world =
        (struct rounders_world *)(void *)((char *)task -
                                          offsetof(struct rounders_world, news));
    (void)worker;
    atomic_store(&world->has_news, false);
    slots_take_news(world->slots);
}

static void begin_children(struct rounders_world *world)
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
static void begin_batches(struct rounders_world *world)
{
    static const uint32_t sizes[] = {2, 5};
    const int64_t delay_ns = any(2) * 10 * CLOCK_MS;
    fake_model_batch(&world->model, ROW_REQUEST_MOST, sizes, any(3));
    assert_int_equal(slots_delay(world->slots, delay_ns, NULL), GP_OK);
}

/* The poller's timer, which knows no other clock than the real one. */
static void ring(struct rounders_world *world)
{
    const struct itimerspec soon = {.it_value.tv_nsec = 1};
    if (world->poller.alarm.serve)
        timerfd_settime(world->poller.alarm.fd, 0, &soon, NULL);
}

static struct rounders_world *begin(enum rounders_kind kind, uint32_t n_slots,
                                    int n_rounders)
{
    struct rounders_world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    turned_clock_end();
    turned_clock_set(clock_now_ns() + 3600 * CLOCK_S); /* no wait ends by it */
    world->kind = kind;
    world->news.go = take_news;
    assert_int_equal(poller_init(&world->poller, NULL, 2, NULL), GP_OK);
    fake_model_begin(&world->model, &world->poller, n_slots, MAX_WAITING);
    assert_int_equal(poller_need(&world->poller, 1, NULL), GP_OK);
    fake_model_run_with(&world->model, rounders_run, world);
    world->slots = &world->model.model.slots;
    pthread_mutex_init(&world->isolate.lock, NULL);
    if (kind == ROUNDERS_CHILDREN)
        begin_children(world);
    if (rounders_have_rows(world))
        begin_batches(world);
    if (kind == ROUNDERS_CACHED)
        fake_model_cache(&world->model, tree_path("/rows"));
    if (kind == ROUNDERS_MODELS)
        world->tenants = tenants_begin(&world->model.host, rounders_work);
    if (kind == ROUNDERS_SLOT_THREADS)
        assert_int_equal(slots_start_threads(world->slots, NULL), GP_OK);
    for (int i = 0; i < ROUNDERS_N; i++)
        rounder_begin(&world->rounders[i], world);
    world->n_going = n_rounders;
    assert_int_equal(poller_start(&world->poller, NULL), GP_OK);
    for (int i = 0; i < n_rounders; i++)
        poller_ready(&world->poller, &world->rounders[i].again);
    return world;
}

/* Children that the supervisor has are started again. */
static void supervise(struct rounders_world *world)
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
static void check_queue(struct rounders_world *world)
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
    for (int i = 0; i < ROUNDERS_N_CLIENTS; i++)
        n_held += world->clients[i].n_held;
    CHECK(slots->queue.end == at);
    CHECK(slots->queue.n == n);
    CHECK(n_held == n || world->kind == ROUNDERS_MODELS);
    CHECK(n <= MAX_WAITING);
    CHECK(n == 0 || slots->first_free >= slots->n || slots->queue.max_delay_ns);
    if (rounders_have_rows(
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
static void watch_all(struct rounders_world *world)
{
    watch_model(&world->model.model, NULL);
    if (world->kind == ROUNDERS_MODELS)
        tenants_each(world->tenants, watch_model);
}

static void cancel_all(struct rounders_world *world)
{
    cancel_model(&world->model.model, NULL);
    if (world->kind == ROUNDERS_MODELS)
        tenants_each(world->tenants, cancel_model);
}

/* One step of the test's thread. */
static void meddle(struct rounders_world *world)
{
    if (world->kind == ROUNDERS_MODELS)
        tenants_change(world->tenants);
    switch (any(8)) {
    case 0:
        turned_clock_add(any(30) * CLOCK_MS);
        break;
    case 1:
        atomic_store(&world->rounders[any(ROUNDERS_N)].fake.is_left, true);
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

static void end(struct rounders_world *world)
{
    poller_stop(&world->poller);
    slots_stop_threads(world->slots);
    assert_null(world->poller.ready_tasks);
    assert_int_equal(world->poller.n_ready, 0);
    assert_int_equal(world->poller.n_engaged, 0);
    for (int i = 0; i < ROUNDERS_N_CLIENTS; i++)
        assert_int_equal(world->clients[i].n_held, 0);
    for (int i = 0; i < ROUNDERS_N; i++) {
        assert_false(world->rounders[i].is_away);
        fake_inference_end(&world->rounders[i].fake);
    }
    if (world->kind == ROUNDERS_CHILDREN)
        close(world->isolate.supervisor_fd);
    if (world->kind == ROUNDERS_MODELS)
        tenants_end(world->tenants);
    pthread_mutex_destroy(&world->isolate.lock);
    fake_model_end(&world->model); /* every slot is free */
    poller_finish(&world->poller);
    free(world);
    turned_clock_end();
}

/* Until all are back for good, and no slot is lost any more. */
static void explore(enum rounders_kind kind, uint32_t n_slots, int n_rounders)
{
    struct rounders_world *world = begin(kind, n_slots, n_rounders);
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
    explore(ROUNDERS_PLAIN, 1, 2);
    explore(ROUNDERS_PLAIN, 2, 3);
    explore(ROUNDERS_PLAIN, 3, ROUNDERS_N);
}

static void runs_on_threads_of_their_own(void **state)
{
    (void)state;
    explore(ROUNDERS_SLOT_THREADS, 2, 3);
    explore(ROUNDERS_SLOT_THREADS, 3, ROUNDERS_N);
}

static void slots_that_are_lost_for_a_while(void **state)
{
    (void)state;
    explore(ROUNDERS_CHILDREN, 2, 3);
    explore(ROUNDERS_CHILDREN, 3, ROUNDERS_N);
}

static void runs_of_several(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        explore(ROUNDERS_BATCHES, 1, ROUNDERS_N);
        explore(ROUNDERS_BATCHES, 2, ROUNDERS_N);
    }
}

static void rows_that_others_compute(void **state)
{
    (void)state;
    explore(ROUNDERS_CACHED, 1, 4);
    explore(ROUNDERS_CACHED, 1, ROUNDERS_N);
    explore(ROUNDERS_CACHED, 2, ROUNDERS_N);
}

static void models_that_come_and_go(void **state)
{
    (void)state;
    explore(ROUNDERS_MODELS, 1, 3);
    explore(ROUNDERS_MODELS, 1, ROUNDERS_N);
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
