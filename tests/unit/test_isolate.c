/* One run in a child that this test plays: an honest one, and those that lie about where outputs
 * lie. A process that only waits stands for its process, which the server's side may end. */
#include "base/clock.h"
#include "engine/isolate_child.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

struct fixture {
    struct isolate isolate;
    struct child child;
    struct gp_engine engine;
    struct pool *pool;
    struct gp_arena *arena;
    struct engine_run run;
    struct gp_error err;
    struct pool_buffer body;
    enum gp_status status;
    int peer;      /* the child's end */
    pid_t process; /* and what stands for its process */
    struct record_link link;
    struct text out;
    struct gp_arena *peer_arena;
    const char *config;   /* of the run; NULL: "config" */
    struct gp_tensor got; /* the input that the child was sent */
    uint64_t got_offset;
    bool is_stopped; /* in play_brief */
};

static pid_t start_process(void)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test crash */
        for (;;)
            pause();
    }
    return pid;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int fds[2];
    assert_non_null(f);
    f->pool = pool_create(64 * MIB);
    assert_true(pool_open(f->pool, &f->isolate.memory));
    f->arena = gp_arena_create();
    f->peer_arena = gp_arena_create();
    engine_run_init(&f->run, f->pool, f->arena);
    f->run.memory = f->isolate.memory;
    f->run.body = &f->body;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    f->peer = f->link.fd = fds[1];
    f->child.isolate = &f->isolate;
    f->child.link.fd = fds[0];
    f->child.pid = f->process = start_process();
    f->child.cancel_fd = eventfd(0, EFD_NONBLOCK);
    f->child.wake_fd = eventfd(0, EFD_NONBLOCK);
    f->isolate.children = &f->child;
    f->isolate.n_children = 1;
    f->isolate.pool = f->pool;
    pthread_mutex_init(&f->isolate.lock, NULL);
    f->engine = (struct gp_engine){.run = isolate_run};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->child.pid)
        spawn_discard(&f->child);
    engine_run_finish(&f->run);
    pool_give(f->pool, &f->body);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    assert_int_equal(pool_count(f->pool).reserved_bytes, 0);
    pool_close(f->pool, &f->isolate.memory);
    pool_destroy(f->pool);
    gp_arena_destroy(f->arena);
    gp_arena_destroy(f->peer_arena);
    text_finish(&f->out);
    text_finish(&f->child.out);
    free(f->child.taken);
    close(f->child.link.fd);
    record_link_finish(&f->child.link);
    if (f->peer >= 0)
        close(f->peer);
    record_link_finish(&f->link);
    close(f->child.cancel_fd);
    close(f->child.wake_fd);
    pthread_mutex_destroy(&f->isolate.lock);
    free(f);
    return 0;
}

/* --- the child's part, on a thread of its own --- */

static void hear_run(struct fixture *f)
{
    struct record record;
    assert_int_equal(record_wait(&f->link, &record), RECORD_WHOLE);
    assert_int_equal(record.type, RECORD_RUN);
    assert_true(record_keep(&record, f->peer_arena));
    (void)record_u64(&record);
    assert_int_equal(record_u32(&record), 3);
    assert_string_equal(record_text(&record), "config");
    assert_true(record_u32(&record) == 0 && record_u32(&record) == 1);
    assert_true(record_tensor(&record, f->peer_arena, &f->got, &f->got_offset));
}

static void say(struct fixture *f)
{
    assert_true(record_end(&f->out));
    assert_true(record_send_all(f->peer, &f->out));
}

/* Asks for a buffer: where it lies. */
static uint64_t get_place(struct fixture *f, uint64_t size_bytes)
{
    struct record record;
    record_begin(&f->out, RECORD_ALLOC, f->child.run_id);
    record_put_u64(&f->out, size_bytes);
    say(f);
    assert_int_equal(record_wait(&f->link, &record), RECORD_WHOLE);
    if (record.type != RECORD_PLACE)
        return UINT64_MAX;
    return record_u64(&record);
}

static unsigned char *at_place(struct fixture *f, uint64_t offset)
{
    return pool_range(f->pool, f->isolate.memory.outputs)->base + offset;
}

static void begin_done(struct fixture *f, uint32_t n)
{
    record_begin(&f->out, RECORD_DONE, f->child.run_id);
    record_put_u32(&f->out, n);
}

static void put_output(struct fixture *f, enum gp_dtype dtype, int64_t n, uint64_t offset)
{
    static const unsigned char bytes[4096] = {0};
    const struct gp_tensor tensor = gp_tensor_view(dtype, &n, 1, bytes);
    record_put_tensor(&f->out, &tensor, offset);
}

static void play_honest(struct fixture *f)
{
    hear_run(f);
    const uint64_t place = get_place(f, MIB), strings = get_place(f, 100);
    const struct record_string texts[] = {{strings + 32, 3}, {0, 0}};
    memset(at_place(f, place), 7, MIB);
    memcpy(at_place(f, strings), texts, sizeof texts);
    memcpy(at_place(f, strings) + 32, "abc", 3);
    begin_done(f, 4);
    put_output(f, GP_UINT8, (int64_t)MIB, place);
    put_output(f, GP_STRING, 2, strings);
    put_output(f, GP_UINT8, 5, RECORD_INLINE);
    put_output(f, GP_UINT8, 0, 0);
    say(f);
}

/* Each lie, by its number. */
enum lie {
    BEYOND_THE_ARENA,
    NOT_HANDED_OUT,
    INSIDE_A_BUFFER,
    LARGER_THAN_ITS_BUFFER,
    THE_SAME_TWICE,
    THE_INPUT,
    STRINGS_BEFORE_THEIR_BUFFER,
    STRINGS_BEHIND_THEIR_BUFFER,
    STRINGS_THAT_WRAP,
    STRINGS_IN_THE_RECORD,
    TOO_MANY,
    FEWER_THAN_SAID,
    ANOTHER_RUN,
    NO_CHILDS_RECORD,
    ALLOC_WITHOUT_SIZE,
    FAILURE_WITHOUT_MESSAGE,
    N_LIES
};

static void put_strings(struct fixture *f, uint64_t place, uint64_t offset, uint64_t size)
{
    const struct record_string text = {offset, size};
    memcpy(at_place(f, place), &text, sizeof text);
    begin_done(f, 1);
    put_output(f, GP_STRING, 1, place);
}

static void lie_of_strings(struct fixture *f, enum lie lie, uint64_t place)
{
    switch (lie) {
    case STRINGS_BEFORE_THEIR_BUFFER:
        put_strings(f, place, place - 1, 1);
        break;
    case STRINGS_BEHIND_THEIR_BUFFER:
        put_strings(f, place, place + 8191, 2);
        break;
    case STRINGS_THAT_WRAP:
        put_strings(f, place, place + 16, UINT64_MAX - 8);
        break;
    default:
        begin_done(f, 1);
        put_output(f, GP_STRING, 1, RECORD_INLINE);
    }
}

static void lie_of_places(struct fixture *f, enum lie lie, uint64_t place)
{
    begin_done(f, lie == THE_SAME_TWICE ? 2 : 1);
    switch (lie) {
    case BEYOND_THE_ARENA:
        put_output(f, GP_UINT8, 100, UINT64_C(1) << 60);
        break;
    case NOT_HANDED_OUT:
        put_output(f, GP_UINT8, 100, place + 8192);
        break;
    case INSIDE_A_BUFFER:
        put_output(f, GP_UINT8, 100, place + 1);
        break;
    case LARGER_THAN_ITS_BUFFER:
        put_output(f, GP_UINT8, 8193, place);
        break;
    case THE_SAME_TWICE:
        put_output(f, GP_UINT8, 100, place);
        put_output(f, GP_UINT8, 100, place);
        break;
    default: /* THE_INPUT, which lies in the other arena */
        put_output(f, GP_UINT8, 100, f->got_offset);
    }
}

static void lie_of_records(struct fixture *f, enum lie lie)
{
    switch (lie) {
    case TOO_MANY:
        begin_done(f, GP_MAX_TENSORS + 1);
        break;
    case FEWER_THAN_SAID:
        begin_done(f, 2);
        put_output(f, GP_UINT8, 5, RECORD_INLINE);
        break;
    case ANOTHER_RUN:
        record_begin(&f->out, RECORD_DONE, f->child.run_id + 1);
        record_put_u32(&f->out, 0);
        break;
    case NO_CHILDS_RECORD:
        record_begin(&f->out, RECORD_PLACE, f->child.run_id);
        record_put_u64(&f->out, 0);
        break;
    case ALLOC_WITHOUT_SIZE:
        record_begin(&f->out, RECORD_ALLOC, f->child.run_id);
        break;
    default:
        record_begin(&f->out, RECORD_FAILED, f->child.run_id);
        record_put_u32(&f->out, GP_INVALID);
    }
}

struct script {
    struct fixture *f;
    void (*play)(struct fixture *f);
    int lie; /* without play */
};

static void *child_main(void *arg)
{
    const struct script *script = arg;
    struct fixture *f = script->f;
    if (script->play) {
        script->play(f);
        return NULL;
    }
    const enum lie lie = (enum lie)script->lie;
    hear_run(f);
    const uint64_t place = get_place(f, 8192);
    if (lie >= TOO_MANY)
        lie_of_records(f, lie);
    else if (lie >= STRINGS_BEFORE_THEIR_BUFFER)
        lie_of_strings(f, lie, place);
    else
        lie_of_places(f, lie, place);
    say(f);
    return NULL;
}

/* The server's part: a run with an input of 4 KiB that lies in the arena. */
static void run(struct fixture *f, const struct script *script, int64_t deadline_ns)
{
    static const int64_t shape[] = {4096};
    pthread_t thread;
    assert_true(pool_take(f->pool, f->run.memory.inputs, 4096, NULL, &f->body));
    const struct gp_tensor input = gp_tensor_view(GP_UINT8, shape, 1, f->body.data);
    engine_run_begin(&f->run);
    f->run.call = (struct gp_call){.inputs = &input,
                                   .n_inputs = 1,
                                   .config = f->config ? f->config : "config",
                                   .deadline_ns = deadline_ns,
                                   .n_free_cores = 3};
    assert_int_equal(pthread_create(&thread, NULL, child_main, (void *)(uintptr_t)script),
                     0);
    f->status = engine_run_execute(&f->run, &f->engine, &f->isolate, 0, &f->err);
    pthread_join(thread, NULL);
}

static void test_an_honest_child(void **state)
{
    struct fixture *f = *state;
    run(f, &(struct script){f, play_honest, 0}, 0);
    assert_int_equal(f->status, GP_OK);
    assert_int_equal(f->got_offset, pool_offset(&f->body)); /* not copied */
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

static void test_lies_end_the_child(void **state)
{
    for (int lie = 0; lie < N_LIES; lie++) {
        if (lie) {
            tear_down(state);
            set_up(state);
        }
        struct fixture *f = *state;
        run(f, &(struct script){f, NULL, lie}, 0);
        if (f->status != GP_UNAVAILABLE || !strstr(f->err.message, "makes no sense"))
            fail_msg("lie %d: %d %s", lie, f->status, f->err.message);
        assert_int_equal(f->child.pid, 0);
        assert_int_equal(f->run.n_outputs, 0);
        assert_int_equal(f->isolate.counts.ended[ISOLATE_PROTOCOL], 1);
    }
}

/* It gives what it was handed out, and writes nothing there. */
static void play_lazy(struct fixture *f)
{
    hear_run(f);
    const uint64_t place = get_place(f, MIB);
    begin_done(f, 1);
    put_output(f, GP_UINT8, (int64_t)MIB, place);
    say(f);
}

static void test_what_a_child_leaves_unwritten_is_zero(void **state)
{
    struct fixture *f = *state;
    struct pool_buffer before;
    assert_true(pool_take(f->pool, f->run.memory.outputs, MIB, NULL, &before));
    assert_true(pool_touch(f->pool, &before, MIB));
    memset(before.data, 0xa5, MIB);
    pool_give(f->pool, &before);
    run(f, &(struct script){f, play_lazy, 0}, 0);
    assert_int_equal(f->status, GP_OK);
    const unsigned char *data = f->run.outputs[0].tensor.data;
    for (size_t i = 0; i < MIB; i++)
        assert_int_equal(data[i], 0);
}

/* Its thread ends with the socket's. */
static void play_greedy(struct fixture *f)
{
    uint64_t place = 0;
    hear_run(f);
    for (int i = 0; i < 100 && place != UINT64_MAX; i++)
        place = get_place(f, 2 * MIB);
    assert_int_equal(place, UINT64_MAX);
    record_begin(&f->out, RECORD_FAILED, f->child.run_id);
    record_put_u32(&f->out, GP_NO_MEMORY);
    record_put_text(&f->out, "there is no more");
    say(f);
}

static void test_a_child_gets_no_more_than_there_is(void **state)
{
    struct fixture *f = *state;
    run(f, &(struct script){f, play_greedy, 0}, 0);
    assert_int_equal(f->status, GP_NO_MEMORY);
    assert_string_equal(f->err.message, "there is no more");
    assert_true(f->child.pid); /* asking is no crime */
}

static void play_small(struct fixture *f)
{
    hear_run(f);
    begin_done(f, 1);
    put_output(f, GP_UINT8, 5, RECORD_INLINE);
    say(f);
}

/* Nor is it the child's fault that its answer finds no room here. */
static void test_a_child_is_not_ended_where_memory_is_short(void **state)
{
    enum { FIRST_BLOCK_BYTES = 16 * 1024 };
    struct fixture *f = *state;
    struct pool_buffer all;
    assert_non_null(gp_arena_alloc(f->arena, FIRST_BLOCK_BYTES));
    assert_true(pool_take(f->pool, NULL, 64 * MIB - 4096, NULL, &all));
    run(f, &(struct script){f, play_small, 0}, 0);
    pool_give(f->pool, &all);
    assert_int_equal(f->status, GP_NO_MEMORY);
    assert_true(f->child.pid);
    assert_int_equal(f->isolate.counts.ended[ISOLATE_PROTOCOL], 0);
}

static void play_slow(struct fixture *f)
{
    hear_run(f);
    assert_true(get_place(f, MIB) != UINT64_MAX);
    engine_run_cancel(&f->run); /* and does not stop */
}

static void test_a_late_child_keeps_its_buffers(void **state)
{
    struct fixture *f = *state;
    run(f, &(struct script){f, play_slow, 0}, 0);
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
static void play_brief(struct fixture *f)
{
    hear_run(f);
    if (f->is_stopped)
        engine_run_cancel(&f->run);
    begin_done(f, 0);
    say(f);
}

/* Of what the child, and the thread that waits for it, are told nothing is left for the next run. */
static void test_a_stop_is_not_the_next_runs(void **state)
{
    struct fixture *f = *state;
    eventfd_t told;
    for (int i = 0; i < 4; i++) {
        f->is_stopped = i % 2 == 0;
        run(f, &(struct script){f, play_brief, 0}, 0);
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
static void play_deaf(struct fixture *f)
{
    (void)f;
}

static void test_a_child_that_does_not_read_delays_nothing(void **state)
{
    struct fixture *f = *state;
    struct record record = {0};
    enum record_got got;
    char *config = long_config();
    f->config = config;
    run(f, &(struct script){f, play_deaf, 0}, clock_now_ns() + 50 * CLOCK_MS);
    assert_int_equal(f->status, GP_DEADLINE);
    assert_true(f->child.is_late && f->child.pid && f->child.n_unsent);
    assert_int_equal(pool_count(f->pool).used_bytes, 4096); /* it may read it yet */
    while ((got = record_receive(&f->link, &record)) == RECORD_NONE)
        assert_true(isolate_send_rest(&f->child)); /* as the supervisor does */
    assert_true(got == RECORD_WHOLE && f->child.n_unsent == 0);
    record.at += sizeof(int64_t) + sizeof(uint32_t); /* to the config */
    assert_string_equal(record_text(&record), config);
    free(config);
}

static void play_leaving(struct fixture *f)
{
    engine_run_cancel(&f->run);
}

static void test_a_run_is_stopped_while_it_is_sent(void **state)
{
    struct fixture *f = *state;
    char *config = long_config();
    eventfd_t told;
    f->config = config;
    run(f, &(struct script){f, play_leaving, 0}, 0);
    assert_int_equal(f->status, GP_CANCELLED);
    if (f->child.is_late) { /* else it was told before anything was sent */
        assert_int_equal(eventfd_read(f->child.cancel_fd, &told), 0);
        assert_int_equal(told, f->child.run_id);
    }
    free(config);
}

/* It asks for memory before it has read what for. */
static void play_hasty(struct fixture *f)
{
    char head[16];
    assert_int_equal(read(f->peer, head, sizeof head), sizeof head);
    record_begin(&f->out, RECORD_ALLOC, 1);
    record_put_u64(&f->out, MIB);
    say(f);
}

static void test_a_child_that_answers_before_it_reads(void **state)
{
    struct fixture *f = *state;
    char *config = long_config();
    f->config = config;
    run(f, &(struct script){f, play_hasty, 0}, 0);
    assert_int_equal(f->status, GP_UNAVAILABLE);
    assert_non_null(strstr(f->err.message, "makes no sense"));
    free(config);
}

static void play_ending(struct fixture *f)
{
    hear_run(f);
    kill(f->process, SIGUSR1);
    close(f->peer);
    f->peer = -1;
}

static void test_the_reason_of_an_end_is_told(void **state)
{
    struct fixture *f = *state;
    run(f, &(struct script){f, play_ending, 0}, 0);
    assert_int_equal(f->status, GP_UNAVAILABLE);
    assert_non_null(strstr(f->err.message, "slot 0 ended (signal "));
    assert_int_equal(f->isolate.counts.ended[ISOLATE_SIGNAL], 1);
    assert_non_null(f->body.data); /* still the request's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_honest_child, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lies_end_the_child, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_child_leaves_unwritten_is_zero,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_child_gets_no_more_than_there_is, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_child_is_not_ended_where_memory_is_short,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_late_child_keeps_its_buffers, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_stop_is_not_the_next_runs, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_child_that_does_not_read_delays_nothing,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_run_is_stopped_while_it_is_sent, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_child_that_answers_before_it_reads, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_reason_of_an_end_is_told, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
