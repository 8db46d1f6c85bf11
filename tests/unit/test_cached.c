/* A request against what the cache knows, without threads: which rows and outputs are run, what the
 * answer is put together of, and what becomes of a model that does not keep to its rows. */
#include "cached_fixture.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Asks, and runs what has to be run: so many rows of these outputs; 0: nothing. */
static void ask(struct cached_fixture *f, const char *rows, const char *names,
                int64_t n_rows, const char *ran)
{
    const int n_runs = f->script.n_runs;
    f->script.n_rows = 0;
    f->script.names[0] = '\0';
    if (cached_fixture_enter(f, &f->a, rows, names) == CACHED_GOES) {
        (void)still_serve(&f->poller);
        assert_int_equal(f->a.fake.n_back, 1);
    }
    cached_fixture_assert(f, &f->a, rows, names);
    assert_int_equal(f->script.n_runs, n_runs + (n_rows > 0));
    assert_int_equal(f->script.n_rows, n_rows);
    assert_string_equal(f->script.names, ran);
    assert_int_equal(f->a.fake.inference.cache_rows, strlen(rows));
    assert_int_equal(f->a.fake.inference.cache_hits, (int64_t)strlen(rows) - n_rows);
    assert_int_equal(f->a.fake.inference.n_rows, strlen(rows));
    assert_ptr_equal(f->a.fake.inference.inputs, f->a.inputs);
    assert_null(f->a.fake.inference.run.engine_run.body);
}

static void what_is_missing_is_run(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    ask(&f, "abc", "sl", 3, "sumlen");
    ask(&f, "cba", "sl", 0, "");
    ask(&f, "cdae", "ls", 2, "lensum");
    ask(&f, "ff", "s", 1, "sum");
    ask(&f, "fgf", "sl", 2,
        "sumlen"); /* a row runs whole if one of its outputs is missing */
    ask(&f, "h", "l", 1, "len");
    ask(&f, "ha", "ls", 1, "sum"); /* but outputs that no row lacks are not asked for */
    cached_fixture_end(&f);
}

static void wait_for_each_other(struct cached_fixture *f, enum gp_status status)
{
    assert_int_equal(f->a.fake.n_back, 1);
    assert_int_equal(f->b.fake.n_back, 1);
    assert_int_equal(f->a.fake.inference.error.status, status);
    cached_fixture_assert(f, &f->b, "bac", "sl");
}

static void a_row_in_flight_is_run_once(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "ab", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "bac", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    wait_for_each_other(&f, GP_OK);
    assert_int_equal(f.script.n_runs, 2);
    assert_int_equal(f.script.n_rows, 1);
    assert_int_equal(f.b.fake.inference.cache_hits, 2);
    cached_fixture_end(&f);
}

/* Its rows are the other's then. */
static void an_owner_that_fails_passes_its_rows_on(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    f.script.fails = 1;
    assert_int_equal(cached_fixture_enter(&f, &f.a, "ab", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "bac", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    wait_for_each_other(&f, GP_ENGINE);
    assert_int_equal(f.script.n_runs, 3);
    assert_int_equal(f.script.n_rows, 2);
    assert_int_equal(f.b.fake.inference.cache_hits, 0);
    cached_fixture_end(&f);
}

/* Then each caller has its own error, and its own run. */
static void a_bad_row_fails_each_who_asks(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    f.script.fails = 2;
    assert_int_equal(cached_fixture_enter(&f, &f.a, "a", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "a", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    assert_int_equal(f.script.n_runs, 2);
    for (struct asking *one = &f.a; one; one = one == &f.a ? &f.b : NULL) {
        assert_int_equal(one->fake.n_back, 1);
        assert_int_equal(one->fake.inference.error.status, GP_ENGINE);
    }
    cached_fixture_end(&f);
}

static void who_waits_may_leave(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "a", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "a", "sl"), CACHED_GOES);
    cached_watch(&f.model.model);
    atomic_store(&f.b.fake.is_left, true);
    cached_watch(&f.model.model);
    cached_watch(&f.model.model); /* it is not told twice */
    (void)still_serve(&f.poller);
    assert_int_equal(f.b.fake.n_back, 1);
    assert_int_equal(f.b.fake.inference.error.status, GP_CANCELLED);
    assert_int_equal(f.a.fake.n_back, 1);
    cached_fixture_assert(&f, &f.a, "a", "sl");
    cached_fixture_end(&f);
}

static void the_server_may_end(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "a", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "ba", "sl"), CACHED_GOES);
    cached_cancel(&f.model.model);
    (void)still_serve(&f.poller); /* "b" waits for nothing yet, and goes on */
    cached_fixture_assert(&f, &f.b, "ba", "sl");
    assert_int_equal(cached_fixture_enter(&f, &f.a, "c", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "c", "sl"), CACHED_GOES);
    cached_cancel(&f.model.model);
    (void)still_serve(&f.poller);
    assert_int_equal(f.b.fake.inference.error.status, GP_UNAVAILABLE);
    cached_fixture_end(&f);
}

/* The outputs of a row may have another shape the next time; nobody gets a mixture. */
static void rows_that_do_not_go_together_are_run_again(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    ask(&f, "ab", "sl", 2, "sumlen");
    f.script.wide = 3;
    assert_int_equal(cached_fixture_enter(&f, &f.a, "abc", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, "abc", "sl");
    assert_int_equal(f.script.n_rows, 3);
    assert_int_equal(f.a.fake.inference.cache_hits, 0);
    assert_true(atomic_load(&f.model.model.caches_rows));
    cached_fixture_end(&f);
}

static void other_rows_than_it_got(bool is_without_rows)
{
    struct cached_fixture f;
    cached_fixture_begin(&f);
    ask(&f, "a", "sl", 1, "sumlen");
    f.script.is_without_rows = is_without_rows;
    f.script.more_rows = !is_without_rows;
    assert_int_equal(cached_fixture_enter(&f, &f.a, "abb", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    assert_int_equal(f.a.fake.inference.error.status, GP_OK);
    assert_int_equal(f.script.n_rows, 3); /* as it came */
    const struct gp_tensor *y = &f.a.fake.inference.run.engine_run.outputs[1].tensor;
    assert_int_equal(y->rank ? y->shape[0] : 0, is_without_rows ? 0 : 4);
    assert_false(atomic_load(&f.model.model.caches_rows));
    const int n_runs = f.script.n_runs;
    for (int i = 0; i < 2; i++) { /* whole requests are known all the same */
        (void)cached_fixture_enter(&f, &f.a, "abb", "sl");
        (void)still_serve(&f.poller);
        y = &f.a.fake.inference.run.engine_run.outputs[1].tensor;
        assert_int_equal(y->rank ? y->shape[0] : 0, is_without_rows ? 0 : 4);
    }
    assert_int_equal(f.script.n_runs, n_runs + 1);
    cached_fixture_end(&f);
}

static void a_model_that_gives_other_rows_is_cached_whole(void **state)
{
    (void)state;
    other_rows_than_it_got(false);
    tree_drop("/rows"); /* which would know them */
    other_rows_than_it_got(true);
}

/* Neither for the rows to be run, nor for the answer: then it is as without a cache. */
static void a_full_pool_is_no_reason_to_fail(void **state)
{
    struct cached_fixture f;
    struct pool_buffer all;
    (void)state;
    cached_fixture_begin(&f);
    ask(&f, "ab", "sl", 2, "sumlen");
    struct pool *pool = f.model.host.pool;
    const struct pool_counts counts = pool_count(pool);
    assert_true(
        pool_take(pool, NULL, counts.budget_bytes - counts.used_bytes, NULL, &all));
    assert_int_equal(cached_fixture_enter(&f, &f.a, "abc", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, "abc", "sl");
    assert_int_equal(f.script.n_rows, 3);
    pool_give(pool, &all);
    cached_fixture_end(&f);
}

/* Enters "ab" with another config, and another name and type of the first input; true if it was run. */
static bool is_run(struct cached_fixture *f, const char *config, const char *name,
                   enum gp_dtype wanted)
{
    const int n_runs = f->script.n_runs;
    struct inference *inference = &f->a.fake.inference;
    cached_fixture_fill(&f->a, "ab", "sl");
    inference->run.engine_run.call.config = config;
    f->a.inputs[0].name = name;
    f->a.wanted[0] = wanted;
    if (cached_enter(still_worker(&f->poller), inference) == CACHED_GOES)
        (void)still_serve(&f->poller);
    cached_fixture_assert(f, &f->a, "ab", "sl");
    return f->script.n_runs > n_runs;
}

static void all_that_decides_is_part_of_the_key(void **state)
{
    struct cached_fixture f;
    struct model *model = &f.model.model;
    (void)state;
    cached_fixture_begin(&f);
    for (int is_again = 0; is_again < 2; is_again++) {
        assert_int_equal(is_run(&f, "", "n", GP_INT32), !is_again);
        assert_int_equal(is_run(&f, "other", "n", GP_INT32), !is_again);
        assert_int_equal(is_run(&f, "", "m", GP_INT32), !is_again);
        assert_int_equal(is_run(&f, "", "n", GP_UINT32), !is_again);
        model->digest.bytes[0] = 1;
        assert_int_equal(is_run(&f, "", "n", GP_INT32), !is_again);
        atomic_store(&model->salt, 1);
        assert_int_equal(is_run(&f, "", "n", GP_INT32), !is_again);
        atomic_store(&model->salt, 0);
        model->digest.bytes[0] = 0;
        atomic_store(&model->caches_rows, false);
        assert_int_equal(is_run(&f, "", "n", GP_INT32), !is_again);
        atomic_store(&model->caches_rows, true);
    }
    cached_fixture_end(&f);
}

/* A process that was started anew meanwhile may have read other files than those of the key. */
static void what_another_process_may_have_run_is_not_kept(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "ab", "sl"), CACHED_GOES);
    atomic_store(&f.model.model.salt, 1);
    (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, "ab", "sl");
    atomic_store(&f.model.model.salt, 0);
    ask(&f, "ab", "sl", 2, "sumlen");
    cached_fixture_end(&f);
}

static void a_run_that_lacks_memory_is_run_as_it_came(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    ask(&f, "ab", "sl", 2, "sumlen");
    f.script.is_short = true;
    f.script.fails = 1;
    assert_int_equal(cached_fixture_enter(&f, &f.a, "abc", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, "abc", "sl");
    assert_int_equal(f.script.n_rows, 3);
    f.script.fails = 1; /* one that was run as it came has failed */
    assert_int_equal(cached_fixture_enter(&f, &f.a, "d", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    assert_int_equal(f.a.fake.inference.error.status, GP_NO_MEMORY);
    cached_fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_missing_is_run, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(a_row_in_flight_is_run_once, tree_make,
                                        tree_remove),
        cmocka_unit_test_setup_teardown(an_owner_that_fails_passes_its_rows_on, tree_make,
                                        tree_remove),
        cmocka_unit_test_setup_teardown(a_bad_row_fails_each_who_asks, tree_make,
                                        tree_remove),
        cmocka_unit_test_setup_teardown(who_waits_may_leave, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(the_server_may_end, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(rows_that_do_not_go_together_are_run_again,
                                        tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(a_model_that_gives_other_rows_is_cached_whole,
                                        tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(all_that_decides_is_part_of_the_key, tree_make,
                                        tree_remove),
        cmocka_unit_test_setup_teardown(what_another_process_may_have_run_is_not_kept,
                                        tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(a_run_that_lacks_memory_is_run_as_it_came,
                                        tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(a_full_pool_is_no_reason_to_fail, tree_make,
                                        tree_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
