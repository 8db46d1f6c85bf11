/* A run in a played child that is late, is told to stop, or reads nothing: it delays nobody, keeps what it
 * may still use, and leaves nothing for the next run. By a clock that the test turns. */
#include "played_run.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define BEGIN_NS (1000 * CLOCK_S)

/* It reads nothing. */
static void play_deaf(struct played_run *f)
{
    (void)f;
}

/* How long a run may take: what ends it first. */
struct limit {
    int64_t deadline_ms; /* 0: none */
    bool is_stopped;     /* at the beginning */
    int64_t ends_ms;
    enum gp_status status;
};

static const struct limit limits[] = {
    {3600000, false, 3600000, GP_DEADLINE}, {0, true, 200, GP_CANCELLED},
    {3600000, true, 200, GP_CANCELLED},     {200, true, 200, GP_DEADLINE},
    {100, true, 100, GP_DEADLINE},
};

/* It is handed memory as long as the run goes on, and says something when it is over. */
static void play_endless(struct played_run *f)
{
    const struct limit *limit = &limits[f->which];
    played_run_hear(f);
    if (limit->is_stopped)
        engine_run_cancel(&f->run);
    assert_true(played_get_place(&f->peer, MIB) != UINT64_MAX);
    turned_clock_add(limit->ends_ms * CLOCK_MS - 1);
    assert_true(played_get_place(&f->peer, MIB) != UINT64_MAX);
    turned_clock_add(1);
    played_say_log(&f->peer, GP_LOG_INFO, "");
}

static void test_a_run_ends_in_time(void **state)
{
    const size_t n = sizeof limits / sizeof *limits;
    for (size_t i = 0; i < n; i++) {
        struct played_run *f = *state;
        const int64_t deadline_ms = limits[i].deadline_ms;
        eventfd_t told = 0;
        turned_clock_set(BEGIN_NS);
        f->which = (int)i;
        played_run(f, play_endless, deadline_ms ? BEGIN_NS + deadline_ms * CLOCK_MS : 0);
        assert_int_equal(f->status, limits[i].status);
        assert_int_equal(clock_now_ns(), BEGIN_NS + limits[i].ends_ms * CLOCK_MS);
        assert_true(f->child.is_late && f->child.pid);
        assert_int_equal(eventfd_read(f->child.cancel_fd, &told), 0); /* it should stop */
        assert_int_equal(told, f->child.run_id);
        if (i + 1 < n) {
            played_run_tear_down(state);
            played_run_set_up(state);
        }
    }
}

static void test_a_deadline_may_be_over_before(void **state)
{
    struct played_run *f = *state;
    turned_clock_set(BEGIN_NS);
    played_run(f, play_deaf, BEGIN_NS - CLOCK_S);
    assert_int_equal(f->status, GP_DEADLINE);
    assert_true(f->child.is_late);
}

/* The client may go: what the child still holds is not counted as its own. */
static void test_a_late_child_keeps_its_buffers(void **state)
{
    static const int64_t one[] = {1};
    const struct gp_string string = {"copied", 6};
    const struct gp_tensor input = gp_tensor_view(GP_STRING, one, 1, &string);
    struct played_run *f = *state;
    struct pool_peer client = {0};
    turned_clock_set(BEGIN_NS);
    f->which = 1;
    f->inputs = &input;
    f->n_inputs = 1;
    f->run.promise.peer = f->run.unplanned.peer = &client;
    played_run(f, play_endless, 0);
    assert_true(f->child.is_late);
    assert_null(f->body.data);
    assert_null(f->run.copies);
    assert_true(pool_count(f->pool).used_bytes > PLAYED_BODY_BYTES + 2 * MIB);
    assert_int_equal(client.held_bytes, 0);
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

static void test_a_child_that_does_not_read_delays_nothing(void **state)
{
    struct played_run *f = *state;
    struct record record = {0};
    enum record_got got;
    char *config = long_config();
    f->config = config;
    turned_clock_set(BEGIN_NS);
    turned_clock_add_at_each_look(CLOCK_S);
    played_run(f, play_deaf, BEGIN_NS + CLOCK_MS);
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

static enum gp_status run_stopped(void *isolate, uint32_t slot,
                                  const struct gp_call *call, struct gp_outputs *outputs,
                                  struct gp_error *err)
{
    engine_run_cancel((struct engine_run *)(void *)outputs);
    return isolate_run(isolate, slot, call, outputs, err);
}

/* Then the child never hears of it. */
static void test_a_run_is_stopped_before_it_is_sent(void **state)
{
    struct played_run *f = *state;
    struct record record;
    f->engine.run = run_stopped;
    played_run(f, play_deaf, 0);
    assert_int_equal(f->status, GP_CANCELLED);
    assert_false(f->child.is_late);
    assert_int_equal(record_receive(&f->peer.link, &record), RECORD_NONE);
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
    turned_clock_set(BEGIN_NS);
    turned_clock_add_at_each_look(CLOCK_S);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAYED_RUN_TEST(test_a_run_ends_in_time),
        PLAYED_RUN_TEST(test_a_deadline_may_be_over_before),
        PLAYED_RUN_TEST(test_a_late_child_keeps_its_buffers),
        PLAYED_RUN_TEST(test_a_stop_is_not_the_next_runs),
        PLAYED_RUN_TEST(test_a_child_that_does_not_read_delays_nothing),
        PLAYED_RUN_TEST(test_a_run_is_stopped_before_it_is_sent),
        PLAYED_RUN_TEST(test_a_run_is_stopped_while_it_is_sent),
        PLAYED_RUN_TEST(test_a_child_that_answers_before_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
