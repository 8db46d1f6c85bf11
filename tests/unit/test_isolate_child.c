/* A real child whose server the test plays: it believes nothing, answers what it can, and ends with
 * its socket. */
#include "descriptors.h"
#include "isolated.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

enum { LARGE_BYTES = 100000 };

struct fixture {
    struct isolate isolate;
    struct child child;
    struct gp_arena *arena;
    struct pool_buffer input;
    struct pool_buffer output;
};

/* As the server writes it, but for these. */
static void write_open(struct isolate *isolate, enum record_type type, uint32_t contract,
                       uint32_t n_options)
{
    struct text *out = &isolate->open;
    record_begin(out, type, 0);
    record_put_u32(out, contract);
    record_put_text(out, isolated_plugin("told"));
    for (int i = 0; i < 2; i++) /* engine_dir, model_path */
        record_put_text(out, NULL);
    record_put_u32(out, 1); /* slot */
    isolate->first_slot_at = out->size_bytes;
    for (int i = 0; i < 3; i++) /* the first one, n_threads, n_cores */
        record_put_u32(out, 1);
    record_put_u32(out, n_options);
    assert_true(record_end(out));
}

static struct fixture *make_fixture(enum record_type type, uint32_t contract,
                                    uint32_t n_options)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct isolate *isolate = &f->isolate;
    assert_non_null(f);
    isolate->pool = pool_create(64 * MIB);
    assert_true(pool_open(isolate->pool, &isolate->memory));
    assert_true(
        pool_take(isolate->pool, isolate->memory.inputs, LARGE_BYTES, NULL, &f->input));
    assert_true(
        pool_take(isolate->pool, isolate->memory.outputs, LARGE_BYTES, NULL, &f->output));
    isolate->inputs_fd = pool_range(isolate->pool, isolate->memory.inputs)->fd;
    isolate->worker = getenv("GP_BIN");
    pthread_mutex_init(&isolate->lock, NULL);
    write_open(isolate, type, contract, n_options);
    f->child = (struct child){.isolate = isolate,
                              .link.fd = -1,
                              .output.fd = -1,
                              .cancel_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    f->arena = gp_arena_create();
    return f;
}

static struct fixture *begin(enum record_type type, uint32_t contract, uint32_t n_options)
{
    struct fixture *f = make_fixture(type, contract, n_options);
    struct gp_error err;
    if (!spawn_child(&f->child, &err))
        fail_msg("%s", err.message);
    assert_int_equal(f->child.n_unsent, 0);
    return f;
}

/* Its end and its exit status. */
static void assert_exits(struct fixture *f, int exit_status)
{
    struct record record;
    int status;
    assert_int_equal(record_wait(&f->child.link, &record), RECORD_ENDED);
    assert_int_equal(waitpid(f->child.pid, &status, 0), f->child.pid);
    f->child.pid = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), exit_status);
}

static void end(struct fixture *f)
{
    struct isolate *isolate = &f->isolate;
    if (f->child.pid) {
        assert_int_equal(shutdown(f->child.link.fd, SHUT_WR), 0);
        assert_exits(f, EXIT_SUCCESS);
    }
    close(f->child.link.fd);
    record_link_finish(&f->child.link);
    output_close(&f->child);
    text_finish(&f->child.out);
    close(f->child.cancel_fd);
    text_finish(&isolate->open);
    pool_give(isolate->pool, &f->input);
    pool_give(isolate->pool, &f->output);
    pool_close(isolate->pool, &isolate->memory);
    pool_destroy(isolate->pool);
    gp_arena_destroy(f->arena);
    pthread_mutex_destroy(&isolate->lock);
    free(f);
}

static struct record hear(struct fixture *f, enum record_type type)
{
    struct record record;
    assert_int_equal(record_wait(&f->child.link, &record), RECORD_WHOLE);
    assert_int_equal(record.type, type);
    assert_true(record_keep(&record, f->arena));
    return record;
}

static void hear_failure(struct fixture *f, enum gp_status status, const char *message)
{
    struct record record = hear(f, RECORD_FAILED);
    struct gp_error err;
    assert_int_equal(record_failure(&record, &err), status);
    assert_string_equal(err.message, message);
}

static struct fixture *begin_open(void)
{
    struct fixture *f = begin(RECORD_OPEN, RECORD_CONTRACT, 0);
    (void)hear(f, RECORD_OPENED);
    return f;
}

/* RUN with one input: its bytes, or strings, lie at this offset. */
static void send_run(struct fixture *f, uint64_t id, const char *config,
                     enum gp_dtype dtype, int64_t n, uint64_t offset)
{
    const struct gp_tensor input = gp_tensor_view(dtype, &n, 1, NULL);
    struct text *out = &f->child.out;
    record_begin(out, RECORD_RUN, id);
    record_put_u64(out, 0);
    record_put_u32(out, 1);
    record_put_text(out, config);
    record_put_u32(out, 0);
    record_put_u32(out, 1);
    record_put_tensor(out, &input, offset);
    assert_true(record_end(out));
    assert_true(record_send_all(f->child.link.fd, out));
}

static void send_place(struct fixture *f, uint64_t offset)
{
    record_begin(&f->child.out, RECORD_PLACE, 0);
    record_put_u64(&f->child.out, offset);
    assert_true(record_end(&f->child.out));
    assert_true(record_send_all(f->child.link.fd, &f->child.out));
}

static void assert_runs(struct fixture *f, uint64_t id)
{
    send_run(f, id, "copy", GP_UINT8, 5, pool_offset(&f->input));
    const struct record record = hear(f, RECORD_DONE);
    assert_int_equal(record.id, id);
}

/* --- opening --------------------------------------------------------------------------- */

static void a_server_of_another_release_is_refused(void **state)
{
    static const struct {
        enum record_type type;
        uint32_t contract;
    } cases[] = {{RECORD_OPEN, RECORD_CONTRACT + 1},
                 {RECORD_OPEN, RECORD_CONTRACT - 1},
                 {RECORD_RUN, RECORD_CONTRACT}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture *f = begin(cases[i].type, cases[i].contract, 0);
        hear_failure(f, GP_UNSUPPORTED,
                     "the worker is of another release than the server");
        assert_exits(f, EXIT_FAILURE);
        end(f);
    }
}

static void options_that_are_not_there_are_refused(void **state)
{
    (void)state;
    struct fixture *f = begin(RECORD_OPEN, RECORD_CONTRACT, 7);
    hear_failure(f, GP_INTERNAL, "the child does not understand its server");
    assert_exits(f, EXIT_FAILURE);
    end(f);
}

/* What there is too little of is told, and nothing is left open. */
static void a_start_needs_descriptors(void **state)
{
    struct gp_error err;
    unsigned n = 0;
    bool is_started;
    (void)state;
    struct fixture *f = make_fixture(RECORD_OPEN, RECORD_CONTRACT, 0);
    const unsigned n_before = descriptors_count();
    do {
        descriptors_limit(n);
        is_started = spawn_child(&f->child, &err);
        descriptors_unlimit();
        if (!is_started) {
            assert_int_equal(err.status, GP_UNAVAILABLE);
            assert_non_null(strstr(err.message, "slot 0"));
            assert_non_null(strstr(err.message, "Too many open files (ulimit -n is "));
            if (f->child.link.fd >= 0) /* until the next try */
                assert_int_equal(close(f->child.link.fd), 0);
            f->child.link.fd = -1;
            output_close(&f->child);
            assert_int_equal(descriptors_count(), n_before);
        }
    } while (!is_started && n++ < 30);
    assert_true(is_started);
    assert_true(n > 4); /* a socket, a pipe, and then copies of each */
    (void)hear(f, RECORD_OPENED);
    end(f);
}

/* It is another process's child. */
static void it_serves_its_parent_only(void **state)
{
    char command[4200];
    (void)state;
    (void)snprintf(command, sizeof command, "'%s' worker 1", getenv("GP_BIN"));
    const int status = system(command);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
}

/* --- runs ------------------------------------------------------------------------------ */

static void inputs_are_looked_for_inside_the_arena(void **state)
{
    (void)state;
    struct fixture *f = begin_open();
    const uint64_t size =
        pool_range(f->isolate.pool, f->isolate.memory.inputs)->size_bytes;
    const uint64_t at = pool_offset(&f->input);
    const struct record_string outside[] = {
        {size, 1}, {size - 1, 2}, {UINT64_MAX, 2}, {0, size + 1}};
    const char *const refusal = "the child does not understand its server";
    uint64_t id = 0;
    send_run(f, ++id, "copy", GP_UINT8, 2, size - 1);
    hear_failure(f, GP_INTERNAL, refusal);
    send_run(f, ++id, "copy", GP_UINT8, 1, UINT64_MAX - 1);
    hear_failure(f, GP_INTERNAL, refusal);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        memcpy(f->input.data, &outside[i], sizeof outside[i]);
        send_run(f, ++id, "copy", GP_STRING, 1, at);
        hear_failure(f, GP_INTERNAL, refusal);
        assert_runs(f, ++id);
    }
    const struct record_string last = {size - 1, 1};
    memcpy(f->input.data, &last, sizeof last);
    send_run(f, ++id, "adopt", GP_STRING, 1, at);
    (void)hear(f, RECORD_ALLOC); /* it has a string to return */
    send_place(f, pool_offset(&f->output));
    (void)hear(f, RECORD_DONE);
    end(f);
}

static void a_run_that_is_cut_is_refused(void **state)
{
    (void)state;
    struct fixture *f = begin_open();
    struct text *out = &f->child.out;
    for (int has_too_many = 0; has_too_many < 2; has_too_many++) {
        record_begin(out, RECORD_RUN, 1);
        record_put_u64(out, 0);
        record_put_u32(out, 1);
        record_put_text(out, "copy");
        record_put_u32(out, 0);
        if (has_too_many)
            record_put_u32(out, GP_MAX_TENSORS + 1);
        assert_true(record_end(out));
        assert_true(record_send_all(f->child.link.fd, out));
        hear_failure(f, GP_INTERNAL, "the child does not understand its server");
    }
    assert_runs(f, 2);
    end(f);
}

static void outputs_are_put_inside_the_arena(void **state)
{
    (void)state;
    struct fixture *f = begin_open();
    const uint64_t size =
        pool_range(f->isolate.pool, f->isolate.memory.outputs)->size_bytes;
    const uint64_t at = pool_offset(&f->output), wrong[] = {size, size - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        send_run(f, 1, "copy", GP_UINT8, LARGE_BYTES, pool_offset(&f->input));
        struct record record = hear(f, RECORD_ALLOC);
        assert_int_equal(record_u64(&record), LARGE_BYTES);
        send_place(f, wrong[i]);
        hear_failure(f, GP_NO_MEMORY, "no memory for output 0: 100000 bytes");
    }
    memset(f->input.data, 7, LARGE_BYTES);
    send_run(f, 1, "copy", GP_UINT8, LARGE_BYTES, pool_offset(&f->input));
    (void)hear(f, RECORD_ALLOC);
    send_place(f, at);
    struct record record = hear(f, RECORD_DONE);
    struct gp_tensor got;
    uint64_t offset;
    assert_int_equal(record_u32(&record), 1);
    assert_true(record_tensor(&record, f->arena, &got, &offset));
    assert_int_equal(offset, at);
    assert_int_equal(got.size_bytes, LARGE_BYTES);
    assert_true(f->output.data[0] == 7 && f->output.data[LARGE_BYTES - 1] == 7);
    end(f);
}

static void a_server_without_memory_is_no_end(void **state)
{
    (void)state;
    struct fixture *f = begin_open();
    struct text *out = &f->child.out;
    send_run(f, 1, "adopt", GP_UINT8, LARGE_BYTES, pool_offset(&f->input));
    (void)hear(f, RECORD_ALLOC);
    record_begin(out, RECORD_FAILED, 1);
    record_put_u32(out, GP_NO_MEMORY);
    record_put_text(out, "");
    assert_true(record_end(out));
    assert_true(record_send_all(f->child.link.fd, out));
    hear_failure(f, GP_NO_MEMORY, "no memory for an output: 100000 bytes");
    assert_runs(f, 2);
    end(f);
}

/* A stop may come before the run that it is for has been read, or after it. */
static void a_stop_is_for_one_run(void **state)
{
    (void)state;
    struct fixture *f = begin_open();
    assert_int_equal(eventfd_write(f->child.cancel_fd, 7), 0);
    send_run(f, 6, "copy", GP_UINT8, 5, 0);
    (void)hear(f, RECORD_DONE);
    send_run(f, 7, "copy", GP_UINT8, 5, 0);
    hear_failure(f, GP_CANCELLED, "cancelled before it ran");
    assert_runs(f, 8);
    assert_int_equal(eventfd_write(f->child.cancel_fd, 8), 0);
    assert_runs(f, 9);
    end(f);
}

/* --- the end --------------------------------------------------------------------------- */

static void it_ends_with_its_socket(void **state)
{
    (void)state;
    struct fixture *f = begin_open();
    assert_runs(f, 1);
    assert_int_equal(shutdown(f->child.link.fd, SHUT_WR), 0);
    assert_exits(f, EXIT_SUCCESS);
    end(f);
}

static void it_ends_with_the_server_that_it_asked(void **state)
{
    (void)state;
    struct fixture *f = begin_open();
    send_run(f, 1, "copy", GP_UINT8, LARGE_BYTES, pool_offset(&f->input));
    (void)hear(f, RECORD_ALLOC);
    assert_int_equal(shutdown(f->child.link.fd, SHUT_WR), 0);
    assert_exits(f, EXIT_FAILURE);
    end(f);
}

static void what_is_no_run_ends_it(void **state)
{
    (void)state;
    struct fixture *f = begin_open();
    send_place(f, 0);
    assert_exits(f, EXIT_FAILURE);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_of_another_release_is_refused),
        cmocka_unit_test(options_that_are_not_there_are_refused),
        cmocka_unit_test(a_start_needs_descriptors),
        cmocka_unit_test(it_serves_its_parent_only),
        cmocka_unit_test(inputs_are_looked_for_inside_the_arena),
        cmocka_unit_test(a_run_that_is_cut_is_refused),
        cmocka_unit_test(outputs_are_put_inside_the_arena),
        cmocka_unit_test(a_server_without_memory_is_no_end),
        cmocka_unit_test(a_stop_is_for_one_run),
        cmocka_unit_test(it_ends_with_its_socket),
        cmocka_unit_test(it_ends_with_the_server_that_it_asked),
        cmocka_unit_test(what_is_no_run_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
