/* One run in a child that this test plays: what it is sent, where its outputs lie, and that one that
 * is late, or reads nothing, delays nobody. */
#include "played_run.h"

#include "base/clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static void play_honest(struct played_run *f)
{
    played_run_hear(f);
    const uint64_t place = played_get_place(&f->peer, MIB),
                   strings = played_get_place(&f->peer, 100);
    const struct record_string texts[] = {{strings + 32, 3}, {0, 0}};
    memset(played_at_place(&f->peer, place), 7, MIB);
    memcpy(played_at_place(&f->peer, strings), texts, sizeof texts);
    memcpy(played_at_place(&f->peer, strings) + 32, "abc", 3);
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
        assert_int_equal(data[i], 0);
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

static void play_slow(struct played_run *f)
{
    played_run_hear(f);
    assert_true(played_get_place(&f->peer, MIB) != UINT64_MAX);
    engine_run_cancel(&f->run); /* and does not stop */
}

static void test_a_late_child_keeps_its_buffers(void **state)
{
    struct played_run *f = *state;
    played_run(f, play_slow, 0);
    assert_int_equal(f->status, GP_CANCELLED);
    assert_true(f->child.is_late && f->child.pid);
    assert_null(f->body.data);
    assert_int_equal(pool_count(f->pool).used_bytes, 4096 + MIB);
    eventfd_t told;
    assert_int_equal(eventfd_read(f->child.cancel_fd, &told), 0);
    isolate_give_buffers(&f->child);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
}

/* Longer than what the socket holds. */
static char *long_config(void)
{
    const size_t size = 900000;
    char *config = malloc(size);
    assert_non_null(config);
    memset(config, 'x', size - 1);
    config[size - 1] = '\0';
    return config;
}

/* It may be told to stop when it is about to answer. */
static void play_brief(struct played_run *f)
{
    played_run_hear(f);
    if (f->which)
        engine_run_cancel(&f->run);
    played_begin_done(&f->peer, 0);
    played_say(&f->peer);
}

/* Of what the child, and the thread that waits for it, are told nothing is left for the next run. */
static void test_a_stop_is_not_the_next_runs(void **state)
{
    struct played_run *f = *state;
    eventfd_t told;
    for (int i = 0; i < 4; i++) {
        f->which = i % 2 == 0;
        played_run(f, play_brief, 0);
        assert_int_equal(f->status, GP_OK);
        pool_give(f->pool, &f->body);
        if (i == 2) /* unless the child reads it */
            assert_int_equal(eventfd_read(f->child.cancel_fd, &told), 0);
        if (i % 2) {
            assert_int_equal(eventfd_read(f->child.cancel_fd, &told), -1);
            assert_int_equal(eventfd_read(f->child.wake_fd, &told), -1);
        }
    }
}

/* It reads nothing. */
static void play_deaf(struct played_run *f)
{
    (void)f;
}

static void test_a_child_that_does_not_read_delays_nothing(void **state)
{
    struct played_run *f = *state;
    struct record record = {0};
    enum record_got got;
    char *config = long_config();
    f->config = config;
    played_run(f, play_deaf, clock_now_ns() + 50 * CLOCK_MS);
    assert_int_equal(f->status, GP_DEADLINE);
    assert_true(f->child.is_late && f->child.pid && f->child.n_unsent);
    assert_int_equal(pool_count(f->pool).used_bytes, 4096); /* it may read it yet */
    while ((got = record_receive(&f->peer.link, &record)) == RECORD_NONE)
        assert_true(isolate_send_rest(&f->child)); /* as the supervisor does */
    assert_true(got == RECORD_WHOLE && f->child.n_unsent == 0);
    record.at += sizeof(int64_t) + sizeof(uint32_t); /* to the config */
    assert_string_equal(record_text(&record), config);
    free(config);
}

static void play_leaving(struct played_run *f)
{
    engine_run_cancel(&f->run);
}

static void test_a_run_is_stopped_while_it_is_sent(void **state)
{
    struct played_run *f = *state;
    char *config = long_config();
    eventfd_t told;
    f->config = config;
    played_run(f, play_leaving, 0);
    assert_int_equal(f->status, GP_CANCELLED);
    if (f->child.is_late) { /* else it was told before anything was sent */
        assert_int_equal(eventfd_read(f->child.cancel_fd, &told), 0);
        assert_int_equal(told, f->child.run_id);
    }
    free(config);
}

/* It asks for memory before it has read what for. */
static void play_hasty(struct played_run *f)
{
    char head[16];
    assert_int_equal(read(f->peer.fd, head, sizeof head), sizeof head);
    record_begin(&f->peer.out, RECORD_ALLOC, 1);
    record_put_u64(&f->peer.out, MIB);
    played_say(&f->peer);
}

static void test_a_child_that_answers_before_it_reads(void **state)
{
    struct played_run *f = *state;
    char *config = long_config();
    f->config = config;
    played_run(f, play_hasty, 0);
    assert_int_equal(f->status, GP_UNAVAILABLE);
    assert_non_null(strstr(f->err.message, "makes no sense"));
    free(config);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAYED_RUN_TEST(test_an_honest_child),
        PLAYED_RUN_TEST(test_what_a_child_leaves_unwritten_is_zero),
        PLAYED_RUN_TEST(test_a_child_gets_no_more_than_there_is),
        PLAYED_RUN_TEST(test_a_child_is_not_ended_where_memory_is_short),
        PLAYED_RUN_TEST(test_a_late_child_keeps_its_buffers),
        PLAYED_RUN_TEST(test_a_stop_is_not_the_next_runs),
        PLAYED_RUN_TEST(test_a_child_that_does_not_read_delays_nothing),
        PLAYED_RUN_TEST(test_a_run_is_stopped_while_it_is_sent),
        PLAYED_RUN_TEST(test_a_child_that_answers_before_it_reads),
        PLAYED_RUN_TEST(test_the_reason_of_an_end_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
