/* .npy files: what numpy.save writes is read, what is written reads back the same, and
 * broken files are refused with words that say why. Each file is given in memory of
 * exactly its size, so that a sanitizer sees any step beyond it. The program's files are
 * in no library, so they are included here. */
#include "cli/npy.c"
#include "cli/npy_head.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct gp_arena *arena;
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    arena = gp_arena_create();
    err = (struct gp_error){0};
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gp_arena_destroy(arena);
    return 0;
}

/* A file of `version` with this dictionary and these elements; the caller frees it. */
static unsigned char *make(int version, const char *dictionary, const void *data,
                           size_t size, size_t *total)
{
    const size_t length = strlen(dictionary), start = version == 1 ? 10 : 12;
    *total = start + length + size;
    unsigned char *bytes = malloc(*total);
    assert_non_null(bytes);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (unsigned char)version;
    bytes[7] = 0;
    for (size_t i = 8; i < start; i++)
        bytes[i] = (unsigned char)(length >> (8 * (i - 8)));
    memcpy(bytes + start, dictionary, length);
    if (size)
        memcpy(bytes + start + length, data, size);
    return bytes;
}

/* Reads a file that is made and kept until the test ends. */
static enum gp_status read_made(int version, const char *dictionary, const void *data,
                                size_t size, struct gp_tensor *tensor)
{
    size_t total;
    unsigned char *bytes = make(version, dictionary, data, size, &total);
    unsigned char *exact = gp_arena_alloc(arena, total);
    assert_non_null(exact);
    memcpy(exact, bytes, total);
    free(bytes);
    return npy_decode(arena, exact, total, tensor, &err);
}

static void refuse(const char *dictionary, size_t size, const char *why)
{
    static const char zeros[256];
    struct gp_tensor tensor;
    size_t total;
    assert_true(size <= sizeof zeros);
    unsigned char *bytes = make(1, dictionary, zeros, size, &total);
    err.message[0] = '\0';
    assert_int_not_equal(npy_decode(arena, bytes, total, &tensor, &err), GP_OK);
    free(bytes);
    if (!strstr(err.message, why))
        fail_msg("%s: \"%s\" does not say \"%s\"", dictionary, err.message, why);
}

static void test_reads_where_it_lies(void **state)
{
    (void)state;
    const float values[] = {1, 2, 3, 4, 5, 6};
    struct gp_tensor tensor;
    /* 10 bytes and this dictionary are 64: aligned, so nothing is copied */
    const char *dictionary =
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}\n";
    size_t total;
    unsigned char *bytes = make(2, dictionary, values, sizeof values, &total);
    assert_int_equal(npy_decode(arena, bytes, total, &tensor, &err), GP_OK);
    assert_int_equal(tensor.dtype, GP_FLOAT32);
    assert_int_equal(tensor.rank, 2);
    assert_int_equal(tensor.shape[0], 2);
    assert_int_equal(tensor.shape[1], 3);
    assert_int_equal(tensor.size_bytes, sizeof values);
    assert_memory_equal(tensor.data, values, sizeof values);
    const size_t start = 12 + strlen(dictionary);
    if ((uintptr_t)(bytes + start) % 4 == 0)
        assert_ptr_equal(tensor.data, bytes + start);
    free(bytes);
}

static void test_reads_every_version_and_spelling(void **state)
{
    (void)state;
    const int64_t values[] = {-1, INT64_MAX};
    static const char *const dictionaries[] = {
        "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }          \n",
        "{\"shape\":(2,),\"descr\":\"<i8\",\"fortran_order\":False}",
        "{'descr': '=i8', 'fortran_order': True, 'shape': (2L,), }\n",
    };
    for (int version = 1; version <= 3; version++) {
        for (size_t i = 0; i < 3; i++) {
            struct gp_tensor tensor;
            assert_int_equal(
                read_made(version, dictionaries[i], values, sizeof values, &tensor),
                GP_OK);
            assert_int_equal(tensor.dtype, GP_INT64);
            assert_int_equal(tensor.rank, 1);
            assert_int_equal((uintptr_t)tensor.data % 8, 0);
            assert_memory_equal(tensor.data, values, sizeof values);
        }
    }
}

static void test_reads_every_type(void **state)
{
    (void)state;
    static const struct {
        const char *descr;
        enum gp_dtype dtype;
        size_t size;
    } types[] = {
        {"|b1", GP_BOOL, 1},    {"|u1", GP_UINT8, 1},   {"|i1", GP_INT8, 1},
        {"<u2", GP_UINT16, 2},  {"<i2", GP_INT16, 2},   {"<u4", GP_UINT32, 4},
        {"<i4", GP_INT32, 4},   {"<u8", GP_UINT64, 8},  {"<i8", GP_INT64, 8},
        {"<f2", GP_FLOAT16, 2}, {"<f4", GP_FLOAT32, 4}, {"<f8", GP_FLOAT64, 8},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char dictionary[96];
        (void)snprintf(dictionary, sizeof dictionary,
                       "{'descr': '%s', 'fortran_order': False, 'shape': ()}",
                       types[i].descr);
        struct gp_tensor tensor;
        assert_int_equal(
            read_made(1, dictionary, "\1\0\0\0\0\0\0\0", types[i].size, &tensor), GP_OK);
        assert_int_equal(tensor.dtype, types[i].dtype);
        assert_int_equal(tensor.rank, 0);
        assert_int_equal(tensor.size_bytes, types[i].size);
    }
}

static void test_turns_fortran_order(void **state)
{
    (void)state;
    const int16_t columns[] = {1, 4, 2, 5, 3, 6}, rows[] = {1, 2, 3, 4, 5, 6};
    struct gp_tensor tensor;
    assert_int_equal(read_made(1,
                               "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3)}",
                               columns, sizeof columns, &tensor),
                     GP_OK);
    assert_memory_equal(tensor.data, rows, sizeof rows);
}

static void test_turns_big_endian(void **state)
{
    (void)state;
    struct gp_tensor tensor;
    const uint32_t values[] = {0x01020304, 5};
    assert_int_equal(read_made(1,
                               "{'descr': '>u4', 'fortran_order': False, 'shape': (2,)}",
                               "\1\2\3\4\0\0\0\5", 8, &tensor),
                     GP_OK);
    assert_memory_equal(tensor.data, values, sizeof values);
}

static void assert_string(const struct gp_tensor *tensor, size_t i, const char *expected)
{
    const struct gp_string *string = (const struct gp_string *)tensor->data + i;
    assert_int_equal(string->size_bytes, strlen(expected));
    assert_memory_equal(string->data, expected, strlen(expected));
}

static void test_reads_strings(void **state)
{
    (void)state;
    struct gp_tensor tensor;
    assert_int_equal(read_made(1,
                               "{'descr': '|S3', 'fortran_order': False, 'shape': (3,)}",
                               "abcd\0\0\0\0\0", 9, &tensor),
                     GP_OK);
    assert_int_equal(tensor.dtype, GP_STRING);
    assert_string(&tensor, 0, "abc");
    assert_string(&tensor, 1, "d");
    assert_string(&tensor, 2, "");
    const uint32_t characters[] = {0xe9, 0, 0x1f600, 'x'};
    assert_int_equal(read_made(1,
                               "{'descr': '<U2', 'fortran_order': False, 'shape': (2,)}",
                               characters, sizeof characters, &tensor),
                     GP_OK);
    assert_string(&tensor, 0, "\xc3\xa9");
    assert_string(&tensor, 1, "\xf0\x9f\x98\x80x");
    assert_int_equal(read_made(1,
                               "{'descr': '>U1', 'fortran_order': False, 'shape': (1,)}",
                               "\0\0\x20\xac", 4, &tensor),
                     GP_OK);
    assert_string(&tensor, 0, "\xe2\x82\xac");
    const uint32_t surrogate = 0xd800;
    assert_int_equal(read_made(1,
                               "{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}",
                               &surrogate, sizeof surrogate, &tensor),
                     GP_MALFORMED);
}

static void test_refuses_what_no_tensor_can_be(void **state)
{
    (void)state;
#define HEAD(descr) "{'descr': " descr ", 'fortran_order': False, 'shape': (1,)}"
    refuse(HEAD("'|O'"), 8, "Python objects");
    refuse(HEAD("[('a', '<f4')]"), 4, "records");
    refuse(HEAD("'<c8'"), 8, "<c8");
    refuse(HEAD("'<M8[s]'"), 8, "<M8[s]");
    refuse(HEAD("'<f3'"), 3, "<f3");
    refuse(HEAD("'<f16'"), 16, "<f16");
    refuse(HEAD("'f'"), 4, "dtype");
    refuse(HEAD("''"), 4, "dtype");
    refuse(HEAD("'<f4444444444444444444444'"), 4, "descr");
    refuse(HEAD("'<U99999999999'"), 4, "");
    refuse(HEAD("'|S0'"), 0, "|S0"); /* any number of them fits into no bytes */
    refuse(HEAD("'<U0'"), 0, "<U0");
#undef HEAD
}

static void test_refuses_broken_dictionaries(void **state)
{
    (void)state;
#define SHAPE(shape) "{'descr': '<f4', 'fortran_order': False, 'shape': " shape "}"
    refuse(SHAPE("(1"), 4, "tuple");
    refuse(SHAPE("(1)"), 4, "tuple");
    refuse(SHAPE("[1]"), 4, "tuple");
    refuse(SHAPE("(-1,)"), 4, "tuple");
    refuse(SHAPE("(,)"), 4, "tuple");
    refuse(SHAPE("(1 2)"), 4, "tuple");
    refuse(SHAPE("(1.0,)"), 4, "tuple");
    refuse(SHAPE("(99999999999999999999,)"), 4, "tuple");
    refuse(SHAPE("(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"),
           4, "32 dimensions");
    refuse(SHAPE("(4611686018427387904, 4)"), 4, "too many");
    refuse(SHAPE("(4611686018427387904,)"), 4, "too many");
    refuse(SHAPE("(2,)"), 4, "float32[2]");
    refuse(SHAPE("(1,)"), 5, "5 bytes follow");
    refuse(SHAPE("(1,)") " x", 4, "dictionary");
    refuse(SHAPE("(1,), 'x': 1"), 4, "each once");
    refuse(SHAPE("(1,), 'shape': (1,)"), 4, "each once");
#undef SHAPE
    refuse("", 2, "dictionary");
    refuse("", 0, "ends within the header");
    refuse("{", 1, "each once");
    refuse("{}", 1, "dictionary");
    refuse("{'descr': '<f4', 'shape': (1,)}", 4, "dictionary");
    refuse("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4, "True nor False");
    refuse("{'descr' '<f4'}", 4, "each once");
    refuse("{'descr': <f4}", 4, "descr");
    refuse("{'descr': '<f4\\x', 'fortran_order': False, 'shape': (1,)}", 4, "descr");
    refuse("{'descr", 0, "each once");
}

static void test_refuses_every_cut(void **state)
{
    (void)state;
    const float value = 1;
    size_t total;
    unsigned char *bytes =
        make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n", &value,
             sizeof value, &total);
    for (size_t size = 0; size < total; size++) {
        unsigned char *cut = malloc(size ? size : 1);
        assert_non_null(cut);
        memcpy(cut, bytes, size);
        struct gp_tensor tensor;
        assert_int_not_equal(npy_decode(arena, cut, size, &tensor, &err), GP_OK);
        free(cut);
    }
    bytes[6] = 4;
    struct gp_tensor tensor;
    assert_int_equal(npy_decode(arena, bytes, total, &tensor, &err), GP_UNSUPPORTED);
    bytes[6] = 2; /* its length is now four bytes: larger than any header */
    assert_int_equal(npy_decode(arena, bytes, total, &tensor, &err), GP_TOO_LARGE);
    free(bytes);
}

/* Any byte of a header changed to any value: whatever comes of it stays within the file.
 */
static void test_survives_every_changed_byte(void **state)
{
    (void)state;
    static const char dictionary[] =
        "{'descr': '<U2', 'fortran_order': True, 'shape': (2, 3), }\n";
    static const uint32_t characters[12] = {'a', 'b', 'c'};
    size_t total;
    unsigned char *bytes = make(1, dictionary, characters, sizeof characters, &total);
    for (size_t i = 6; i < 10 + strlen(dictionary); i++) {
        const unsigned char was = bytes[i];
        for (unsigned value = 0; value < 256; value++) {
            struct gp_tensor tensor;
            bytes[i] = (unsigned char)value;
            if (npy_decode(arena, bytes, total, &tensor, &err) == GP_OK)
                assert_int_equal(tensor.size_bytes,
                                 (size_t)gp_shape_count(tensor.shape, tensor.rank) *
                                     gp_dtype_stride(tensor.dtype));
            gp_arena_reset(arena);
        }
        bytes[i] = was;
    }
    free(bytes);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_reads_where_it_lies),
        TEST(test_reads_every_version_and_spelling),
        TEST(test_reads_every_type),
        TEST(test_turns_fortran_order),
        TEST(test_turns_big_endian),
        TEST(test_reads_strings),
        TEST(test_refuses_what_no_tensor_can_be),
        TEST(test_refuses_broken_dictionaries),
        TEST(test_refuses_every_cut),
        TEST(test_survives_every_changed_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
