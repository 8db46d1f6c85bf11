/* engines/device.h: the grammar of "device", and which slot runs where. */
#include "../../engines/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static enum gp_status read_one(struct device_list *list, const char *option,
                               uint32_t first_slot, struct gp_error *err)
{
    const char *const options[] = {"library=x", option};
    const struct gp_engine_options given = {.size_bytes = sizeof given,
                                            .options = options,
                                            .n_options = 2,
                                            .first_slot = first_slot};
    err->message[0] = '\0';
    return device_read(list, &given, err);
}

static void good_ones(void **state)
{
    static const struct {
        const char *option, *text;
        uint32_t n;
        int first, last;
    } cases[] = {{"device=cpu", "cpu", 0, 0, 0},
                 {"other=cuda", "cpu", 0, 0, 0},
                 {"device=cuda", "cuda:0", 1, 0, 0},
                 {"device=cuda:7", "cuda:7", 1, 7, 7},
                 {"device=cuda:999", "cuda:999", 1, 999, 999},
                 {"device=cuda:0,1,2", "cuda:0,1,2", 3, 0, 2},
                 {"device=cuda:3,01", "cuda:3,1", 2, 3, 1}};
    struct device_list list;
    struct gp_error err;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_one(&list, cases[i].option, 0, &err), GP_OK);
        assert_string_equal(list.text, cases[i].text);
        assert_int_equal(list.n, cases[i].n);
        if (list.n) {
            assert_int_equal(list.numbers[0], cases[i].first);
            assert_int_equal(list.numbers[list.n - 1], cases[i].last);
        }
    }
}

static void bad_ones(void **state)
{
    static const char *const values[] = {
        "",         "gpu",        "CUDA",
        "cuda0",    "cuda:",      "cuda:-1",
        "cuda:,",   "cuda:1,",    "cuda:,1",
        "cuda: 1",  "cuda:1 ",    "cuda:1;2",
        "cuda:1a",  "cuda:1000",  "cuda:0x1",
        "cuda:+1",  "cuda:0,1,0", "cpu:0",
        "cpu,cuda", "cuda:0,cpu", "cuda:99999999999999999999"};
    struct device_list list;
    struct gp_error err;
    char option[64];
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        (void)snprintf(option, sizeof option, "device=%s", values[i]);
        assert_int_equal(read_one(&list, option, 0, &err), GP_INVALID);
        assert_non_null(strstr(err.message, option));
        assert_non_null(strstr(err.message, DEVICE_GRAMMAR));
    }
}

static void as_many_as_there_is_room_for(void **state)
{
    char option[1024] = "device=cuda:0";
    struct device_list list;
    struct gp_error err;
    (void)state;
    for (int i = 1; i < DEVICE_LIMIT; i++)
        (void)snprintf(option + strlen(option), 8, ",%d", DEVICE_MOST - i);
    assert_int_equal(read_one(&list, option, 0, &err), GP_OK);
    assert_int_equal(list.n, DEVICE_LIMIT);
    assert_int_equal(strlen(list.text), strlen(option) - strlen("device="));
    (void)snprintf(option + strlen(option), 8, ",1");
    assert_int_equal(read_one(&list, option, 0, &err), GP_INVALID);
}

/* Slot i of the model is on the (i mod n)th, in whichever process it is. */
static void slots_are_spread(void **state)
{
    static const int given[] = {4, 0, 2};
    struct gp_engine_options of_0_1 = {.size_bytes =
                                           offsetof(struct gp_engine_options, first_slot),
                                       .n_cores = 5,
                                       .first_slot = 1};
    const char *const option[] = {"device=cuda:4,0,2"};
    struct device_list list;
    struct gp_error err;
    (void)state;
    for (uint32_t slot = 0; slot < 7; slot++) {
        assert_int_equal(read_one(&list, option[0], slot, &err), GP_OK);
        assert_int_equal(list.numbers[0], given[slot % 3]);
        assert_int_equal(list.numbers[1], given[(slot + 1) % 3]);
        assert_int_equal(device_n_used(&list, 1), 1);
        assert_int_equal(device_n_used(&list, 7), 3);
    }
    assert_int_equal(device_n_slots(&list, &of_0_1), 3 * DEVICE_SLOTS);
    of_0_1.options = option; /* of a host that knows no first_slot */
    of_0_1.n_options = 1;
    assert_int_equal(device_read(&list, &of_0_1, &err), GP_OK);
    assert_int_equal(list.numbers[0], 4);
    of_0_1.n_options = 0;
    assert_int_equal(device_read(&list, &of_0_1, &err), GP_OK);
    assert_int_equal(device_n_slots(&list, &of_0_1), 5);
    of_0_1.n_slots = 2;
    assert_int_equal(device_n_slots(&list, &of_0_1), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones),
        cmocka_unit_test(bad_ones),
        cmocka_unit_test(as_many_as_there_is_room_for),
        cmocka_unit_test(slots_are_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
