/* What a row is known by: all that decides about its answer, and nothing else; and how many rows are looked
 * for in a request. */
#include "cached_fixture.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct cached_fixture f;

static int begin(void **state)
{
    const int result = tree_make(state);
    cached_fixture_begin(&f);
    return result;
}

static int end(void **state)
{
    cached_fixture_end(&f);
    return tree_remove(state);
}

/* --- what decides about an answer --- */

static struct inference *const asked = &f.a.fake.inference;

static void change_nothing(void)
{
}

static void change_config(void)
{
    asked->run.engine_run.call.config = "other";
}

static void change_name(void)
{
    f.a.inputs[0].name = "m";
}

static void change_type(void)
{
    f.a.inputs[0].dtype = GP_UINT32;
}

static void change_wanted_type(void)
{
    f.a.wanted[0] = GP_UINT32;
}

static void add_dimension(void)
{
    static const int64_t shape[] = {2, 1};
    f.a.inputs[0].shape = shape;
    f.a.inputs[0].rank = 2;
}

/* Two numbers in each row, so arranged. */
static void widen(const int64_t *shape)
{
    f.a.inputs[0].shape = shape;
    f.a.inputs[0].rank = 3;
    f.a.inputs[0].size_bytes = 4 * sizeof(int32_t);
}

static void make_wide(void)
{
    static const int64_t shape[] = {2, 1, 2};
    widen(shape);
}

static void make_high(void)
{
    static const int64_t shape[] = {2, 2, 1};
    widen(shape);
}

static void change_number(void)
{
    f.a.numbers[1]++;
}

static void turn_texts(void) /* the same bytes, but not the same strings */
{
    struct gp_string *texts = (void *)(uintptr_t)f.a.inputs[1].data;
    texts[0].size_bytes = 1;
    texts[1].size_bytes = 0;
}

static void change_model(void)
{
    f.model.model.digest.bytes[0] = 1;
}

static void change_end_of_model(void)
{
    f.model.model.digest.bytes[sizeof(struct digest) - 1] = 1;
}

static void change_process(void)
{
    atomic_store(&f.model.model.salt, 1);
}

static void forget_rows(void)
{
    atomic_store(&f.model.model.caches_rows, false);
}

static void make_high_as_a_whole(void)
{
    make_high();
    forget_rows();
}

static void make_wide_as_a_whole(void)
{
    make_wide();
    forget_rows();
}

/* Enters "ab" with that changed; true if it was run. */
static bool is_run(void (*change)(void))
{
    const int n_runs = f.script.n_runs;
    f.model.model.digest = (struct digest){{0}};
    atomic_store(&f.model.model.salt, 0);
    atomic_store(&f.model.model.caches_rows, true);
    cached_fixture_fill(&f.a, "ab", "sl");
    assert_true(model_settle(asked));
    change();
    if (cached_enter(still_worker(&f.poller), asked) == CACHED_GOES)
        (void)still_serve(&f.poller);
    assert_int_equal(asked->error.status, GP_OK);
    assert_int_equal(asked->cache_rows, atomic_load(&f.model.model.caches_rows) ? 2 : 1);
    return f.script.n_runs > n_runs;
}

static void all_that_decides_is_part_of_the_key(void **state)
{
    static void (*const changes[])(void) = {
        change_nothing,     change_config,        change_name,         change_type,
        change_wanted_type, add_dimension,        make_wide,           make_high,
        turn_texts,         change_model,         change_end_of_model, change_process,
        forget_rows,        make_high_as_a_whole, make_wide_as_a_whole};
    enum { N = sizeof changes / sizeof *changes };
    (void)state;
    for (int is_again = 0; is_again < 2; is_again++)
        for (size_t i = 0; i < N; i++)
            if (is_run(changes[i]) == is_again)
                fail_msg("change %zu %s run", i, is_again ? "is" : "is not");
    assert_true(is_run(change_number)); /* of one row */
    assert_int_equal(f.script.n_rows, 1);
}

/* What the row's place or number in the request is does not count. */
static void rows_are_known_wherever_they_are(void **state)
{
    (void)state;
    assert_true(is_run(change_nothing));
    cached_fixture_fill(&f.a, "bbbbbbbbba", "sl");
    assert_int_equal(cached_enter(still_worker(&f.poller), asked), CACHED_FOUND);
    cached_fixture_assert(&f, &f.a, "bbbbbbbbba", "sl");
}

/* --- how much is looked for --- */

/* So many rows, all equal: of how many of them the cache knows, and how many are run. */
static void ask_many(size_t n, const char *names, uint64_t cache_rows, int64_t n_run)
{
    static char rows[CACHED_FIXTURE_MOST + 1];
    memset(rows, 'b', n);
    rows[n] = '\0';
    f.script.n_rows = 0;
    if (cached_fixture_enter(&f, &f.a, rows, names) == CACHED_GOES)
        (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, rows, names);
    assert_int_equal(asked->cache_rows, cache_rows);
    assert_int_equal(f.script.n_rows, n_run);
}

static void requests_of_many_rows_are_run_as_they_are(void **state)
{
    (void)state;
    ask_many(4096, "s", 4096, 1);
    ask_many(4096, "s", 4096, 0);
    ask_many(2048, "ls", 2048, 1);
    for (int i = 0; i < 2; i++) {
        ask_many(4097, "s", 0, 4097);
        ask_many(2049, "sl", 0, 2049);
    }
    ask_many(CACHED_FIXTURE_MOST, "s", 0, CACHED_FIXTURE_MOST);
    forget_rows(); /* as a whole they are one */
    ask_many(CACHED_FIXTURE_MOST, "sl", 1, CACHED_FIXTURE_MOST);
    ask_many(CACHED_FIXTURE_MOST, "ls", 1, 0);
}

/* Hashing much counts as a run, so that others are served meanwhile. */
static void much_is_hashed_as_a_run(void **state)
{
    (void)state;
    const atomic_ulong *n_runs = &f.poller.n_runs;
    forget_rows();
    ask_many(6553, "s", 1, 6553); /* of 20 bytes each */
    ask_many(6554, "s", 1, 6554);
    const unsigned long before = atomic_load(n_runs);
    ask_many(6553, "s", 1, 0);
    assert_int_equal(atomic_load(n_runs), before);
    ask_many(6554, "s", 1, 0);
    assert_int_equal(atomic_load(n_runs), before + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_that_decides_is_part_of_the_key),
        TEST(rows_are_known_wherever_they_are),
        TEST(requests_of_many_rows_are_run_as_they_are),
        TEST(much_is_hashed_as_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
