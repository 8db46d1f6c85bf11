/* Work on several threads, and engines that open one model at a time. */
#include "base/parallel.h"
#include "engine/engine.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 200 };

static void count(void *context, size_t i)
{
    atomic_int *counts = context;
    counts[i]++;
}

static void all_is_done_once(void **state)
{
    (void)state;
    for (unsigned n_threads = 0; n_threads < 6; n_threads++) {
        atomic_int counts[N] = {0};
        parallel_each(n_threads, N - 1, count, counts);
        for (int i = 0; i < N - 1; i++)
            assert_int_equal(counts[i], 1);
        assert_int_equal(counts[N - 1], 0);
    }
    parallel_each(3, 0, count, NULL);
}

static void meet(void *context, size_t i)
{
    (void)i;
    pthread_barrier_wait(context);
}

/* Or it would never end. */
static void threads_work_at_the_same_time(void **state)
{
    pthread_barrier_t barrier;
    (void)state;
    pthread_barrier_init(&barrier, NULL, 3);
    parallel_each(3, 3, meet, &barrier);
    pthread_barrier_destroy(&barrier);
}

struct slow_work {
    pthread_t caller;
    atomic_int n_done;
};

static void take_time(void *context, size_t i)
{
    struct slow_work *work = context;
    (void)i;
    if (!pthread_equal(pthread_self(), work->caller))
        usleep(20000); /* the caller's part is done long before */
    work->n_done++;
}

static void all_is_done_at_the_end(void **state)
{
    struct slow_work work = {.caller = pthread_self()};
    (void)state;
    parallel_each(4, 100, take_time, &work);
    assert_int_equal(work.n_done, 100);
}

struct opening {
    struct gp_engine engine;
    atomic_int n_inside;
    atomic_int n_most;
    pthread_barrier_t barrier;
};

static void open_alone(void *context, size_t i)
{
    struct opening *opening = context;
    (void)i;
    engine_enter(&opening->engine);
    if (++opening->n_inside > opening->n_most)
        opening->n_most = opening->n_inside;
    for (int k = 0; k < 20; k++)
        sched_yield();
    opening->n_inside--;
    engine_leave(&opening->engine);
}

static void open_together(void *context, size_t i)
{
    struct opening *opening = context;
    (void)i;
    engine_enter(&opening->engine);
    pthread_barrier_wait(&opening->barrier);
    engine_leave(&opening->engine);
}

static void engines_open_one_at_a_time(void **state)
{
    (void)state;
    struct opening opening = {.engine.size_bytes = sizeof opening.engine};
    parallel_each(4, N, open_alone, &opening);
    assert_int_equal(opening.n_most, 1);
    /* one of an earlier release, which has no flags */
    opening.engine.size_bytes = offsetof(struct gp_engine, flags);
    opening.engine.flags = GP_OPENS_TOGETHER;
    parallel_each(4, N, open_alone, &opening);
    assert_int_equal(opening.n_most, 1);
}

static void engines_may_open_together(void **state)
{
    struct opening opening = {
        .engine = {.size_bytes = sizeof opening.engine, .flags = GP_OPENS_TOGETHER}};
    (void)state;
    pthread_barrier_init(&opening.barrier, NULL, 2);
    parallel_each(2, 2, open_together, &opening);
    pthread_barrier_destroy(&opening.barrier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_done_once),
        cmocka_unit_test(threads_work_at_the_same_time),
        cmocka_unit_test(all_is_done_at_the_end),
        cmocka_unit_test(engines_open_one_at_a_time),
        cmocka_unit_test(engines_may_open_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
