/* Which versions of a model are served. */
#include "model/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N_MANY = 1000 };

static struct catalog_version versions[N_MANY];
static struct gp_error err;

static struct catalog_model model_of(size_t n)
{
    for (size_t i = 0; i < n; i++)
        versions[i] =
            (struct catalog_version){.number = 10 * (i + 1), .is_wanted = i % 2};
    return (struct catalog_model){"bert", versions, n};
}

/* `wanted` has a '1' for each version that is. */
static void assert_chosen(const struct model_policy *policy, const char *wanted)
{
    struct catalog_model model = model_of(strlen(wanted));
    assert_int_equal(policy_choose(policy, &model, &err), GP_OK);
    for (size_t i = 0; i < model.n_versions; i++)
        assert_int_equal(versions[i].is_wanted, wanted[i] == '1');
}

static void newest(void **state)
{
    (void)state;
    assert_chosen(&(struct model_policy){0}, "0001");
    assert_chosen(&(struct model_policy){POLICY_NEWEST, .n = 3}, "0001");
    assert_chosen(&(struct model_policy){POLICY_NEWEST_N, .n = 1}, "0001");
    assert_chosen(&(struct model_policy){POLICY_NEWEST_N, .n = 3}, "0111");
    assert_chosen(&(struct model_policy){POLICY_NEWEST_N, .n = 4}, "1111");
    assert_chosen(&(struct model_policy){POLICY_NEWEST_N, .n = UINT32_MAX}, "1111");
}

static void named(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {40, 10, 40};
    assert_chosen(&(struct model_policy){POLICY_NAMED, 0, numbers, 3}, "1001");
    assert_chosen(&(struct model_policy){POLICY_NAMED, 0, numbers, 1}, "00010");
}

static void missing(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {7, 20, UINT64_MAX};
    struct catalog_model model = model_of(3);
    const struct model_policy policy = {POLICY_NAMED, 0, numbers, 3};
    assert_int_equal(policy_choose(&policy, &model, &err), GP_NOT_FOUND);
    assert_string_equal(
        err.message, "of the model bert these versions are to be served, but are not in "
                     "the repository: 7, 18446744073709551615; there are: 30, 20, 10");
    assert_false(versions[0].is_wanted);
    assert_true(versions[1].is_wanted);
}

static void many_missing(void **state)
{
    (void)state;
    uint64_t numbers[N_MANY];
    struct catalog_model model = model_of(N_MANY);
    for (size_t i = 0; i < N_MANY; i++)
        numbers[i] = i + 1000000;
    const struct model_policy policy = {POLICY_NAMED, 0, numbers, N_MANY};
    assert_int_equal(policy_choose(&policy, &model, &err), GP_NOT_FOUND);
    assert_non_null(strstr(err.message, "1000000, 1000001, "));
    assert_non_null(strstr(err.message, ", ...; there are: 10000, 9990, "));
    const size_t n = strlen(err.message);
    assert_string_equal(err.message + n - 5, ", ...");
    assert_null(strstr(err.message, "......"));
}

static void none(void **state)
{
    (void)state;
    static const struct model_policy policies[] = {{POLICY_NEWEST_N, .n = 0},
                                                   {POLICY_NAMED, .n_versions = 0}};
    for (size_t i = 0; i < 2; i++) {
        struct catalog_model model = model_of(3);
        assert_int_equal(policy_choose(&policies[i], &model, &err), GP_INVALID);
        assert_non_null(strstr(err.message, "serves no version"));
        for (size_t k = 0; k < 3; k++)
            assert_false(versions[k].is_wanted);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest),  cmocka_unit_test(named),
        cmocka_unit_test(missing), cmocka_unit_test(many_missing),
        cmocka_unit_test(none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
