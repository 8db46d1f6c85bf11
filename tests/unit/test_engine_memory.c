/* Where the outputs of a run lie, who pays for them, and what is left when it is over. */
#include "engine_fixture.h"

#include "base/arena.h"
#include "fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static struct engine_run *run_of(struct gp_outputs *outputs)
{
    return (struct engine_run *)(void *)outputs; /* its first member */
}

static size_t used_bytes(struct gp_outputs *outputs)
{
    return pool_count(run_of(outputs)->pool).used_bytes;
}

/* --- where ----------------------------------------------------------------------------- */

static enum gp_status small_and_large(void *model, uint32_t slot,
                                      const struct gp_call *call,
                                      struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t small[] = {ENGINE_SMALL_BYTES}, large[] = {ENGINE_SMALL_BYTES + 1};
    (void)model, (void)slot, (void)call;
    assert_non_null(gp_outputs_alloc(outputs, 0, GP_UINT8, small, 1, err));
    assert_int_equal(used_bytes(outputs), 0);
    assert_non_null(gp_outputs_alloc(outputs, 1, GP_UINT8, large, 1, err));
    assert_int_equal(used_bytes(outputs), (size_t)2 * ENGINE_SMALL_BYTES);
    return GP_OK;
}

static void only_large_outputs_take_a_buffer(void **state)
{
    struct engine_fixture *f = *state;
    assert_int_equal(engine_execute(f, small_and_large, NULL, 2), GP_OK);
}

/* As in a child: what the server grants. */
static unsigned char granted[2 * ENGINE_SMALL_BYTES];
static size_t asked_bytes;

static void *grant(struct engine_run *run, size_t size_bytes)
{
    (void)run;
    asked_bytes += size_bytes;
    return granted;
}

static enum gp_status ask_for_both(void *model, uint32_t slot, const struct gp_call *call,
                                   struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t small[] = {ENGINE_SMALL_BYTES}, large[] = {ENGINE_SMALL_BYTES + 1};
    (void)model, (void)slot, (void)call;
    assert_non_null(gp_outputs_alloc(outputs, 0, GP_UINT8, small, 1, err));
    const void *strings = gp_outputs_alloc(outputs, 1, GP_STRING, large, 1, err);
    assert_non_null(strings); /* which have no meaning elsewhere */
    assert_int_equal(asked_bytes, 0);
    assert_ptr_equal(gp_outputs_alloc(outputs, 2, GP_UINT8, large, 1, err), granted);
    assert_int_equal(asked_bytes, ENGINE_SMALL_BYTES + 1);
    return GP_OK;
}

static void a_child_asks_for_large_numbers_only(void **state)
{
    struct engine_fixture *f = *state;
    f->run.take = grant;
    assert_int_equal(engine_execute(f, ask_for_both, NULL, 3), GP_OK);
}

/* One after the other, so that the array of outputs grows many times. */
static enum gp_status ascending(void *model, uint32_t slot, const struct gp_call *call,
                                struct gp_outputs *outputs, struct gp_error *err)
{
    (void)model, (void)slot, (void)call;
    for (uint32_t i = 0; i < GP_MAX_TENSORS; i++) {
        uint32_t *value = gp_outputs_alloc(outputs, i, GP_UINT32, NULL, 0, err);
        assert_non_null(value);
        *value = i;
    }
    return GP_OK;
}

static void earlier_outputs_survive_later_ones(void **state)
{
    struct engine_fixture *f = *state;
    assert_int_equal(engine_execute(f, ascending, NULL, 0), GP_OK);
    assert_int_equal(f->run.n_outputs, GP_MAX_TENSORS);
    for (uint32_t i = 0; i < GP_MAX_TENSORS; i++) {
        assert_true(f->run.outputs[i].is_set);
        assert_int_equal(*(const uint32_t *)f->run.outputs[i].tensor.data, i);
    }
}

/* --- what is refused ------------------------------------------------------------------- */

static enum gp_status wrong_shapes(void *model, uint32_t slot, const struct gp_call *call,
                                   struct gp_outputs *outputs, struct gp_error *err)
{
    int64_t shape[GP_MAX_RANK + 1];
    (void)model, (void)slot, (void)call;
    for (size_t i = 0; i <= GP_MAX_RANK; i++)
        shape[i] = 1;
    assert_non_null(gp_outputs_alloc(outputs, 0, GP_UINT8, shape, GP_MAX_RANK, err));
    assert_null(gp_outputs_alloc(outputs, 1, GP_UINT8, shape, GP_MAX_RANK + 1, err));
    assert_int_equal(err->status, GP_UNSUPPORTED);
    assert_string_equal(err->message, "output 1 has rank 33, over the limit of 32");
    shape[0] = -1; /* the one size of bytes that is no overflow */
    assert_null(gp_outputs_alloc(outputs, 1, GP_UINT8, shape, 1, err));
    assert_int_equal(err->status, GP_INTERNAL);
    assert_string_equal(err->message, "output 1 cannot have the shape uint8[-1]");
    shape[0] = INT64_MAX;
    assert_null(gp_outputs_alloc(outputs, 1, GP_UINT32, shape, 1, err));
    assert_int_equal(err->status, GP_INTERNAL);
    shape[0] = 65 * (int64_t)MIB;
    assert_null(gp_outputs_alloc(outputs, 1, GP_UINT8, shape, 1, err));
    assert_int_equal(err->status, GP_NO_MEMORY);
    assert_string_equal(err->message, "no memory for output 1: 68157440 bytes");
    return GP_OK;
}

static void shapes_that_cannot_be_are_refused(void **state)
{
    struct engine_fixture *f = *state;
    assert_int_equal(engine_execute(f, wrong_shapes, NULL, 0), GP_OK);
    assert_int_equal(f->run.n_outputs, 1);
}

static enum gp_status adopt_what_cannot_be(void *model, uint32_t slot,
                                           const struct gp_call *call,
                                           struct gp_outputs *outputs,
                                           struct gp_error *err)
{
    struct gp_tensor tensor = gp_tensor_view(GP_UINT8, NULL, 0, "x");
    (void)model, (void)slot, (void)call;
    assert_int_equal(gp_outputs_adopt(outputs, 3, &tensor, NULL, NULL, err), GP_INTERNAL);
    assert_string_equal(err->message, "the engine sets output 3 of 3");
    assert_int_equal(gp_outputs_adopt(outputs, 4, &tensor, NULL, NULL, err), GP_INTERNAL);
    assert_string_equal(err->message, "the engine sets output 4 of 3");
    tensor.data = NULL;
    assert_int_equal(gp_outputs_adopt(outputs, 0, &tensor, NULL, NULL, err), GP_INTERNAL);
    assert_string_equal(err->message,
                        "the engine gives output 0 1 bytes at NULL, uint8[] needs 1");
    tensor.dtype = (enum gp_dtype)77;
    assert_int_equal(gp_outputs_adopt(outputs, 0, &tensor, NULL, NULL, err), GP_INTERNAL);
    assert_string_equal(err->message, "the engine gives output 0 the unknown type 77");
    return gp_outputs_adopt(outputs, 0, &tensor, NULL, NULL, NULL);
}

static void what_cannot_be_adopted_is_refused(void **state)
{
    struct engine_fixture *f = *state;
    assert_int_equal(engine_execute(f, adopt_what_cannot_be, NULL, 3), GP_INTERNAL);
}

static enum gp_status ask_in_vain(void *model, uint32_t slot, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    (void)model, (void)slot, (void)call;
    assert_null(gp_outputs_alloc(outputs, 2000, GP_UINT8, NULL, 0, err));
    assert_int_equal(err->status, GP_NO_MEMORY);
    assert_string_equal(err->message, "no memory for 2048 outputs");
    assert_null(gp_outputs_memory(outputs, MIB, err));
    assert_int_equal(err->status, GP_NO_MEMORY);
    assert_string_equal(err->message, "no memory for 1048576 bytes of an output");
    return GP_OK;
}

static void a_full_pool_is_told(void **state)
{
    struct engine_fixture *f = *state;
    struct pool_buffer all;
    assert_true(pool_take(f->pool, NULL, 64 * MIB, NULL, &all));
    assert_int_equal(engine_execute(f, ask_in_vain, NULL, 0), GP_OK);
    pool_give(f->pool, &all);
}

static enum gp_status ask_for_pages(void *model, uint32_t slot,
                                    const struct gp_call *call,
                                    struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t shape[] = {MIB};
    (void)model, (void)slot, (void)call;
    assert_null(gp_outputs_alloc(outputs, 0, GP_UINT8, shape, 1, err));
    assert_int_equal(err->status, GP_NO_MEMORY);
    assert_string_equal(err->message, "no memory for output 0: 1048576 bytes");
    assert_int_equal(used_bytes(outputs), 0);
    return GP_OK;
}

/* Under a limit of memory the pages may be refused, of which the pool has enough. */
static void refused_pages_are_told(void **state)
{
    struct engine_fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        f->run.writes_outputs = i;
        fault_begin(&(struct fault){.calls = FAULT_POPULATE, .error = ENOMEM});
        const enum gp_status status = engine_execute(f, ask_for_pages, NULL, 0);
        assert_true(fault_end() > 0);
        assert_int_equal(status, GP_OK);
    }
}

/* A buffer moves to the run, if the output can be set. */
static void a_buffer_is_kept_by_its_owner_on_failure(void **state)
{
    const int64_t shape[] = {5000}, wrong[] = {5001};
    struct engine_fixture *f = *state;
    struct pool_buffer buffer;
    assert_true(pool_take(f->pool, NULL, 5000, NULL, &buffer));
    struct gp_tensor tensor = gp_tensor_view(GP_UINT8, wrong, 1, buffer.data);
    tensor.size_bytes = 5000;
    engine_run_begin(&f->run);
    assert_int_equal(engine_run_set(&f->run, 0, &tensor, &buffer, &f->err), GP_INTERNAL);
    assert_non_null(buffer.data);
    tensor.shape = shape;
    assert_int_equal(engine_run_set(&f->run, 0, &tensor, &buffer, &f->err), GP_OK);
    assert_null(buffer.data);
    assert_true(pool_count(f->pool).used_bytes > 0);
    engine_run_drop(&f->run);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
}

/* --- who pays -------------------------------------------------------------------------- */

static enum gp_status one_mib(void *model, uint32_t slot, const struct gp_call *call,
                              struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t shape[] = {(int64_t)MIB};
    (void)slot, (void)call;
    assert_non_null(gp_outputs_alloc(outputs, 0, GP_UINT8, shape, 1, err));
    return model ? gp_error_set(err, GP_ENGINE, "?") : GP_OK;
}

/* First for the outputs, then, what is left of it, for the answer's message. */
static void the_promise_pays(void **state)
{
    struct engine_fixture *f = *state;
    assert_int_equal(pool_reserve(f->pool, &f->run.promise, 2 * MIB, 0), POOL_GRANTED);
    assert_int_equal(engine_execute(f, one_mib, NULL, 1), GP_OK);
    assert_int_equal(f->run.promise.size_bytes, MIB);
    assert_non_null(gp_arena_alloc(f->arena, MIB / 2));
    assert_in_range(f->run.promise.size_bytes, 1, MIB / 2);
    engine_run_drop(&f->run);
    gp_arena_reset(f->arena);
    assert_int_equal(pool_count(f->pool).reserved_bytes, 0);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    assert_int_equal(engine_execute(f, one_mib, f, 1), GP_ENGINE); /* nothing is kept */
    assert_string_equal(f->err.message, "?");
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
}

/* A message that was not planned is at the expense of the peer's share. */
static void an_answer_after_the_outputs_were_dropped_is_the_peers(void **state)
{
    struct engine_fixture *f = *state;
    struct pool_peer peer = {0};
    f->run.unplanned.peer = &peer;
    assert_int_equal(engine_execute(f, one_mib, NULL, 1), GP_OK);
    engine_run_drop(&f->run);
    assert_non_null(gp_arena_alloc(f->arena, MIB));
    assert_true(peer.held_bytes >= MIB);
    gp_arena_reset(f->arena);
    assert_int_equal(peer.held_bytes, 0);
}

static enum gp_status copy_strings(void *model, uint32_t slot, const struct gp_call *call,
                                   struct gp_outputs *outputs, struct gp_error *err)
{
    struct engine_run *run = run_of(outputs);
    (void)model, (void)slot, (void)call, (void)err;
    assert_true(engine_run_reserve_strings(run, 1000, 1500));
    assert_int_equal(pool_count(run->pool).reserved_bytes, 65536); /* in whole pages */
    assert_false(engine_run_reserve_strings(run, MIB, 0));
    assert_false(engine_run_reserve_strings(run, 0, 65 * MIB));
    assert_false(engine_run_reserve_strings(run, SIZE_MAX / 8, 0));
    assert_false(engine_run_reserve_strings(run, SIZE_MAX / 64, SIZE_MAX));
    return GP_OK;
}

static void strings_are_paid_for_until_the_engine_returns(void **state)
{
    struct engine_fixture *f = *state;
    assert_int_equal(engine_execute(f, copy_strings, NULL, 0), GP_OK);
    assert_int_equal(pool_count(f->pool).reserved_bytes, 0);
}

static void copies_live_as_long_as_the_outputs(void **state)
{
    struct engine_fixture *f = *state;
    struct gp_arena *copies = engine_run_copies(&f->run);
    assert_non_null(gp_arena_alloc(copies, 100));
    assert_true(pool_count(f->pool).used_bytes > 0); /* where a child can see it */
    assert_ptr_equal(engine_run_copies(&f->run), copies);
    engine_run_drop(&f->run);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    assert_ptr_equal(engine_run_copies(&f->run), copies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_TEST(only_large_outputs_take_a_buffer),
        ENGINE_TEST(a_child_asks_for_large_numbers_only),
        ENGINE_TEST(earlier_outputs_survive_later_ones),
        ENGINE_TEST(shapes_that_cannot_be_are_refused),
        ENGINE_TEST(what_cannot_be_adopted_is_refused),
        ENGINE_TEST(a_full_pool_is_told),
        ENGINE_TEST(refused_pages_are_told),
        ENGINE_TEST(a_buffer_is_kept_by_its_owner_on_failure),
        ENGINE_TEST(the_promise_pays),
        ENGINE_TEST(an_answer_after_the_outputs_were_dropped_is_the_peers),
        ENGINE_TEST(strings_are_paid_for_until_the_engine_returns),
        ENGINE_TEST(copies_live_as_long_as_the_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
