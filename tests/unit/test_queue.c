/* A queue that is long: how much of it is looked at while others wait for its lock. */
#include "model/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N = QUEUE_MOST_MEMBERS + 50 };

static struct run_queue queue;
static struct share_taker client;
static struct inference all[N], first;

static void make(struct inference *inference, const char *config)
{
    *inference = (struct inference){.client = &client, .may_join = true, .n_rows = 1};
    inference->run.inference = inference;
    inference->run.engine_run.call.config = config;
}

/* A run of one row, and so many that wait of which the first ones are unlike. */
static void begin(unsigned n_unlike)
{
    queue = (struct run_queue){.max_rows = (uint64_t)2 * N};
    client = (struct share_taker){0};
    queue_init(&queue);
    make(&first, "");
    for (unsigned i = 0; i < N; i++) {
        make(&all[i], i < n_unlike ? "other" : "");
        queue_add(&queue, &all[i].run);
    }
}

/* How many joined, in the order in which they came. */
static unsigned fill(unsigned from)
{
    unsigned n = 0;
    queue_fill(&queue, &first.run);
    for (const struct inference *i = first.next_member; i; i = i->next_member)
        assert_ptr_equal(i, &all[from + n++]);
    assert_int_equal(queue.n, N - n);
    return n;
}

static void a_run_has_so_many_members(void **state)
{
    (void)state;
    begin(0);
    assert_int_equal(fill(0), QUEUE_MOST_MEMBERS - 1);
    assert_ptr_equal(queue.first, &all[QUEUE_MOST_MEMBERS - 1].run.task);
}

static void no_more_are_looked_at(void **state)
{
    (void)state;
    begin(QUEUE_MOST_MEMBERS - 2);
    assert_int_equal(fill(QUEUE_MOST_MEMBERS - 2), 1);
    begin(QUEUE_MOST_MEMBERS - 1);
    assert_int_equal(fill(0), 0);
}

/* Nor to find those that fill a run before their time. */
static void what_is_full_is_found_in_front(void **state)
{
    (void)state;
    for (unsigned n_unlike = QUEUE_MOST_MEMBERS - 2; n_unlike < QUEUE_MOST_MEMBERS;
         n_unlike++) {
        begin(n_unlike);
        queue.max_rows = 2;
        queue.max_delay_ns = 1;
        for (unsigned i = 0; i < N; i++)
            all[i].due_ns = INT64_MAX;
        struct run *run = queue_take(&queue, &all[N - 1].run);
        assert_ptr_equal(run,
                         n_unlike < QUEUE_MOST_MEMBERS - 1 ? &all[n_unlike].run : NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_has_so_many_members),
        cmocka_unit_test(no_more_are_looked_at),
        cmocka_unit_test(what_is_full_is_found_in_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
