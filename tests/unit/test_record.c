/* Records between the server and an engine's child: what is written is read, in whatever pieces it
 * comes, and bytes that are cut or changed are refused without a look beyond their end. */
#include "engine/record.h"

#include "base/arena.h"
#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { HEAD_BYTES = 16 };

static const int64_t shape[] = {2, 3};
static const float numbers[6] = {1, 2, 3, 4, 5, 6};
static const struct gp_tensor tensor = {"x", shape, numbers, 24, GP_FLOAT32, 2};
static const struct gp_io io = {"in", "", shape, 2, GP_STRING, GP_IO_OPTIONAL};
static const char *const files[] = {"a.onnx", "b.data"};
static const struct gp_description description = {.flags = GP_ANY_OUTPUT,
                                                  .n_inputs = 1,
                                                  .n_outputs = 1,
                                                  .n_files = 2,
                                                  .summary = "cpu",
                                                  .version = "7",
                                                  .description = NULL,
                                                  .inputs = &io,
                                                  .outputs = &io,
                                                  .files = files,
                                                  .max_batch = 64,
                                                  .name = "of the model"};

/* Reads a body of this kind as far as it goes; false when it is refused. */
typedef bool read_fn(struct record *record, struct gp_arena *arena);

static bool read_description(struct record *record, struct gp_arena *arena)
{
    struct gp_description d = {.n_slots = 0};
    return record_description(record, arena, &d) && record->at == record->end;
}

static bool read_tensors(struct record *record, struct gp_arena *arena)
{
    const uint32_t n = record_u32(record);
    for (uint32_t i = 0; i < n && !record->is_bad; i++) {
        struct gp_tensor got;
        uint64_t offset;
        if (!record_tensor(record, arena, &got, &offset))
            return false;
        if (offset == RECORD_INLINE && !record_bytes(record, got.size_bytes))
            return false;
    }
    return !record->is_bad && record->at == record->end;
}

static bool read_words(struct record *record, struct gp_arena *arena)
{
    const uint32_t n = record_u32(record);
    return record_texts(record, arena, n) && record->at == record->end;
}

/* The body alone, in a block of its own size, where a sanitizer sees its end. */
static bool read_body(read_fn *read, const void *body, size_t size)
{
    unsigned char *exact = malloc(size ? size : 1);
    struct gp_arena *arena = gp_arena_create();
    assert_non_null(exact);
    memcpy(exact, body, size);
    struct record record = {.at = exact, .end = exact + size};
    const bool is_good = read(&record, arena);
    gp_arena_destroy(arena);
    free(exact);
    return is_good;
}

/* Cut anywhere it is refused; changed anywhere it is read or refused, within its bytes. */
static void check_hostile(read_fn *read, const struct text *record)
{
    unsigned char *body = (unsigned char *)record->data + HEAD_BYTES;
    const size_t size = record->size_bytes - HEAD_BYTES;
    assert_true(read_body(read, body, size));
    for (size_t cut = 0; cut < size; cut++)
        assert_false(read_body(read, body, cut));
    for (size_t i = 0; i < size; i++)
        for (unsigned change = 1; change < 256; change += 50) {
            body[i] ^= (unsigned char)change;
            (void)read_body(read, body, size);
            body[i] ^= (unsigned char)change;
        }
}

static void test_bodies_are_hostile(void **state)
{
    struct text out = {0};
    (void)state;
    record_begin(&out, RECORD_OPENED, 0);
    record_put_description(&out, &description);
    assert_true(record_end(&out));
    check_hostile(read_description, &out);
    record_begin(&out, RECORD_DONE, 1);
    record_put_u32(&out, 2);
    record_put_tensor(&out, &tensor, 4096);
    record_put_tensor(&out, &tensor, RECORD_INLINE);
    assert_true(record_end(&out));
    check_hostile(read_tensors, &out);
    record_begin(&out, RECORD_OPEN, 0);
    record_put_u32(&out, 2);
    record_put_text(&out, "one");
    record_put_text(&out, NULL);
    assert_true(record_end(&out));
    check_hostile(read_words, &out);
    text_finish(&out);
}

static void test_a_description_is_read_as_written(void **state)
{
    struct text out = {0};
    struct gp_description d = {.n_slots = 0};
    struct gp_arena *arena = gp_arena_create();
    (void)state;
    record_begin(&out, RECORD_OPENED, 0);
    record_put_description(&out, &description);
    assert_true(record_end(&out));
    const unsigned char *bytes = (const unsigned char *)out.data;
    struct record record = {.at = bytes + HEAD_BYTES, .end = bytes + out.size_bytes};
    assert_true(record_description(&record, arena, &d));
    assert_int_equal(d.flags, GP_ANY_OUTPUT);
    assert_int_equal(d.max_batch, 64);
    assert_string_equal(d.summary, "cpu");
    assert_string_equal(d.version, "7");
    assert_string_equal(d.description, "");
    assert_string_equal(d.inputs[0].name, "in");
    assert_int_equal(d.inputs[0].dtype, GP_STRING);
    assert_int_equal(d.inputs[0].flags, GP_IO_OPTIONAL);
    assert_int_equal(d.inputs[0].rank, 2);
    assert_int_equal(d.outputs[0].shape[1], 3);
    assert_string_equal(d.files[1], "b.data");
    assert_string_equal(d.name, "of the model");
    assert_ptr_equal(record.at, record.end);
    gp_arena_destroy(arena);
    text_finish(&out);
}

/* Many of them, twice, in an arena that goes on. */
static void test_texts_do_not_share_memory(void **state)
{
    enum { N = 300 };
    struct text out = {0};
    struct gp_arena *arena = gp_arena_create();
    const char *const *texts[2];
    char word[16];
    (void)state;
    record_begin(&out, RECORD_OPEN, 0);
    for (int i = 0; i < 2 * N; i++) {
        (void)snprintf(word, sizeof word, "%d", i);
        record_put_text(&out, word);
    }
    const unsigned char *bytes = (const unsigned char *)out.data;
    struct record record = {.at = bytes + HEAD_BYTES, .end = bytes + out.size_bytes};
    for (int k = 0; k < 2; k++)
        texts[k] = record_texts(&record, arena, N);
    assert_true(texts[0] && texts[1] && record.at == record.end);
    for (int i = 0; i < 2 * N; i++) {
        (void)snprintf(word, sizeof word, "%d", i);
        assert_string_equal(texts[i / N][i % N], word);
    }
    assert_non_null(record_texts(&record, arena, 0));
    assert_null(record_texts(&record, arena, 1));
    assert_true(record.is_bad);
    gp_arena_destroy(arena);
    text_finish(&out);
}

/* What is kept does not change with the link's next record. */
static void test_a_record_can_be_kept(void **state)
{
    unsigned char bytes[] = "a body";
    struct gp_arena *arena = gp_arena_create();
    struct record record = {.at = bytes, .end = bytes + sizeof bytes};
    (void)state;
    assert_true(record_keep(&record, arena));
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(record.end - record.at, sizeof bytes);
    assert_memory_equal(record.at, "a body", sizeof bytes);
    gp_arena_destroy(arena);
}

/* That is no fault of the writer. */
static void test_memory_may_be_short(void **state)
{
    enum { HEAP_BYTES = 16 * 1024, POOL_BYTES = 1 << 20 };
    struct text out = {0};
    struct pool *pool = pool_create(POOL_BYTES);
    struct pool_promise promise = {0};
    struct gp_arena *arena = gp_arena_create();
    struct pool_buffer all;
    struct gp_tensor got;
    uint64_t offset;
    (void)state;
    assert_true(pool_take(pool, NULL, POOL_BYTES, NULL, &all));
    arena_pay_from(arena, pool, &promise);
    assert_non_null(gp_arena_alloc(arena, HEAP_BYTES)); /* all that it has */
    record_begin(&out, RECORD_DONE, 0);
    record_put_tensor(&out, &tensor, 0);
    const unsigned char *bytes = (const unsigned char *)out.data;
    const struct record whole = {.at = bytes + HEAD_BYTES, .end = bytes + out.size_bytes};
    struct record record = whole;
    assert_false(record_keep(&record, arena));
    assert_ptr_equal(record.at, whole.at);
    assert_false(record_tensor(&record, arena, &got, &offset));
    assert_true(record.is_bad && record.is_short);
    record = whole;
    assert_null(record_texts(&record, arena, 1));
    pool_give(pool, &all);
    record = whole;
    assert_true(record_tensor(&record, arena, &got, &offset));
    gp_arena_destroy(arena);
    pool_destroy(pool);
    text_finish(&out);
}

/* Whatever became of the last one, which may have found no memory. */
static void test_a_record_begins_anew(void **state)
{
    struct text out = {0};
    (void)state;
    record_begin(&out, RECORD_RUN, 1);
    record_put_text(&out, "words");
    out.is_short = true;
    assert_false(record_end(&out));
    record_begin(&out, RECORD_RUN, 2);
    assert_true(record_end(&out));
    assert_int_equal(out.size_bytes, HEAD_BYTES);
    text_finish(&out);
}

/* One without is none: the engine has failed. */
static void test_a_failure_has_a_status(void **state)
{
    static const struct {
        enum gp_status said, told;
    } cases[] = {{GP_DEADLINE, GP_DEADLINE}, {GP_OK, GP_ENGINE}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text out = {0};
        struct gp_error err;
        record_begin(&out, RECORD_FAILED, 0);
        record_put_u32(&out, cases[i].said);
        record_put_text(&out, "100% of it");
        const unsigned char *bytes = (const unsigned char *)out.data;
        struct record record = {.at = bytes + HEAD_BYTES, .end = bytes + out.size_bytes};
        assert_int_equal(record_failure(&record, &err), cases[i].told);
        assert_int_equal(err.status, cases[i].told);
        assert_string_equal(err.message, "100% of it");
        text_finish(&out);
    }
}

/* A tensor in one record, as read. */
static bool read_changed(enum gp_dtype dtype, uint32_t rank, int64_t dimension,
                         uint64_t size_bytes)
{
    int64_t dimensions[GP_MAX_RANK + 1];
    struct text out = {0};
    for (size_t i = 0; i <= GP_MAX_RANK; i++)
        dimensions[i] = dimension;
    const struct gp_tensor changed = {"", dimensions, NULL, size_bytes, dtype, rank};
    record_begin(&out, RECORD_DONE, 0);
    record_put_u32(&out, 1);
    record_put_tensor(&out, &changed, 0);
    const bool is_good =
        read_body(read_tensors, out.data + HEAD_BYTES, out.size_bytes - HEAD_BYTES);
    text_finish(&out);
    return is_good;
}

static void test_a_tensor_is_what_its_shape_says(void **state)
{
    (void)state;
    assert_true(read_changed(GP_UINT8, 1, 100, 100));
    assert_true(read_changed(GP_FLOAT64, 0, 0, 8));
    assert_true(read_changed(GP_STRING, 1, 3, 48));
    assert_true(read_changed(GP_UINT8, GP_MAX_RANK, 1, 1));
    assert_false(read_changed(GP_UINT8, 1, 100, 99));
    assert_false(read_changed(GP_UINT8, 1, -1, 100));
    assert_false(read_changed(GP_UINT8, 1, -1, UINT64_MAX));
    assert_false(read_changed(GP_UINT32, 1, INT64_C(1) << 62, 0));
    assert_false(read_changed(GP_NULL, 1, 0, 0));
    assert_false(read_changed((enum gp_dtype)77, 1, 1, 1));
    assert_false(read_changed(GP_UINT8, GP_MAX_RANK + 1, 1, 1));
}

/* --- the link --- */

struct ends {
    int writer;
    struct record_link link;
};

static struct ends connect_ends(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    return (struct ends){fds[0], {.fd = fds[1]}};
}

static void finish_ends(struct ends *ends)
{
    close(ends->link.fd);
    record_link_finish(&ends->link);
}

static void test_records_come_in_pieces(void **state)
{
    struct ends ends = connect_ends();
    struct text out = {0};
    struct record record;
    (void)state;
    record_begin(&out, RECORD_LOG, 7);
    record_put_text(&out, "hello");
    assert_true(record_end(&out));
    for (size_t i = 0; i < out.size_bytes; i++) {
        assert_int_equal(record_receive(&ends.link, &record), RECORD_NONE);
        assert_int_equal(write(ends.writer, out.data + i, 1), 1);
    }
    assert_true(record_send_all(ends.writer, &out)); /* and a second one behind it */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(record_receive(&ends.link, &record), RECORD_WHOLE);
        assert_int_equal(record.type, RECORD_LOG);
        assert_int_equal(record.id, 7);
        assert_string_equal(record_text(&record), "hello");
        assert_ptr_equal(record.at, record.end);
    }
    assert_int_equal(record_receive(&ends.link, &record), RECORD_NONE);
    assert_int_equal(write(ends.writer, out.data, 20), 20); /* and then no more */
    close(ends.writer);
    assert_int_equal(record_wait(&ends.link, &record), RECORD_ENDED);
    finish_ends(&ends);
    text_finish(&out);
}

static void test_what_is_no_record_ends_the_link(void **state)
{
    static const uint32_t heads[][2] = {
        {0, 0}, {RECORD_LOG + 1, 0}, {RECORD_LOG, RECORD_MAX_BYTES + 1}, {UINT32_MAX, 8}};
    struct record record;
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct ends ends = connect_ends();
        unsigned char head[HEAD_BYTES] = {0};
        memcpy(head, heads[i], sizeof heads[i]);
        assert_int_equal(write(ends.writer, head, sizeof head), sizeof head);
        assert_int_equal(record_receive(&ends.link, &record), RECORD_NONSENSE);
        close(ends.writer);
        finish_ends(&ends);
    }
}

static void test_sending_never_waits(void **state)
{
    struct ends ends = connect_ends();
    struct text out = {0};
    struct record record;
    char block[1000] = {0};
    (void)state;
    record_begin(&out, RECORD_RUN, 7);
    memset(block, 'x', sizeof block - 1);
    for (int i = 0; i < 1000; i++)
        record_put_text(&out, block);
    assert_true(record_end(&out));
    size_t n_unsent = out.size_bytes;
    assert_true(record_send(ends.writer, &out, &n_unsent));
    assert_in_range(n_unsent, 1, out.size_bytes - 1);
    while (record_receive(&ends.link, &record) == RECORD_NONE)
        assert_true(record_send(ends.writer, &out, &n_unsent));
    assert_int_equal(n_unsent, 0);
    assert_int_equal(record.id, 7);
    for (int i = 0; i < 1000; i++)
        assert_string_equal(record_text(&record), block);
    assert_true(record.at == record.end && !record.is_bad);
    close(ends.writer);
    finish_ends(&ends);
    text_finish(&out);
}

/* Both for the writer and for the reader. */
static void test_a_record_has_a_limit(void **state)
{
    struct ends ends = connect_ends();
    struct text out = {0};
    struct record record;
    const size_t size = RECORD_MAX_BYTES - sizeof(uint32_t); /* with its NUL */
    char *words = malloc(size + 1);
    (void)state;
    assert_non_null(words);
    memset(words, 'x', size);
    words[size] = '\0';
    record_begin(&out, RECORD_RUN, 1);
    record_put_text(&out, words); /* one byte too many */
    assert_false(record_end(&out));
    words[size - 1] = '\0';
    record_begin(&out, RECORD_RUN, 1);
    record_put_text(&out, words);
    assert_true(record_end(&out));
    assert_int_equal(out.size_bytes, HEAD_BYTES + RECORD_MAX_BYTES);
    size_t n_unsent = out.size_bytes;
    assert_true(record_send(ends.writer, &out, &n_unsent));
    while (record_receive(&ends.link, &record) == RECORD_NONE)
        assert_true(record_send(ends.writer, &out, &n_unsent));
    assert_string_equal(record_text(&record), words);
    free(words);
    close(ends.writer);
    finish_ends(&ends);
    text_finish(&out);
}

static void test_a_peer_that_has_gone(void **state)
{
    struct ends ends = connect_ends();
    struct text out = {0};
    (void)state;
    record_begin(&out, RECORD_LOG, 0);
    assert_true(record_end(&out));
    size_t n_unsent = out.size_bytes;
    close(ends.link.fd);
    assert_false(record_send(ends.writer, &out, &n_unsent));
    assert_false(record_send_all(ends.writer, &out));
    close(ends.writer);
    text_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_are_hostile),
        cmocka_unit_test(test_a_description_is_read_as_written),
        cmocka_unit_test(test_texts_do_not_share_memory),
        cmocka_unit_test(test_a_record_can_be_kept),
        cmocka_unit_test(test_memory_may_be_short),
        cmocka_unit_test(test_a_record_begins_anew),
        cmocka_unit_test(test_a_failure_has_a_status),
        cmocka_unit_test(test_a_tensor_is_what_its_shape_says),
        cmocka_unit_test(test_records_come_in_pieces),
        cmocka_unit_test(test_what_is_no_record_ends_the_link),
        cmocka_unit_test(test_sending_never_waits),
        cmocka_unit_test(test_a_record_has_a_limit),
        cmocka_unit_test(test_a_peer_that_has_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
