#include "cached_fixture.h"

#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* "sum": of the row, in each column; "len": the row's text, with its length before it. */
static enum gp_status run_script(void *handle, uint32_t slot, const struct gp_call *call,
                                 struct gp_outputs *outputs, struct gp_error *err)
{
    struct cached_script *script = handle;
    const int64_t n = call->inputs[0].shape[0];
    const int32_t *numbers = call->inputs[0].data;
    const struct gp_string *texts = call->inputs[1].data;
    (void)slot;
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
}

void cached_fixture_end(struct cached_fixture *f)
{
    fake_inference_end(&f->a.fake);
    fake_inference_end(&f->b.fake);
    fake_model_end(&f->model);
    still_end(&f->poller);
}

void cached_fixture_fill(struct asking *asking, const char *rows, const char *names)
{
    static const char letters[] = "zzzzzzzz";
    struct inference *inference = &asking->fake.inference;
    struct gp_call *call = &inference->run.engine_run.call;
    const size_t n = strlen(rows);
    gp_arena_reset(inference->arena);
    fake_inference_renew(&asking->fake, 0);
    for (size_t i = 0; i < n; i++) {
        asking->numbers[i] = rows[i] - 'a';
        asking->texts[i] = (struct gp_string){letters, (size_t)(rows[i] - 'a')};
    }
    asking->shape[0] = (int64_t)n;
    asking->inputs[0] = (struct gp_tensor){
        "n", asking->shape, asking->numbers, n * sizeof(int32_t), GP_INT32, 1};
    asking->inputs[1] = (struct gp_tensor){
        "t", asking->shape, asking->texts, n * sizeof *asking->texts, GP_STRING, 1};
    for (uint32_t i = 0; i < 2; i++) {
        asking->wanted[i] = asking->inputs[i].dtype;
        asking->order[i] = i;
    }
    for (size_t i = 0; i < strlen(names); i++)
        asking->names[i] = names[i] == 's' ? "sum" : "len";
    call->inputs = inference->inputs = asking->inputs;
    call->n_inputs = 2;
    call->config = "";
    call->output_names = asking->names;
    call->n_outputs = inference->n_wanted = (uint32_t)strlen(names);
    inference->wanted = asking->wanted;
    inference->output_order = asking->order;
    inference->n_rows = n;
    inference->is_settled = true;
    inference->cache_rows = inference->cache_hits = 0;
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
    assert_int_equal(run->n_outputs, strlen(names));
    for (size_t i = 0; i < strlen(names); i++) {
        const struct gp_tensor *y = &run->outputs[i].tensor;
        assert_int_equal(y->shape[0], strlen(rows));
        for (size_t k = 0; k < strlen(rows); k++) {
            const struct gp_string *said = y->data;
            const int64_t *sums = y->data;
            const int number = rows[k] - 'a';
            if (names[i] == 's') {
                for (int64_t w = 0; w < f->script.wide; w++)
                    assert_int_equal(sums[(int64_t)k * f->script.wide + w],
                                     number + 1000 * w);
                continue;
            }
            assert_int_equal(said[k].size_bytes, number + 1);
            assert_int_equal(said[k].data[0], '0' + number);
        }
    }
}
