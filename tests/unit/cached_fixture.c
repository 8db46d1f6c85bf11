#include "cached_fixture.h"

#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LONG = 4000, N_LETTERS = 8 };

static int number_of(char letter)
{
    return letter - (letter < 'a' ? 'A' : 'a');
}

static size_t size_of(char letter)
{
    return (size_t)number_of(letter) * (letter < 'a' ? LONG : 1);
}

static bool is_inside(const struct pool_buffer *buffer, const void *data, size_t size)
{
    const unsigned char *at = data;
    return at >= buffer->data && size <= buffer->size_bytes &&
           at + size <= buffer->data + buffer->size_bytes;
}

/* Rows that were gathered lie in the buffer that was bought for them. */
static void check_place(const struct gp_call *call)
{
    const struct pool_buffer *rows =
        fake_inference_of(call)->inference.run.engine_run.body;
    for (uint32_t i = 0; i < call->n_inputs && rows->data; i++) {
        const struct gp_tensor *input = &call->inputs[i];
        const struct gp_string *texts = input->data;
        assert_int_equal((uintptr_t)input->data % 64, 0);
        assert_true(is_inside(rows, input->data, input->size_bytes));
        for (int64_t k = 0; k < input->shape[0] && input->dtype == GP_STRING; k++)
            assert_true(is_inside(rows, texts[k].data, texts[k].size_bytes));
    }
}

/* "sum": of the row, in each column; "len": the row's text, with its length before it. */
static enum gp_status run_script(void *handle, uint32_t slot, const struct gp_call *call,
                                 struct gp_outputs *outputs, struct gp_error *err)
{
    struct cached_script *script = handle;
    const int64_t n = call->inputs[0].shape[0];
    const uint32_t at = call->inputs[0].dtype == GP_STRING; /* of the numbers */
    const int32_t *numbers = call->inputs[at].data;
    const struct gp_string *texts = call->inputs[!at].data;
    (void)slot;
    check_place(call);
    script->n_runs++;
    script->n_rows = n;
    script->names[0] = '\0';
    assert_int_equal(call->inputs[1].shape[0], n);
    if (script->fails && script->fails--)
        return gp_error_set(err, script->is_short ? GP_NO_MEMORY : GP_ENGINE,
                            "it does not add up");
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        const size_t used = strlen(script->names);
        (void)snprintf(script->names + used, sizeof script->names - used, "%s",
                       call->output_names[i]);
        if (strcmp(call->output_names[i], "sum") == 0) {
            const int64_t shape[] = {n, script->wide};
            int64_t *sums = gp_outputs_alloc(outputs, i, GP_INT64, shape, 2, err);
            if (!sums)
                return err->status;
            for (int64_t k = 0; k < n * script->wide; k++)
                sums[k] = numbers[k / script->wide] + 1000 * (k % script->wide);
            continue;
        }
        const int64_t n_out = n + script->more_rows;
        struct gp_string *said = gp_outputs_alloc(outputs, i, GP_STRING, &n_out,
                                                  !script->is_without_rows, err);
        if (!said)
            return err->status;
        for (int64_t k = 0; k < n && !script->is_without_rows; k++) {
            char *text = gp_outputs_memory(outputs, texts[k].size_bytes + 1, err);
            if (!text)
                return err->status;
            text[0] = (char)('0' + texts[k].size_bytes);
            memcpy(text + 1, texts[k].data, texts[k].size_bytes);
            said[k] = (struct gp_string){text, texts[k].size_bytes + 1};
        }
    }
    return GP_OK;
}

void cached_fixture_begin(struct cached_fixture *f)
{
    *f = (struct cached_fixture){.script = {.wide = 1}};
    still_begin(&f->poller);
    fake_model_begin(&f->model, &f->poller, 1, 8);
    fake_model_run_with(&f->model, run_script, &f->script);
    fake_model_cache(&f->model, tree_path("/rows"));
    fake_inference_begin(&f->a.fake, &f->model);
    fake_inference_begin(&f->b.fake, &f->model);
    fake_inference_begin(&f->c.fake, &f->model);
}

void cached_fixture_end(struct cached_fixture *f)
{
    fake_inference_end(&f->a.fake);
    fake_inference_end(&f->b.fake);
    fake_inference_end(&f->c.fake);
    assert_int_equal(atomic_load(&f->poller.n_engaged), 0);
    fake_model_end(&f->model);
    still_end(&f->poller);
}

/* The text of a letter is where it was put before, or behind the others. */
static void fill_texts(struct asking *asking, const char *rows)
{
    const unsigned char *known[256] = {0};
    unsigned char *end = asking->texts;
    for (size_t i = 0; i < strlen(rows); i++) {
        const unsigned char **text = &known[(unsigned char)rows[i]];
        const uint32_t size = (uint32_t)size_of(rows[i]);
        if (!*text) {
            assert_true(end + sizeof size + size <= asking->texts + CACHED_FIXTURE_TEXTS);
            *text = end;
            memcpy(end, &size, sizeof size);
            memset(end + sizeof size, 'z', size);
            end += sizeof size + size;
        }
        asking->offsets[i] =
            (uint32_t)(*text - (const unsigned char *)&asking->offsets[i]);
    }
}

static void fill_call(struct asking *asking, const char *names, size_t n)
{
    struct inference *inference = &asking->fake.inference;
    struct gp_call *call = &inference->run.engine_run.call;
    for (size_t i = 0; i < strlen(names); i++)
        asking->names[i] = names[i] == 's' ? "sum" : "len";
    inference->run.engine_run.body = &asking->body;
    call->inputs = inference->inputs = asking->inputs;
    call->n_inputs = 2;
    call->config = "";
    call->output_names = asking->names;
    call->n_outputs = inference->n_wanted = (uint32_t)strlen(names);
    inference->wanted = asking->wanted;
    inference->output_order = asking->order;
    inference->n_rows = n;
    inference->cache_rows = inference->cache_hits = 0;
}

void cached_fixture_fill(struct asking *asking, const char *rows, const char *names)
{
    const size_t n = strlen(rows);
    gp_arena_reset(asking->fake.inference.arena);
    fake_inference_renew(&asking->fake, 0);
    for (size_t i = 0; i < n; i++)
        asking->numbers[i] = number_of(rows[i]);
    fill_texts(asking, rows);
    asking->shape[0] = (int64_t)n;
    asking->inputs[asking->is_turned] = (struct gp_tensor){
        "n", asking->shape, asking->numbers, n * sizeof(int32_t), GP_INT32, 1};
    asking->inputs[!asking->is_turned] = (struct gp_tensor){
        "t", asking->shape, asking->offsets, n * sizeof(struct gp_string), GP_STRING, 1};
    for (uint32_t i = 0; i < 2; i++) {
        asking->wanted[i] = asking->inputs[i].dtype;
        asking->order[i] = i;
    }
    fill_call(asking, names, n);
}

enum cached_way cached_fixture_enter(struct cached_fixture *f, struct asking *asking,
                                     const char *rows, const char *names)
{
    cached_fixture_fill(asking, rows, names);
    return cached_enter(still_worker(&f->poller), &asking->fake.inference);
}

void cached_fixture_assert(const struct cached_fixture *f, const struct asking *asking,
                           const char *rows, const char *names)
{
    const struct engine_run *run = &asking->fake.inference.run.engine_run;
    assert_int_equal(asking->fake.inference.error.status, GP_OK);
    assert_true(asking->fake.inference.is_settled);
    assert_int_equal(run->heap.size_bytes, 0);
    assert_ptr_equal(run->body, &asking->body);
    assert_int_equal(run->n_outputs, strlen(names));
    for (size_t i = 0; i < strlen(names); i++) {
        const struct gp_tensor *y = &run->outputs[i].tensor;
        assert_int_equal(y->shape[0], strlen(rows));
        for (size_t k = 0; k < strlen(rows); k++) {
            const struct gp_string *said = y->data;
            const int64_t *sums = y->data;
            const int number = number_of(rows[k]);
            if (names[i] == 's') {
                for (int64_t w = 0; w < f->script.wide; w++)
                    assert_int_equal(sums[(int64_t)k * f->script.wide + w],
                                     number + 1000 * w);
                continue;
            }
            assert_int_equal(said[k].size_bytes, size_of(rows[k]) + 1);
            assert_int_equal(said[k].data[0], (char)('0' + size_of(rows[k])));
        }
    }
}
