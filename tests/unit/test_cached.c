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
    assert_ptr_equal(f->a.fake.inference.run.engine_run.call.inputs, f->a.inputs);
    assert_null(f->a.body.data);
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
    assert_int_equal(f.a.fake.inference.cache_rows, 3);
    assert_true(atomic_load(&f.model.model.caches_rows));

    ask(&f, "d", "sl", 1, "sumlen"); /* what is known of the two differs */
    assert_int_equal(cached_fixture_enter(&f, &f.a, "ad", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, "ad", "sl");
    assert_int_equal(f.script.n_rows, 2);
    assert_int_equal(f.a.fake.inference.cache_rows, 2);
    assert_int_equal(f.a.fake.inference.cache_hits, 0);
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

/* Their bytes too are gathered, and what is found is the caller's own. */
static void long_texts(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    ask(&f, "BhC", "sl", 3, "sumlen");
    ask(&f, "CGaHBHb", "sl", 4, "sumlen");
    ask(&f, "aGBBH", "ls", 0, "");
    f.a.is_turned = true; /* then they are other rows */
    ask(&f, "aG", "ls", 2, "lensum");
    ask(&f, "Ga", "ls", 0, "");
    ask(&f, "DGaE", "l", 2, "len");
    cached_fixture_end(&f);
}

/* A model that chooses its outputs itself is not cached. */
static void outputs_that_nobody_asks_for(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    for (int i = 1; i <= 2; i++) {
        cached_fixture_fill(&f.a, "ab", "sl");
        f.a.fake.inference.output_order = NULL;
        assert_int_equal(cached_enter(still_worker(&f.poller), &f.a.fake.inference),
                         CACHED_GOES);
        (void)still_serve(&f.poller);
        cached_fixture_assert(&f, &f.a, "ab", "sl");
        assert_int_equal(f.script.n_runs, i);
        assert_int_equal(f.a.fake.inference.cache_rows, 0);
    }
    cached_fixture_end(&f);
}

static void strings_that_have_no_room(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    cached_fixture_fill(&f.a, "ab", "sl");
    *(uint32_t *)(void *)f.a.texts = UINT32_MAX / 2;
    assert_int_equal(cached_enter(still_worker(&f.poller), &f.a.fake.inference),
                     CACHED_REFUSED);
    assert_int_equal(f.a.fake.inference.error.status, GP_NO_MEMORY);
    assert_int_equal(f.script.n_runs, 0);
    cached_fixture_end(&f);
}

/* Neither for the rows to be run, nor for the answer: then it is as without a cache. */
static void a_full_pool_is_no_reason_to_fail(void **state)
{
    struct cached_fixture f;
    struct pool_buffer all;
    (void)state;
    cached_fixture_begin(&f);
    ask(&f, "ab", "sl", 2, "sumlen");
    cached_fixture_fill(&f.a, "abc", "sl");
    assert_true(model_settle(&f.a.fake.inference)); /* which needs room itself */
    struct pool *pool = f.model.host.pool;
    const struct pool_counts counts = pool_count(pool);
    const size_t room = counts.budget_bytes - counts.used_bytes - counts.reserved_bytes;
    assert_true(pool_take(pool, NULL, room, NULL, &all));
    assert_int_equal(cached_enter(still_worker(&f.poller), &f.a.fake.inference),
                     CACHED_GOES);
    (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, "abc", "sl");
    assert_int_equal(f.script.n_rows, 3);
    pool_give(pool, &all);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_missing_is_run),
        TEST(long_texts),
        TEST(outputs_that_nobody_asks_for),
        TEST(strings_that_have_no_room),
        TEST(rows_that_do_not_go_together_are_run_again),
        TEST(a_model_that_gives_other_rows_is_cached_whole),
        TEST(what_another_process_may_have_run_is_not_kept),
        TEST(a_run_that_lacks_memory_is_run_as_it_came),
        TEST(a_full_pool_is_no_reason_to_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
