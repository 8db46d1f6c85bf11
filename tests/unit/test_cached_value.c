/* What is kept of a tensor, as bytes: it is read back as it was, and bytes that are none are refused. */
#include "fake_model.h"
#include "model/cached_parts.h"
#include "still_poller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 320 };

static struct poller poller;
static struct fake_model model;
static struct fake_inference asking;

static int begin(void **state)
{
    (void)state;
    still_begin(&poller);
    fake_model_begin(&model, &poller, 1, 1);
    fake_inference_begin(&asking, &model);
    fake_inference_renew(&asking, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_inference_end(&asking);
    fake_model_end(&model);
    still_end(&poller);
    return 0;
}

static size_t keep(const struct gp_tensor *tensor, unsigned char bytes[MOST])
{
    const size_t size = cached_value_size(tensor);
    assert_in_range(size, 1, MOST);
    cached_value_write(tensor, bytes);
    return size;
}

/* From exactly so many bytes, which a sanitizer watches. */
static bool reads(const unsigned char *bytes, size_t size, struct gp_tensor *value)
{
    static int64_t shape[GP_MAX_RANK];
    static unsigned char *kept;
    free(kept);
    kept = malloc(size + 1);
    assert_non_null(kept);
    memcpy(kept + 1, bytes, size); /* misaligned, as in a file */
    return cached_value_read(kept + 1, size, shape, value);
}

static void assert_kept(const struct gp_tensor *tensor)
{
    unsigned char bytes[MOST], to[MOST];
    struct gp_tensor value;
    struct gp_error err;
    const size_t size = keep(tensor, bytes);
    assert_true(reads(bytes, size, &value));
    assert_int_equal(value.dtype, tensor->dtype);
    assert_int_equal(value.rank, tensor->rank);
    assert_int_equal(value.size_bytes, tensor->size_bytes);
    if (tensor->rank)
        assert_memory_equal(value.shape, tensor->shape,
                            tensor->rank * sizeof *tensor->shape);
    assert_true(cached_value_copy(&value, &asking.inference.run.engine_run, to, &err));
    if (tensor->dtype != GP_STRING && tensor->size_bytes)
        assert_memory_equal(to, tensor->data, tensor->size_bytes);
    const struct gp_string *was = tensor->data, *is = (const void *)to;
    for (size_t i = 0; tensor->dtype == GP_STRING && i < tensor->size_bytes / sizeof *was;
         i++) {
        assert_int_equal(is[i].size_bytes, was[i].size_bytes);
        assert_memory_equal(is[i].data, was[i].data, was[i].size_bytes);
        assert_ptr_not_equal(is[i].data, was[i].data);
    }
    for (size_t less = 0; less < size; less++)
        assert_false(reads(bytes, less, &value));
    assert_false(reads(bytes, size + 1, &value));
}

static void each_type(void **state)
{
    static const unsigned char data[32] = {1, 2, 3, 4, 5};
    static const int64_t two[] = {2}, shape[] = {2, 1, 1}, none[] = {2, 0};
    (void)state;
    for (enum gp_dtype dtype = 1; gp_dtype_stride(dtype); dtype++) {
        const size_t stride = gp_dtype_stride(dtype);
        if (dtype == GP_STRING)
            continue;
        assert_kept(&(struct gp_tensor){NULL, two, data, 2 * stride, dtype, 1});
        assert_kept(&(struct gp_tensor){NULL, shape, data, 2 * stride, dtype, 3});
        assert_kept(&(struct gp_tensor){NULL, NULL, data, stride, dtype, 0});
        assert_kept(&(struct gp_tensor){NULL, none, NULL, 0, dtype, 2});
    }
}

static void strings(void **state)
{
    static const struct gp_string texts[] = {{"one", 3}, {"", 0}, {"three", 5}};
    static const int64_t three[] = {3}, none[] = {0};
    (void)state;
    assert_kept(&(struct gp_tensor){NULL, three, texts, sizeof texts, GP_STRING, 1});
    assert_kept(&(struct gp_tensor){NULL, NULL, texts, sizeof *texts, GP_STRING, 0});
    assert_kept(&(struct gp_tensor){NULL, NULL, texts + 1, sizeof *texts, GP_STRING, 0});
    assert_kept(&(struct gp_tensor){NULL, none, NULL, 0, GP_STRING, 1});
}

static void put(unsigned char *bytes, size_t at, const void *value, size_t size)
{
    memcpy(bytes + at, value, size);
}

/* Its type, its rank, then its shape. */
static void heads_that_cannot_be(void **state)
{
    static const int64_t shape[] = {2}, shapes[] = {1, 3, -2, INT64_MAX, INT64_MIN};
    static const uint32_t types[] = {0, 99, UINT32_MAX}, ranks[] = {0, 2, 9, UINT32_MAX};
    const struct gp_tensor tensor = {NULL, shape, "abcd", 4, GP_INT16, 1};
    unsigned char good[MOST], bytes[MOST];
    struct gp_tensor value;
    const size_t size = keep(&tensor, good);
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        memcpy(bytes, good, size);
        put(bytes, 0, &types[i], sizeof types[i]);
        assert_false(reads(bytes, size, &value));
    }
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        memcpy(bytes, good, size);
        put(bytes, 4, &ranks[i], sizeof ranks[i]);
        assert_false(reads(bytes, size, &value));
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        memcpy(bytes, good, size);
        put(bytes, 8, &shapes[i], sizeof shapes[i]);
        assert_false(reads(bytes, size, &value));
    }
    assert_true(reads(good, size, &value));
}

/* More axes than there are, though all bytes are there. */
static void a_rank_that_is_too_high(void **state)
{
    const uint32_t rank = GP_MAX_RANK + 1;
    const int64_t shape[GP_MAX_RANK + 1] = {0};
    const uint32_t dtype = GP_INT8;
    unsigned char bytes[MOST];
    struct gp_tensor value;
    (void)state;
    put(bytes, 0, &dtype, sizeof dtype);
    put(bytes, 4, &rank, sizeof rank);
    put(bytes, 8, shape, sizeof shape);
    assert_false(reads(bytes, 8 + sizeof shape, &value));
}

/* They are added up to what there is, and do not overflow. */
static void sizes_of_strings_that_cannot_be(void **state)
{
    static const struct gp_string texts[] = {{"one", 3}, {"two", 3}};
    static const int64_t two[] = {2}, much = INT64_MAX / 16;
    static const uint64_t pairs[][2] = {
        {3, 2}, {3, 4}, {0, 0}, {UINT64_MAX, 7}, {7, UINT64_MAX}, {UINT64_MAX - 22, 29}};
    const struct gp_tensor tensor = {NULL, two, texts, sizeof texts, GP_STRING, 1};
    unsigned char bytes[MOST];
    struct gp_tensor value;
    const size_t size = keep(&tensor, bytes);
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        put(bytes, 16, pairs[i], sizeof pairs[i]);
        assert_false(reads(bytes, size, &value));
    }
    put(bytes, 16, (const uint64_t[]){6, 0}, sizeof pairs[0]);
    assert_true(reads(bytes, size, &value));
    put(bytes, 8, &much, sizeof much);
    assert_false(reads(bytes, size, &value));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_type),
        TEST(strings),
        TEST(heads_that_cannot_be),
        TEST(a_rank_that_is_too_high),
        TEST(sizes_of_strings_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
