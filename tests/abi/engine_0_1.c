/* A plug-in of release 0.1, which CI loads into today's host: it reads and sets every field
 * and makes every call of the contract that it was built with. Outputs: the first input's
 * numbers doubled, the call's facts as strings, the second input as it lies. */
#include "engine_0_1.h"

#include <stdio.h>
#include <stdlib.h>

struct model {
    struct gp_engine_options options;
    char summary[64];
};

static const struct gp_host *host;

static enum gp_status open_model(const struct gp_engine_options *options, void **self,
                                 struct gp_error *err)
{
    struct gp_error missing;
    const struct gp_library none = {
        .file = "libnone.so", .pattern = "libnone.so*", .remedy = "nothing"};
    struct model *model = calloc(1, sizeof *model);
    if (!model || options->size_bytes < sizeof *options || !options->log ||
        host->library_open(&none, NULL, NULL, 0, &missing) || missing.status == GP_OK) {
        free(model);
        err->status = GP_INVALID;
        (void)snprintf(err->message, sizeof err->message, "not the host of 0.1");
        return GP_INVALID;
    }
    model->options = *options;
    (void)snprintf(model->summary, sizeof model->summary, "%u %u %u %s %s",
                   options->n_slots, options->n_threads, options->n_cores,
                   options->model_path, options->n_options ? options->options[0] : "");
    options->log(options->log_context, GP_LOG_WARNING, model->summary);
    *self = model;
    return GP_OK;
}

static enum gp_status describe(void *self, struct gp_description *description,
                               struct gp_error *err)
{
    static const int64_t row[] = {-1, 2};
    static const struct gp_io inputs[] = {
        {"numbers", "doubled", row, 2, GP_FLOAT32, 0},
        {"rest", "", NULL, 0, GP_NULL, GP_IO_OPTIONAL | GP_IO_ANY_RANK}};
    static const struct gp_io outputs[] = {
        {"doubled", "", row, 2, GP_FLOAT32, 0},
        {"facts", "", row, 1, GP_STRING, 0},
        {"rest", "", NULL, 0, GP_NULL, GP_IO_ANY_RANK}};
    static const char *const files[] = {"a", "b"};
    struct model *model = self;
    (void)err;
    if (description->size_bytes < sizeof *description)
        return GP_INVALID;
    *description = (struct gp_description){.size_bytes = description->size_bytes,
                                           .flags = GP_SLOT_THREAD,
                                           .n_slots = model->options.n_slots,
                                           .n_inputs = 2,
                                           .n_outputs = 3,
                                           .n_files = 2,
                                           .summary = model->summary,
                                           .version = "7",
                                           .description = "of 0.1",
                                           .inputs = inputs,
                                           .outputs = outputs,
                                           .files = files,
                                           .max_batch = 9};
    return GP_OK;
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static enum gp_status run(void *self, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    static int n_stopped;
    const int64_t two = 2;
    const struct gp_tensor *in = &call->inputs[0];
    float *doubled =
        outputs->host->outputs_alloc(outputs, 0, GP_FLOAT32, in->shape, in->rank, err);
    struct gp_string *facts =
        outputs->host->outputs_alloc(outputs, 1, GP_STRING, &two, 1, err);
    char *text = outputs->host->outputs_memory(outputs, 256, err);
    (void)self;
    if (!doubled || !facts || !text || call->size_bytes < sizeof *call)
        return GP_NO_MEMORY;
    if (call->host->call_on_cancel(call, count, &n_stopped) != GP_OK)
        return GP_CANCELLED;
    call->host->call_on_cancel(call, NULL, NULL);
    for (size_t i = 0; i < in->size_bytes / sizeof *doubled; i++)
        doubled[i] = 2 * ((const float *)in->data)[i];
    const int n =
        snprintf(text, 256, "%u %u %u %s %s %lld", slot, call->n_inputs, call->n_outputs,
                 call->output_names[2], call->config, (long long)call->deadline_ns);
    facts[0] = (struct gp_string){text, (size_t)n};
    facts[1] = (struct gp_string){in->name, 7};
    return outputs->host->outputs_adopt(outputs, 2, &call->inputs[1], count, &n_stopped,
                                        err);
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    (void)options;
    (void)err;
    *version = "0.1";
    *path = "/";
    return GP_OK;
}

static const struct gp_engine engine = {.size_bytes = sizeof engine,
                                        .abi = GP_ENGINE_ABI,
                                        .name = "of_0_1",
                                        .version = "0",
                                        .open = open_model,
                                        .describe = describe,
                                        .run = run,
                                        .close = free,
                                        .probe = probe};

__attribute__((visibility("default"))) const struct gp_engine *
gp_engine_entry(const struct gp_host *its_host);

const struct gp_engine *gp_engine_entry(const struct gp_host *its_host)
{
    host = its_host;
    return host->abi == GP_ENGINE_ABI && host->size_bytes >= sizeof *host ? &engine
                                                                          : NULL;
}
