/* Runs of an engine: what the host gives an engine, what it refuses, and how a run is
 * stopped. The engines are functions in here and the plug-in of tests/engines/faulty.c.
 */
#include "engine_fixture.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* --- what the host gives --- */

static enum gp_status sizes(void *model, uint32_t slot, const struct gp_call *call,
                            struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t small[] = {3}, large[] = {100, 100}, none[] = {0, 7};
    (void)model;
    (void)slot;
    assert_ptr_equal(call->host, &engine_host);
    assert_int_equal(call->size_bytes, sizeof *call);
    assert_string_equal(call->config, "");
    unsigned char *a = gp_outputs_alloc(outputs, 0, GP_UINT8, small, 1, err);
    double *b = gp_outputs_alloc(outputs, 1, GP_FLOAT64, large, 2, err);
    void *c = gp_outputs_alloc(outputs, 2, GP_INT16, none, 2, err);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_int_equal((uintptr_t)a % 64 + (uintptr_t)b % 64 + (uintptr_t)c % 64, 0);
    memset(a, 1, 3);
    memset(b, 2, 80000);
    return GP_OK;
}

static void test_alloc(void **state)
{
    struct engine_fixture *f = *state;
    assert_int_equal(engine_execute(f, sizes, NULL, 3), GP_OK);
    assert_int_equal(f->run.n_outputs, 3);
    const struct engine_output *out = f->run.outputs;
    assert_int_equal(out[0].tensor.size_bytes, 3);
    assert_int_equal(out[1].tensor.size_bytes, 80000);
    assert_int_equal(out[1].tensor.rank, 2);
    assert_int_equal(out[1].tensor.shape[1], 100);
    assert_int_equal(out[2].tensor.size_bytes, 0);
    assert_null(out[0].buffer.data); /* small ones do not take a buffer */
    assert_true(pool_count(f->pool).used_bytes >= 80000);
    engine_run_drop(&f->run);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
}

/* Writes nothing of what it takes: a small output, a large one, and the bytes of a string. */
static enum gp_status lazy(void *model, uint32_t slot, const struct gp_call *call,
                           struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t small[] = {4000}, large[] = {3 << 20}, one[] = {1};
    (void)model, (void)slot, (void)call;
    assert_non_null(gp_outputs_alloc(outputs, 0, GP_UINT8, small, 1, err));
    assert_non_null(gp_outputs_alloc(outputs, 1, GP_UINT8, large, 1, err));
    struct gp_string *string = gp_outputs_alloc(outputs, 2, GP_STRING, one, 1, err);
    assert_non_null(string);
    string->size_bytes = 5000;
    string->data = gp_outputs_memory(outputs, string->size_bytes, err);
    assert_non_null(string->data);
    return GP_OK;
}

static size_t count_left(const void *bytes, size_t size_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < size_bytes; i++)
        n += ((const unsigned char *)bytes)[i] != 0;
    return n;
}

/* What earlier requests left is no client's answer, unless the engine says that it writes over
 * all of it, and then nothing is cleared. */
static void test_what_is_not_written_is_zero(void **state)
{
    struct engine_fixture *f = *state;
    const size_t warm = 2 << 20; /* the last third is new */
    for (int writes = 0; writes < 2; writes++) {
        struct pool_buffer before;
        assert_true(pool_take(f->pool, NULL, 3 << 20, NULL, &before));
        assert_true(pool_touch(f->pool, &before, warm));
        memset(before.data, 0xa5, warm);
        pool_give(f->pool, &before);
        gp_arena_reset(f->arena);
        memset(gp_arena_alloc(f->arena, 16000), 0xa5, 16000);
        f->run.writes_outputs = writes;
        assert_int_equal(engine_execute(f, lazy, NULL, 3), GP_OK);
        const struct engine_output *out = f->run.outputs;
        const struct gp_string *string = out[2].tensor.data;
        const size_t n = count_left(out[0].tensor.data, 4000) +
                         count_left(out[1].tensor.data, 3 << 20) +
                         count_left(string->data, string->size_bytes);
        assert_true(writes ? n >= warm : n == 0);
        engine_run_drop(&f->run);
    }
}

static enum gp_status many(void *model, uint32_t slot, const struct gp_call *call,
                           struct gp_outputs *outputs, struct gp_error *err)
{
    (void)model;
    (void)slot;
    (void)call;
    for (uint32_t i = GP_MAX_TENSORS; i-- > 0;) {
        int32_t *value = gp_outputs_alloc(outputs, i, GP_INT32, NULL, 0, err);
        assert_non_null(value);
        *value = (int32_t)i;
    }
    return GP_OK;
}

static void test_many(void **state)
{
    struct engine_fixture *f = *state;
    assert_int_equal(engine_execute(f, many, NULL, 0), GP_OK);
    assert_int_equal(f->run.n_outputs, GP_MAX_TENSORS);
    for (uint32_t i = 0; i < GP_MAX_TENSORS; i++)
        assert_int_equal(*(const int32_t *)f->run.outputs[i].tensor.data, i);
}

static enum gp_status strings(void *model, uint32_t slot, const struct gp_call *call,
                              struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t shape[] = {1000};
    (void)model;
    (void)slot;
    (void)call;
    struct gp_string *out = gp_outputs_alloc(outputs, 0, GP_STRING, shape, 1, err);
    char *bytes = gp_outputs_memory(outputs, 5, err);
    assert_non_null(out);
    assert_non_null(bytes);
    memcpy(bytes, "a\0b\0c", 5);
    out[999] = (struct gp_string){bytes, 5};
    return GP_OK;
}

static void test_strings(void **state)
{
    struct engine_fixture *f = *state;
    for (int i = 0; i < 2; i++) { /* the second time into memory that was used */
        assert_int_equal(engine_execute(f, strings, NULL, 1), GP_OK);
        const struct gp_string *out = f->run.outputs[0].tensor.data;
        assert_int_equal(out[0].size_bytes, 0);
        assert_int_equal(out[998].size_bytes, 0);
        assert_int_equal(out[999].size_bytes, 5);
        memset((void *)(uintptr_t)out, 0xff, f->run.outputs[0].tensor.size_bytes);
    }
}

/* --- adopted memory --- */

static void count_release(void *arg)
{
    ++*(int *)arg;
}

struct adoption {
    int n_released;
    enum gp_status status; /* what the run returns after it */
};

static enum gp_status adopt(void *model, uint32_t slot, const struct gp_call *call,
                            struct gp_outputs *outputs, struct gp_error *err)
{
    struct adoption *adoption = model;
    static const int64_t shape[] = {2};
    static const float data[] = {1, 2};
    struct gp_tensor tensor = gp_tensor_view(GP_FLOAT32, shape, 1, data);
    (void)slot;
    (void)call;
    assert_int_equal(
        gp_outputs_adopt(outputs, 0, &tensor, count_release, &adoption->n_released, err),
        GP_OK);
    /* a refused adoption stays the engine's */
    tensor.size_bytes = 4;
    assert_int_equal(
        gp_outputs_adopt(outputs, 1, &tensor, count_release, &adoption->n_released, err),
        GP_INTERNAL);
    tensor.size_bytes = 8;
    tensor.data = NULL;
    assert_int_equal(
        gp_outputs_adopt(outputs, 1, &tensor, count_release, &adoption->n_released, NULL),
        GP_INTERNAL);
    assert_int_equal(adoption->n_released, 0);
    return adoption->status;
}

static void test_adopt(void **state)
{
    struct engine_fixture *f = *state;
    struct adoption adoption = {.status = GP_OK};
    assert_int_equal(engine_execute(f, adopt, &adoption, 0), GP_OK);
    assert_int_equal(f->run.n_outputs, 1);
    assert_int_equal(adoption.n_released, 0);
    engine_run_drop(&f->run);
    engine_run_drop(&f->run);
    assert_int_equal(adoption.n_released, 1);

    adoption = (struct adoption){.status = GP_ENGINE};
    assert_int_equal(engine_execute(f, adopt, &adoption, 0), GP_ENGINE);
    assert_int_equal(adoption.n_released, 1);

    adoption = (struct adoption){.status = GP_OK}; /* one of two is missing */
    assert_int_equal(engine_execute(f, adopt, &adoption, 2), GP_INTERNAL);
    assert_int_equal(adoption.n_released, 1);
    assert_non_null(strstr(f->err.message, "output 1 of 2 unset: \"b\""));
}

/* --- set again --- */

/* Output 0 as memory of the pool, adopted, of the pool, adopted: each drops the last. */
static enum gp_status set_again(void *model, uint32_t slot, const struct gp_call *call,
                                struct gp_outputs *outputs, struct gp_error *err)
{
    struct adoption *adoption = model;
    const struct engine_run *run = (const struct engine_run *)(const void *)outputs;
    const int64_t large[] = {100, 100}, small[] = {2};
    static const float data[] = {1, 2};
    const struct gp_tensor tensor = gp_tensor_view(GP_FLOAT32, small, 1, data);
    (void)slot;
    (void)call;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++) {
            float *memory = gp_outputs_alloc(outputs, 0, GP_FLOAT32, large, 2, err);
            assert_non_null(memory);
            memory[9999] = 1;
            assert_in_range(pool_count(run->pool).used_bytes, 40000, 79999); /* one */
            assert_int_equal(adoption->n_released, i);
        }
        assert_int_equal(gp_outputs_adopt(outputs, 0, &tensor, count_release,
                                          &adoption->n_released, err),
                         GP_OK);
        assert_int_equal(pool_count(run->pool).used_bytes, 0);
        assert_int_equal(adoption->n_released, i);
    }
    return adoption->status;
}

static void test_set_again(void **state)
{
    struct engine_fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        struct adoption adoption = {.status = i == 0 ? GP_OK : GP_ENGINE};
        assert_int_equal(engine_execute(f, set_again, &adoption, 1), adoption.status);
        assert_int_equal(adoption.n_released, 1 + i);
        if (i == 0)
            assert_int_equal(f->run.outputs[0].tensor.size_bytes, 8);
        engine_run_drop(&f->run);
        assert_int_equal(adoption.n_released, 2);
    }
}

/* --- what the host refuses --- */

static void test_faults(void **state)
{
    static const struct {
        const char *config;
        uint32_t n_outputs;
        enum gp_status status;
        const char *says;
    } faults[] = {
        {"fail", 1, GP_ENGINE, "it broke\\nin two lines"},
        {"silent", 1, GP_ENGINE, "without saying why"},
        {"unknown", 1, GP_ENGINE, "without saying why"},
        {"unset", 1, GP_INTERNAL, "unset"},
        {"unset", 0, GP_OK, ""},
        {"hole", 0, GP_INTERNAL, "output 0 of 2 unset"},
        {"many", 2, GP_INTERNAL, "output 2 of 2"},
        {"many", 0, GP_INTERNAL, "output 4096 of 4096"},
        {"type", 1, GP_INTERNAL, "type 77"},
        {"negative", 1, GP_INTERNAL, "float32[2,-3]"},
        {"size", 1, GP_INTERNAL, "output 0 4 bytes, float32[2] needs 8"},
        {"", 1, GP_OK, ""},
    };
    struct engine_fixture *f = *state;
    const struct gp_engine *faulty;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/lib/graphpipe-test/graphpipe-engine-faulty.so",
                   getenv("GP_BUILD_DIR"));
    assert_int_equal(engine_load(path, NULL, &faulty, &f->err), GP_OK);
    static const char *const names[] = {"a", "b"};
    const int64_t shape[] = {1};
    const float data[] = {1};
    struct gp_tensor input = gp_tensor_view(GP_FLOAT32, shape, 1, data);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        engine_run_begin(&f->run);
        gp_arena_reset(f->arena);
        f->run.call = (struct gp_call){.inputs = &input,
                                       .n_inputs = 1,
                                       .output_names = names,
                                       .n_outputs = faults[i].n_outputs,
                                       .config = faults[i].config};
        f->err.message[0] = '\0';
        assert_int_equal(engine_run_execute(&f->run, faulty, NULL, 0, &f->err),
                         faults[i].status);
        if (!strstr(f->err.message, faults[i].says))
            fail_msg("%s: \"%s\"", faults[i].config, f->err.message);
        if (faults[i].status != GP_OK)
            assert_int_equal(f->err.status, faults[i].status);
        engine_run_drop(&f->run);
        assert_int_equal(engine_run_execute(&f->run, faulty, NULL, 0, NULL),
                         faults[i].status);
    }
}

/* --- stopping --- */

struct stoppable {
    struct engine_run *run;
    atomic_int n_calls;   /* of stop, in this run */
    atomic_bool is_alive; /* between begin and the host's return */
    atomic_bool stop;
    bool takes_back;
};

static void stop(void *arg)
{
    struct stoppable *s = arg;
    if (!s->is_alive)
        abort();
    s->n_calls++;
    s->stop = true;
}

static enum gp_status wait_a_little(void *model, uint32_t slot,
                                    const struct gp_call *call,
                                    struct gp_outputs *outputs, struct gp_error *err)
{
    struct stoppable *s = model;
    (void)slot;
    (void)outputs;
    if (gp_call_on_cancel(call, stop, s) == GP_CANCELLED)
        return gp_error_set(err, GP_CANCELLED, "before");
    for (int i = 0; i < 200 && !s->stop; i++)
        (void)clock_now_ns();
    if (s->takes_back) {
        gp_call_on_cancel(call, NULL, NULL);
        const int n_calls = s->n_calls;
        for (int i = 0; i < 20; i++)
            (void)clock_now_ns();
        assert_int_equal(s->n_calls, n_calls);
    }
    return s->stop ? gp_error_set(err, GP_CANCELLED, "during") : GP_OK;
}

static void *cancel_often(void *arg)
{
    struct stoppable *s = arg;
    for (int i = 0; i < 20000; i++) {
        engine_run_cancel(s->run);
        if (i % 8 == 0)
            usleep(1);
    }
    return NULL;
}

static void test_cancel_race(void **state)
{
    struct engine_fixture *f = *state;
    struct stoppable s = {.run = &f->run};
    int n_done = 0, n_stopped = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_often, &s), 0);
    for (int i = 0; i < 5000; i++) {
        s.n_calls = 0;
        s.stop = false;
        s.takes_back = i % 2;
        s.is_alive = true;
        const enum gp_status status = engine_execute(f, wait_a_little, &s, 0);
        s.is_alive = false;
        assert_true(s.n_calls <= 1);
        assert_true(status == GP_OK || status == GP_CANCELLED);
        n_done += status == GP_OK;
        n_stopped += status != GP_OK;
    }
    pthread_join(thread, NULL);
    assert_int_equal(n_done + n_stopped, 5000);
}

static void test_cancel_before_and_after(void **state)
{
    struct engine_fixture *f = *state;
    struct stoppable s = {.run = &f->run, .is_alive = true};
    engine_run_begin(&f->run);
    engine_run_cancel(&f->run);
    f->engine = (struct gp_engine){.run = wait_a_little};
    assert_int_equal(engine_run_execute(&f->run, &f->engine, &s, 0, &f->err),
                     GP_CANCELLED);
    assert_int_equal(engine_execute(f, wait_a_little, &s, 0), GP_OK);
    engine_run_cancel(&f->run);
    engine_run_cancel(&f->run);
    assert_int_equal(s.n_calls, 0);
    /* nor when an engine asks for it after its run */
    engine_run_begin(&f->run);
    assert_int_equal(gp_call_on_cancel(&f->run.call, stop, &s), GP_OK);
    engine_run_cancel(&f->run);
    assert_int_equal(s.n_calls, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_TEST(test_alloc),
        ENGINE_TEST(test_what_is_not_written_is_zero),
        ENGINE_TEST(test_many),
        ENGINE_TEST(test_strings),
        ENGINE_TEST(test_adopt),
        ENGINE_TEST(test_set_again),
        ENGINE_TEST(test_faults),
        ENGINE_TEST(test_cancel_race),
        ENGINE_TEST(test_cancel_before_and_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
