/* How many rows a model runs at a time: what the options say, against what the model is. */
#include "fake_model.h"
#include "still_poller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const int64_t any3[] = {-1, 3}, four3[] = {4, 3}, four[] = {4}, two[] = {2},
                     any[] = {-1};

static struct poller poller;
static struct fake_model fake;
static struct gp_io inputs[2], outputs[2];
static const char *const default_outputs[] = {"y"};
static struct gp_error err;

static struct gp_io io(const char *name, const int64_t *shape, uint32_t rank)
{
    return (struct gp_io){
        .name = name, .shape = shape, .rank = rank, .dtype = GP_FLOAT32};
}

/* x float32[-1,3] -> y float32[-1]; z is no default output, and o an optional input. */
static int begin(void **state)
{
    struct model *model = &fake.model;
    (void)state;
    still_begin(&poller);
    fake_model_begin(&fake, &poller, 2, 1);
    inputs[0] = io("x", any3, 2);
    inputs[1] = io("o", NULL, 0);
    inputs[1].flags = GP_IO_OPTIONAL;
    outputs[0] = io("y", any, 1);
    outputs[1] = io("z", NULL, 0);
    model->arena = gp_arena_create();
    model->description = (struct gp_description){
        .inputs = inputs, .n_inputs = 2, .outputs = outputs, .n_outputs = 2};
    model->default_outputs = default_outputs;
    model->n_default_outputs = 1;
    return 0;
}

static int end(void **state)
{
    (void)state;
    gp_arena_destroy(fake.model.arena);
    fake_model_end(&fake);
    still_end(&poller);
    return 0;
}

static enum gp_status set_rows(uint32_t max_batch, const uint32_t *sizes, size_t n_sizes)
{
    const struct gp_model_options options = {
        .max_batch = max_batch, .batch_sizes = sizes, .n_batch_sizes = n_sizes};
    return model_set_rows(&fake.model, &options, &err);
}

static void assert_refused(uint32_t max_batch, const char *words)
{
    assert_int_equal(set_rows(max_batch, NULL, 0), GP_INVALID);
    assert_string_equal(err.message, words);
}

static void none_unless_asked_for(void **state)
{
    const struct gp_model_options none = {0};
    (void)state;
    inputs[0].rank = 0; /* whatever it is */
    assert_int_equal(set_rows(0, NULL, 0), GP_OK);
    assert_int_equal(model_make_batches(&fake.model, &none, &err), GP_OK);
    assert_null(fake.model.slots.all[0].batch);
    assert_int_equal(fake.model.slots.queue.max_rows, 0);
}

static void as_many_as_asked_for(void **state)
{
    static const uint32_t sizes[] = {1, 4, 8};
    const struct gp_model_options delay = {.max_delay_us = 1500};
    struct model *model = &fake.model;
    (void)state;
    model->memory.inputs = (struct pool_arena *)1; /* not looked at here */
    model->handle = &fake;
    model->description.flags = GP_WRITES_OUTPUTS;
    model->description.max_batch = 8;
    assert_int_equal(set_rows(8, sizes, 3), GP_OK);
    assert_int_equal(model->batch_rules.max_rows, 8);
    assert_int_equal(model->batch_rules.n_sizes, 3);
    assert_memory_equal(model->batch_rules.sizes, sizes, sizeof sizes);
    assert_ptr_not_equal(model->batch_rules.sizes, sizes);
    assert_int_equal(model_make_batches(model, &delay, &err), GP_OK);
    assert_ptr_equal(model->batch_rules.engine, &fake.engine);
    assert_ptr_equal(model->batch_rules.handle, &fake);
    assert_ptr_equal(model->batch_rules.memory.inputs, model->memory.inputs);
    assert_true(model->batch_rules.writes_outputs);
    assert_false(model->batch_rules.is_isolated);
    assert_non_null(model->slots.all[0].batch);
    assert_ptr_not_equal(model->slots.all[0].batch, model->slots.all[1].batch);
    assert_int_equal(model->slots.queue.max_rows, 8);
    assert_int_equal(model->slots.queue.max_delay_ns, 1500000);
}

/* It gets its number in each run, and says that it takes any. */
static void a_fixed_number_is_the_only_one(void **state)
{
    struct model *model = &fake.model;
    (void)state;
    inputs[0].shape = four3;
    outputs[0].shape = four;
    outputs[1] = io("z", two, 1); /* not asked for by default: left as it is */
    assert_refused(3,
                   "--max-batch is 3, but the model runs 4 rows at a time, neither more "
                   "nor fewer");
    assert_refused(5,
                   "--max-batch is 5, but the model runs 4 rows at a time, neither more "
                   "nor fewer");
    assert_int_equal(set_rows(4, NULL, 0), GP_OK);
    assert_int_equal(model->batch_rules.max_rows, 4);
    assert_int_equal(model->batch_rules.n_sizes, 1);
    assert_int_equal(model->batch_rules.sizes[0], 4);
    const struct gp_description *d = &model->description;
    assert_int_equal(d->inputs[0].shape[0], -1);
    assert_int_equal(d->inputs[0].shape[1], 3);
    assert_string_equal(d->inputs[0].name, "x");
    assert_int_equal(d->inputs[1].rank, 0);
    assert_int_equal(d->outputs[0].shape[0], -1);
    assert_int_equal(d->outputs[1].shape[0], 2);
    assert_int_equal(four3[0], 4); /* the engine's own */
}

static void all_have_the_same_rows(void **state)
{
    (void)state;
    outputs[0].rank = 0;
    assert_refused(4,
                   "--max-batch wants every input and output to have the same rows, but "
                   "output \"y\" is float32[]");
    outputs[0] = io("y", two, 1);
    inputs[0].shape = four3;
    assert_refused(4,
                   "--max-batch wants every input and output to have the same rows, but "
                   "output \"y\" is float32[2]");
    inputs[0].rank = 0;
    assert_refused(4,
                   "--max-batch wants every input and output to have the same rows, but "
                   "input \"x\" is float32[]");
    inputs[0].flags = GP_IO_ANY_RANK; /* who knows */
    outputs[0].shape = any;
    assert_int_equal(set_rows(4, NULL, 0), GP_OK);
    assert_int_equal(fake.model.batch_rules.max_rows, 4);
}

static void the_models_limit_holds(void **state)
{
    (void)state;
    fake.model.description.max_batch = 8;
    assert_refused(9, "--max-batch is 9, but the model takes at most 8 rows");
}

static void sizes_ascend(void **state)
{
    static const struct {
        uint32_t max_batch, sizes[2];
        const char *words;
    } cases[] = {
        {0, {1, 2}, "--batch-sizes needs --max-batch"},
        {8,
         {4, 4},
         "--batch-sizes has to ascend up to --max-batch, which is 8; 4 does not"},
        {8,
         {4, 9},
         "--batch-sizes has to ascend up to --max-batch, which is 8; 9 does not"},
        {8,
         {0, 8},
         "--batch-sizes has to ascend up to --max-batch, which is 8; 0 does not"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(set_rows(cases[i].max_batch, cases[i].sizes, 2), GP_INVALID);
        assert_string_equal(err.message, cases[i].words);
    }
    const struct gp_model_options alone = {.max_batch = 1, .max_delay_us = 1};
    assert_int_equal(model_set_rows(&fake.model, &alone, &err), GP_INVALID);
    assert_string_equal(err.message, "--max-delay needs a --max-batch above 1");
}

/* --- auto --- */

static void auto_takes_what_the_model_takes(void **state)
{
    static const struct {
        int64_t most, wanted;
    } cases[] = {{0, 32}, {-1, 32}, {1, 1}, {31, 31}, {33, 32}};
    const struct gp_model_options options = {.max_batch = GP_MAX_BATCH_AUTO,
                                             .max_delay_us = 1};
    const struct batch_rules *rules = &fake.model.batch_rules;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake.model.description.max_batch = cases[i].most;
        assert_int_equal(model_set_rows(&fake.model, &options, &err), GP_OK);
        assert_int_equal(rules->max_rows, cases[i].wanted);
        assert_true(rules->is_auto);
        assert_false(rules->is_fixed);
        assert_null(rules->why_none);
    }
    static const uint32_t sizes[] = {1};
    assert_int_equal(set_rows(GP_MAX_BATCH_AUTO, sizes, 1), GP_INVALID);
    assert_string_equal(err.message, "--batch-sizes needs a --max-batch in rows");
}

/* Even if only one of its inputs and outputs says so, and whatever it says that it takes. */
static void auto_takes_a_fixed_number(void **state)
{
    const struct batch_rules *rules = &fake.model.batch_rules;
    (void)state;
    fake.model.description.max_batch = 2;
    outputs[0].shape = four;
    assert_int_equal(set_rows(GP_MAX_BATCH_AUTO, NULL, 0), GP_OK);
    assert_int_equal(rules->max_rows, 4);
    assert_int_equal(rules->sizes[0], 4);
    assert_true(rules->is_fixed);
    assert_ptr_equal(rules->fixed_inputs, inputs); /* to be told again */
    assert_ptr_equal(rules->fixed_outputs, outputs);
    assert_int_equal(fake.model.description.inputs[0].shape[0], -1);
    assert_int_equal(fake.model.description.outputs[0].shape[0], -1);
}

static void auto_gives_up_without_rows(void **state)
{
    const struct gp_model_options none = {0};
    (void)state;
    outputs[0].rank = 0;
    assert_int_equal(set_rows(GP_MAX_BATCH_AUTO, NULL, 0), GP_OK);
    assert_string_equal(fake.model.batch_rules.why_none,
                        "--max-batch wants every input and output to have the same "
                        "rows, but output \"y\" is float32[]");
    assert_int_equal(fake.model.batch_rules.max_rows, 0);
    assert_int_equal(model_make_batches(&fake.model, &none, &err), GP_OK);
    assert_null(fake.model.slots.all[0].batch);
    outputs[0].rank = 1;
    outputs[0].shape = (const int64_t[]){0};
    assert_int_equal(set_rows(GP_MAX_BATCH_AUTO, NULL, 0), GP_OK);
    assert_string_equal(fake.model.batch_rules.why_none,
                        "the model takes no rows at all");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(none_unless_asked_for),           TEST(as_many_as_asked_for),
        TEST(a_fixed_number_is_the_only_one),  TEST(all_have_the_same_rows),
        TEST(the_models_limit_holds),          TEST(sizes_ascend),
        TEST(auto_takes_what_the_model_takes), TEST(auto_takes_a_fixed_number),
        TEST(auto_gives_up_without_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
