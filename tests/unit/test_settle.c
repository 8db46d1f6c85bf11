/* What is copied of a bound request before it runs: only what the engine cannot read where it lies, into
 * memory that has to be there. */
#include "fake_model.h"
#include "still_poller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N = 3, PAST_POOL_BYTES = 1 << 26 };

static struct poller poller;
static struct fake_model fake;
static struct fake_inference asking;
static struct gp_tensor inputs[N];
static enum gp_dtype wanted[N];
static const int64_t two[] = {2}, many[] = {PAST_POOL_BYTES / 4};

static int begin(void **state)
{
    (void)state;
    still_begin(&poller);
    fake_model_begin(&fake, &poller, 1, 1);
    fake_inference_begin(&asking, &fake);
    fake_inference_renew(&asking, 0);
    asking.inference.inputs = inputs;
    asking.inference.wanted = wanted;
    asking.inference.run.engine_run.call.inputs = inputs;
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_inference_end(&asking);
    fake_model_end(&fake);
    still_end(&poller);
    return 0;
}

static void give(enum gp_dtype dtype, enum gp_dtype as, const int64_t *shape,
                 const void *data, size_t size_bytes)
{
    const uint32_t n = asking.inference.run.engine_run.call.n_inputs++;
    inputs[n] = (struct gp_tensor){.name = "x",
                                   .dtype = dtype,
                                   .rank = 1,
                                   .shape = shape,
                                   .data = data,
                                   .size_bytes = size_bytes};
    wanted[n] = as;
    asking.inference.is_settled = false;
}

static void assert_has_no_room(const char *message)
{
    assert_false(model_settle(&asking.inference));
    assert_int_equal(asking.inference.error.status, GP_NO_MEMORY);
    assert_string_equal(asking.inference.error.message, message);
}

static void what_can_be_read_stays_in_place(void **state)
{
    (void)state;
    _Alignas(16) static const char bytes[] = "0123456789abcdef";
    give(GP_FLOAT32, GP_FLOAT32, two, bytes, 8);
    give(GP_FLOAT32, GP_FLOAT32, two, bytes + 1, 8);
    give(GP_INT8, GP_INT8, two, bytes + 3, 2);
    assert_true(model_settle(&asking.inference));
    assert_ptr_equal(inputs[0].data, bytes);
    assert_ptr_not_equal(inputs[1].data, bytes + 1);
    assert_int_equal((uintptr_t)inputs[1].data % 4, 0);
    assert_memory_equal(inputs[1].data, "12345678", 8);
    assert_ptr_equal(inputs[2].data, bytes + 3);
}

static void what_stands_for_a_type_is_converted(void **state)
{
    (void)state;
    static const unsigned char bits[] = {0, 7};
    give(GP_UINT8, GP_UINT8, two, bits, 2);
    give(GP_UINT8, GP_BOOL, two, bits, 2);
    assert_true(model_settle(&asking.inference));
    assert_int_equal(inputs[0].dtype, GP_UINT8);
    assert_ptr_equal(inputs[0].data, bits);
    assert_int_equal(inputs[1].dtype, GP_BOOL);
    assert_memory_equal(inputs[1].data, "\0\1", 2);
}

static void a_copy_needs_room_in_the_pool(void **state)
{
    (void)state;
    _Alignas(16) static const char bytes[16];
    give(GP_FLOAT32, GP_FLOAT32, two, bytes, 8);
    give(GP_FLOAT32, GP_FLOAT32, many, bytes + 1, PAST_POOL_BYTES); /* is not read */
    assert_has_no_room(
        "the pool (--pool) has no room for a copy of input 1, 67108864 bytes, "
        "which cannot be read where it lies; try again later");
}

/* Once is enough: it may be run a second time. */
static void what_is_settled_stays_so(void **state)
{
    (void)state;
    uint32_t strings[] = {8, 12, 1, 'a', 3, 'b' | 'c' << 8 | 'd' << 16};
    give(GP_STRING, GP_STRING, two, strings, 2 * sizeof(struct gp_string));
    assert_true(model_settle(&asking.inference));
    const struct gp_string *settled = inputs[0].data;
    const size_t reserved = pool_count(fake.host.pool).reserved_bytes;
    assert_true(model_settle(&asking.inference));
    assert_ptr_equal(inputs[0].data, settled);
    assert_memory_equal(settled[1].data, "bcd", 3);
    assert_int_equal(pool_count(fake.host.pool).reserved_bytes, reserved);
    pool_unreserve(fake.host.pool, &asking.inference.run.engine_run.heap);
}

/* The engine makes them. Here the strings are as in a message: where they are, and their sizes. */
static void copies_of_strings_need_room_too(void **state)
{
    (void)state;
    uint32_t strings[] = {8, 12, 1, 'a', 3, 'b' | 'c' << 8 | 'd' << 16};
    const size_t size_bytes = 2 * sizeof(struct gp_string);
    struct gp_call *call = &asking.inference.run.engine_run.call;
    give(GP_INT8, GP_INT8, two, "ab", 2);
    assert_true(model_settle(&asking.inference));
    assert_int_equal(pool_count(fake.host.pool).reserved_bytes, 0);
    give(GP_STRING, GP_STRING, two, strings, size_bytes);
    give(GP_STRING, GP_STRING, two, strings, size_bytes);
    assert_true(model_settle(&asking.inference));
    assert_true(pool_count(fake.host.pool).reserved_bytes > 2 * (1 + 3));
    const struct gp_string *settled = inputs[2].data;
    assert_int_equal(settled[1].size_bytes, 3);
    assert_memory_equal(settled[1].data, "bcd", 3);
    pool_unreserve(fake.host.pool, &asking.inference.run.engine_run.heap);
    call->n_inputs = 1;
    strings[4] = PAST_POOL_BYTES;
    give(GP_STRING, GP_STRING, two, strings, size_bytes);
    assert_has_no_room(
        "the pool (--pool) has no room for the engine's copies of 2 strings, "
        "67108865 bytes; try again later");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_can_be_read_stays_in_place), TEST(what_stands_for_a_type_is_converted),
        TEST(a_copy_needs_room_in_the_pool),   TEST(what_is_settled_stays_so),
        TEST(copies_of_strings_need_room_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
