/* Memory that runs out while requests run together: each is answered, perhaps apart from the others, or
 * told that there was none, and nothing is left. */
#include "callers.h"
#include "fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct callers f; /* large */

/* Three requests, one of them in parts; true if an allocation has failed. */
static bool run_failing(unsigned from, unsigned n)
{
    callers_begin(&f, 4, NULL, 0);
    for (int i = 0; i < 3; i++)
        callers_send(&f, i, i == 2 ? 6 : 2);
    fault_begin(
        &(struct fault){.calls = FAULT_MEMORY, .from = from, .n = n, .error = ENOMEM});
    callers_serve(&f);
    const bool is_hit = fault_end() > 0;
    for (int i = 0; i < 3; i++)
        if (f.all[i].fake.inference.error.status == GP_OK)
            callers_assert_answered(&f, i);
        else
            callers_assert_failed(&f, i, GP_NO_MEMORY, "no ");
    assert_int_equal(atomic_load(&f.model.model.n_misfits), 0);
    callers_end(&f);
    return is_hit;
}

static void it_fails_nobody_else(void **state)
{
    (void)state;
    (void)run_failing(0, 1); /* what there is once is there then */
    for (unsigned n = 0; n < 2; n++) {
        unsigned from = 0;
        bool is_hit = true;
        while (is_hit) {
            const long n_live = fault_n_live();
            is_hit = run_failing(from++, n);
            assert_int_equal(fault_n_live(), n_live);
        }
        print_message("%u allocations\n", from - 1);
        assert_true(from > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_fails_nobody_else)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
