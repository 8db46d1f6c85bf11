/* One run in a child that this test plays: what it is sent, where its outputs lie, and how it is
 * told why the child ended. */
#include "played_run.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* It hears nothing, and says nothing. */
static void play_nothing(struct played_run *f)
{
    (void)f;
}

static void play_honest(struct played_run *f)
{
    played_run_hear(f);
    const uint64_t place = played_get_place(&f->peer, MIB),
                   strings = played_get_place(&f->peer, 100);
    const struct record_string texts[] = {{strings + 4093, 3}, {0, 0}}; /* to its end */
    memset(played_at_place(&f->peer, place), 7, MIB);
    memcpy(played_at_place(&f->peer, strings), texts, sizeof texts);
    memcpy(played_at_place(&f->peer, strings) + 4093, "abc", 3);
    played_begin_done(&f->peer, 4);
    played_put_output(&f->peer, GP_UINT8, (int64_t)MIB, place);
    played_put_output(&f->peer, GP_STRING, 2, strings);
    played_put_output(&f->peer, GP_UINT8, 5, RECORD_INLINE);
    played_put_output(&f->peer, GP_UINT8, 0, 0);
    played_say(&f->peer);
}

static void test_an_honest_child(void **state)
{
    struct played_run *f = *state;
    played_run(f, play_honest, 0);
    assert_int_equal(f->status, GP_OK);
    assert_int_equal(f->got_offset[0], pool_offset(&f->body)); /* not copied */
    assert_int_equal(f->run.n_outputs, 4);
    const struct gp_tensor *large = &f->run.outputs[0].tensor;
    assert_int_equal(large->size_bytes, MIB);
    assert_int_equal(((const unsigned char *)large->data)[MIB - 1], 7);
    const struct gp_string *strings = f->run.outputs[1].tensor.data;
    assert_int_equal(strings[0].size_bytes, 3);
    assert_memory_equal(strings[0].data, "abc", 3);
    assert_int_equal(strings[1].size_bytes, 0);
    assert_int_equal(f->run.outputs[2].tensor.size_bytes, 5);
    assert_int_equal(f->run.outputs[3].tensor.size_bytes, 0);
    assert_int_equal(f->child.n_taken, 0);
    assert_true(f->child.pid);
}

/* It gives what it was handed out, and writes nothing there. */
static void play_lazy(struct played_run *f)
{
    played_run_hear(f);
    const uint64_t place = played_get_place(&f->peer, MIB);
    played_begin_done(&f->peer, 1);
    played_put_output(&f->peer, GP_UINT8, (int64_t)MIB, place);
    played_say(&f->peer);
}

static void test_what_a_child_leaves_unwritten_is_zero(void **state)
{
    struct played_run *f = *state;
    struct pool_buffer before;
    assert_true(pool_take(f->pool, f->run.memory.outputs, MIB, NULL, &before));
    assert_true(pool_touch(f->pool, &before, MIB));
    memset(before.data, 0xa5, MIB);
    pool_give(f->pool, &before);
    played_run(f, play_lazy, 0);
    assert_int_equal(f->status, GP_OK);
    const unsigned char *data = f->run.outputs[0].tensor.data;
    for (size_t i = 0; i < MIB; i++)
        assert_int_equal(data[i], f->which ? 0xa5 : 0);
}

/* That costs time, so it is not done for an engine that writes all. */
static void test_what_an_engine_writes_is_not_cleared(void **state)
{
    struct played_run *f = *state;
    f->which = 1;
    f->isolate.description.flags = GP_WRITES_OUTPUTS;
    test_what_a_child_leaves_unwritten_is_zero(state);
}

/* Its thread ends with the socket's. */
static void play_greedy(struct played_run *f)
{
    uint64_t place = 0;
    played_run_hear(f);
    for (int i = 0; i < 100 && place != UINT64_MAX; i++)
        place = played_get_place(&f->peer, 2 * MIB);
    assert_int_equal(place, UINT64_MAX);
    played_say_failed(&f->peer, GP_NO_MEMORY, "there is no more");
}

static void test_a_child_gets_no_more_than_there_is(void **state)
{
    struct played_run *f = *state;
    played_run(f, play_greedy, 0);
    assert_int_equal(f->status, GP_NO_MEMORY);
    assert_string_equal(f->err.message, "there is no more");
    assert_true(f->child.pid); /* asking is no crime */
}

static void play_small(struct played_run *f)
{
    played_run_hear(f);
    played_begin_done(&f->peer, 1);
    played_put_output(&f->peer, GP_UINT8, 5, RECORD_INLINE);
    played_say(&f->peer);
}

/* Nor is it the child's fault that its answer finds no room here. */
static void test_a_child_is_not_ended_where_memory_is_short(void **state)
{
    enum { FIRST_BLOCK_BYTES = 16 * 1024 };
    struct played_run *f = *state;
    struct pool_buffer all;
    assert_non_null(gp_arena_alloc(f->arena, FIRST_BLOCK_BYTES));
    assert_true(pool_take(f->pool, NULL, 64 * MIB - 4096, NULL, &all));
    played_run(f, play_small, 0);
    pool_give(f->pool, &all);
    assert_int_equal(f->status, GP_NO_MEMORY);
    assert_true(f->child.pid);
    assert_int_equal(f->isolate.counts.ended[ISOLATE_PROTOCOL], 0);
}

/* --- inputs ---------------------------------------------------------------------------- */

static const unsigned char *at_input(const struct played_run *f, uint64_t offset)
{
    return pool_range(f->pool, f->isolate.memory.inputs)->base + offset;
}

static void assert_copied(const struct played_run *f, uint32_t i, const void *bytes)
{
    assert_int_equal(f->got_offset[i] % 64, 0);
    assert_memory_equal(at_input(f, f->got_offset[i]), bytes, f->got[i].size_bytes);
}

static const double numbers[] = {1, 2, 3};

static void play_reading(struct played_run *f)
{
    struct record_string strings[3];
    played_run_hear(f);
    assert_copied(f, 0, "abc");
    assert_copied(f, 1, numbers);
    assert_int_equal(f->got_offset[2], pool_offset(&f->body) + 100);
    assert_int_equal(f->got[3].size_bytes, sizeof strings);
    assert_copied(f, 3, at_input(f, f->got_offset[3]));
    memcpy(strings, at_input(f, f->got_offset[3]), sizeof strings);
    assert_int_equal(strings[0].size_bytes, 0);
    assert_int_equal(strings[1].size_bytes, 70);
    assert_memory_equal(at_input(f, strings[1].offset), "a string", 9);
    assert_int_equal(strings[2].size_bytes, 3);
    assert_memory_equal(at_input(f, strings[2].offset), "end", 3);
    assert_int_equal(f->got_offset[4], 0);
    played_begin_done(&f->peer, 0);
    played_say(&f->peer);
}

/* The child cannot read them where they lie. */
static void test_inputs_that_lie_elsewhere_are_copied(void **state)
{
    static const int64_t three[] = {3}, many[] = {100}, none[] = {0};
    static const char text[70] = "a string";
    const struct gp_string strings[] = {{NULL, 0}, {text, sizeof text}, {"end", 3}};
    struct played_run *f = *state;
    const struct pool_range *range = pool_range(f->pool, f->run.memory.inputs);
    const struct gp_tensor inputs[] = {
        gp_tensor_view(GP_UINT8, three, 1, "abc"),
        gp_tensor_view(GP_FLOAT64, three, 1, numbers),
        gp_tensor_view(GP_UINT8, many, 1, range->base + 100),
        gp_tensor_view(GP_STRING, three, 1, strings),
        gp_tensor_view(GP_UINT8, none, 1, "nothing"),
    };
    f->inputs = inputs;
    f->n_inputs = sizeof inputs / sizeof *inputs;
    played_run(f, play_reading, 0);
    assert_int_equal(pool_offset(&f->body), 0);
    assert_int_equal(f->status, GP_OK);
}

/* Then it is not sent. */
static void test_inputs_may_find_no_room(void **state)
{
    static const int64_t one[] = {1};
    const struct gp_string string = {"x", 1};
    const struct gp_tensor input = gp_tensor_view(GP_STRING, one, 1, &string);
    struct played_run *f = *state;
    struct record record;
    struct pool_buffer all;
    f->inputs = &input;
    f->n_inputs = 1;
    assert_true(
        pool_take(f->pool, NULL, 64 * MIB - (size_t)2 * PLAYED_BODY_BYTES, NULL, &all));
    played_run(f, play_nothing, 0);
    pool_give(f->pool, &all);
    assert_int_equal(f->status, GP_NO_MEMORY);
    assert_string_equal(f->err.message,
                        "the pool (--pool) has no room for inputs as a child process "
                        "reads them: 192 bytes; try again later");
    assert_true(f->child.pid && !f->child.is_late);
    assert_int_equal(record_receive(&f->peer.link, &record), RECORD_NONE);
}

/* It is not sent at all. */
static void test_a_config_over_the_limit_is_refused(void **state)
{
    struct played_run *f = *state;
    char *config = calloc(1, RECORD_MAX_BYTES + 1);
    struct record record;
    assert_non_null(config);
    memset(config, 'x', RECORD_MAX_BYTES);
    f->config = config;
    played_run(f, play_nothing, 0);
    assert_int_equal(f->status, GP_TOO_LARGE);
    assert_non_null(
        strstr(f->err.message, "over what an isolated engine takes: 1048576"));
    assert_true(f->child.pid && !f->child.is_late);
    assert_int_equal(record_receive(&f->peer.link, &record), RECORD_NONE);
    free(config);
}

/* --- outputs --------------------------------------------------------------------------- */

static void play_named(struct played_run *f)
{
    played_run_hear(f); /* the names too */
    played_begin_done(&f->peer, 2);
    played_put_output(&f->peer, GP_UINT8, 5, RECORD_INLINE);
    played_put_output(&f->peer, GP_UINT8, 0, 0);
    played_say(&f->peer);
}

static void test_outputs_are_asked_for_by_name(void **state)
{
    struct played_run *f = *state;
    f->n_outputs = 2;
    played_run(f, play_named, 0);
    assert_int_equal(f->status, GP_OK);
    assert_int_equal(f->run.n_outputs, 2);
}

/* There are so many of them that their places here need memory, which is gone by then. */
static void play_many_strings(struct played_run *f)
{
    enum { N = 2000 };
    struct pool_buffer *rest = f->rest;
    played_run_hear(f);
    const uint64_t place = played_get_place(&f->peer, N * sizeof(struct record_string));
    const size_t left = 64 * MIB - pool_count(f->pool).used_bytes;
    assert_true(pool_take(f->pool, NULL, left, NULL, rest));
    played_begin_done(&f->peer, 1);
    played_put_output(&f->peer, GP_STRING, N, place);
    played_say(&f->peer);
}

static void test_strings_may_find_no_room(void **state)
{
    struct played_run *f = *state;
    struct pool_buffer rest = {0};
    f->rest = &rest;
    played_run(f, play_many_strings, 0);
    pool_give(f->pool, &rest);
    assert_int_equal(f->status, GP_NO_MEMORY);
    assert_string_equal(f->err.message, "no memory for the strings of an output");
    assert_true(f->child.pid);
}

static void play_asking(struct played_run *f)
{
    played_run_hear(f);
    while (played_get_place(&f->peer, 1) != UINT64_MAX)
        f->which++;
    played_say_failed(&f->peer, GP_OK, "it asks on and on"); /* which is no failure */
}

static void test_a_child_gets_so_many_buffers(void **state)
{
    struct played_run *f = *state;
    played_run(f, play_asking, 0);
    assert_int_equal(f->which, 2 * GP_MAX_TENSORS);
    assert_int_equal(f->status, GP_ENGINE);
    assert_string_equal(f->err.message, "it asks on and on");
}

/* --- what it says ---------------------------------------------------------------------- */

struct said {
    unsigned n_lines;
    enum gp_log_level level;
    char line[600];
};

static void take_line(void *context, enum gp_log_level level, const char *line)
{
    struct said *said = context;
    said->n_lines++;
    said->level = level;
    (void)snprintf(said->line, sizeof said->line, "%s", line);
}

static void play_talking(struct played_run *f)
{
    char line[600];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    played_run_hear(f);
    played_say_log(&f->peer, GP_LOG_DEBUG + 1, "of no level");
    if (f->which)
        played_say_log(&f->peer, GP_LOG_DEBUG, line);
    played_begin_done(&f->peer, 0);
    played_say(&f->peer);
}

static void test_what_it_logs_is_passed_on(void **state)
{
    struct played_run *f = *state;
    struct said said = {0};
    f->isolate.log = take_line;
    f->isolate.log_context = &said;
    played_run(f, play_talking, 0);
    pool_give(f->pool, &f->body);
    assert_int_equal(said.n_lines, 0);
    f->which = 1;
    played_run(f, play_talking, 0);
    assert_int_equal(f->status, GP_OK);
    assert_int_equal(said.n_lines, 1);
    assert_int_equal(said.level, GP_LOG_DEBUG);
    assert_int_equal(strlen(said.line), 512);
}

static void play_ending(struct played_run *f)
{
    played_run_hear(f);
    kill(f->peer.process, SIGUSR1);
    played_leave(&f->peer);
}

static void test_the_reason_of_an_end_is_told(void **state)
{
    struct played_run *f = *state;
    played_run(f, play_ending, 0);
    assert_int_equal(f->status, GP_UNAVAILABLE);
    assert_non_null(strstr(f->err.message, "slot 0 ended (signal "));
    assert_int_equal(f->isolate.counts.ended[ISOLATE_SIGNAL], 1);
    assert_non_null(f->body.data); /* still the request's */
}

static void test_one_that_has_gone_is_found_out(void **state)
{
    struct played_run *f = *state;
    played_leave(&f->peer);
    played_run(f, play_nothing, 0);
    assert_int_equal(f->status, GP_UNAVAILABLE);
    assert_string_equal(f->err.message, "the process of slot 0 ended (signal 9: Killed) "
                                        "during the run; it starts again");
    assert_int_equal(f->child.pid, 0);
    assert_int_equal(f->run.n_outputs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAYED_RUN_TEST(test_an_honest_child),
        PLAYED_RUN_TEST(test_what_a_child_leaves_unwritten_is_zero),
        PLAYED_RUN_TEST(test_what_an_engine_writes_is_not_cleared),
        PLAYED_RUN_TEST(test_a_child_gets_no_more_than_there_is),
        PLAYED_RUN_TEST(test_a_child_is_not_ended_where_memory_is_short),
        PLAYED_RUN_TEST(test_inputs_that_lie_elsewhere_are_copied),
        PLAYED_RUN_TEST(test_inputs_may_find_no_room),
        PLAYED_RUN_TEST(test_a_config_over_the_limit_is_refused),
        PLAYED_RUN_TEST(test_outputs_are_asked_for_by_name),
        PLAYED_RUN_TEST(test_strings_may_find_no_room),
        PLAYED_RUN_TEST(test_a_child_gets_so_many_buffers),
        PLAYED_RUN_TEST(test_what_it_logs_is_passed_on),
        PLAYED_RUN_TEST(test_the_reason_of_an_end_is_told),
        PLAYED_RUN_TEST(test_one_that_has_gone_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
