/* What is counted of the versions of a model, which come and go. */
#include "model/counts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_counts_belong_to_a_version(void **state)
{
    (void)state;
    struct counts *list = NULL;
    struct counts *one = counts_take(&list, 1, 2, 1);
    struct counts *two = counts_take(&list, 2, 2, 1);
    assert_ptr_not_equal(one, two);
    counters_add(&one->counters, 0, COUNTS_OTHERS + 1, 5);
    counts_drop(one);
    assert_ptr_equal(counts_take(&list, 1, 2, 1), one);
    assert_int_equal(counters_sum(&one->counters, COUNTS_OTHERS + 1), 5);
    counts_drop(one);
    counts_drop(two);
    counts_drop_list(list);
}

static unsigned list_length(const struct counts *list)
{
    unsigned n = 0;
    for (; list; list = list->next)
        n++;
    return n;
}

/* Those in use stay, however old; of the others the last ones. */
static void test_old_counts_go(void **state)
{
    (void)state;
    struct counts *list = NULL;
    struct counts *used = counts_take(&list, 1, 0, 1);
    for (uint64_t version = 2; version < 100; version++)
        counts_drop(counts_take(&list, version, 0, 1));
    assert_int_equal(list_length(list), 1 + COUNTS_KEPT + 1);
    struct counts *last = counts_take(&list, 100, 0, 1);
    assert_int_equal(list_length(list), 1 + COUNTS_KEPT + 1);
    assert_ptr_equal(counts_take(&list, 1, 0, 1), used);
    counts_drop(used);
    counts_drop_list(list); /* what is in use outlives the list */
    assert_int_equal(used->version, 1);
    counts_drop(used);
    counts_drop(last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_belong_to_a_version),
        cmocka_unit_test(test_old_counts_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
