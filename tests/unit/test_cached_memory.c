/* Memory that runs out while a request is looked for, run and put together: it is answered as the model
 * would, or told; nobody waits for its rows then, and nothing is left. */
#include "cache/flights.h"
#include "cached_fixture.h"
#include "fault.h"
#include "temp_tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void carry(struct cached_fixture *f, const char *rows, const char *names)
{
    if (cached_fixture_enter(f, &f->a, rows, names) == CACHED_GOES)
        (void)still_serve(&f->poller);
}

/* True if it was hit. */
static bool check_failing(struct cached_fixture *f, unsigned from, unsigned n)
{
    static char rows[] = "ab??a";
    static int turn;
    rows[2] = (char)('c' + turn % 3); /* one that may be known, and one that cannot be */
    rows[3] = (char)('f' + turn++ % 3);
    fault_begin(
        &(struct fault){.calls = FAULT_MEMORY, .from = from, .n = n, .error = ENOMEM});
    carry(f, rows, "sl");
    const bool is_hit = fault_end() > 0;
    if (f->a.fake.inference.error.status != GP_OK) {
        assert_true(is_hit);
        assert_int_equal(f->a.fake.inference.error.status, GP_NO_MEMORY);
        assert_true(f->a.fake.inference.error.message[0]);
    } else {
        cached_fixture_assert(f, &f->a, rows, "sl");
    }
    carry(f, rows, "ls"); /* it is not in flight any more */
    cached_fixture_assert(f, &f->a, rows, "ls");
    return is_hit;
}

static void each_fails(void **state)
{
    struct cached_fixture f;
    (void)state;
    const long n_live = fault_n_live();
    for (unsigned n = 0; n < 2; n++) {
        unsigned from = 0;
        bool is_hit = true;
        for (; is_hit; from++) {
            cached_fixture_begin(&f);
            carry(&f, "ab", "sl");
            is_hit = check_failing(&f, from, n);
            cached_fixture_end(&f);
            tree_drop("/rows");
        }
        assert_true(from > 10);
    }
    assert_int_equal(fault_n_live(), n_live);
}

static void no_flights(void **state)
{
    (void)state;
    fault_begin(&(struct fault){.calls = FAULT_MEM, .n = 1, .error = ENOMEM});
    assert_null(flights_create());
    assert_int_equal(fault_end(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_fails, tree_make, tree_remove),
        cmocka_unit_test(no_flights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
