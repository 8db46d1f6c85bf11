/* The echo engine: returns its inputs, whatever they are, as many as outputs are named,
 * or all. It is the sample for plug-in writers, and the engine that tests and benchmarks
 * use to measure the server. To build one like it and serve it:
 *
 *     cc -std=c11 -shared -fPIC -o graphpipe-engine-mine.so mine.c
 *     graphpipe serve --engine ./graphpipe-engine-mine.so
 */
#include <graphpipe/engine.h>

#include <stdlib.h>

/* An engine without a cost never makes a request wait: this is more than the server has
 * threads. */
enum { DEFAULT_SLOTS = 16 };

struct echo_model {
    uint32_t n_slots;
};

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    if (options->n_options) /* most likely meant for another engine */
        return gp_error_set(err, GP_INVALID,
                            "the echo engine has no option \"%s\"; it has none",
                            options->options[0]);
    struct echo_model *echo = calloc(1, sizeof *echo);
    if (!echo)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the echo engine");
    echo->n_slots = options->n_slots ? options->n_slots : DEFAULT_SLOTS;
    *model = echo;
    return GP_OK;
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    static const int64_t any[] = {-1};
    static const struct gp_io input = {
        .name = "input0", .description = "", .shape = any, .rank = 1, .dtype = GP_NULL};
    static const struct gp_io output = {
        .name = "output0", .description = "", .shape = any, .rank = 1, .dtype = GP_NULL};
    const struct echo_model *echo = model;
    (void)err;
    description->flags = GP_ANY_INPUTS;
    description->n_slots = echo->n_slots;
    description->summary = "returns its inputs";
    description->version = "";
    description->description = "Returns its inputs in order.";
    description->inputs = &input;
    description->n_inputs = 1;
    description->outputs = &output;
    description->n_outputs = 1;
    return GP_OK;
}

/* The inputs live as long as the answer, so they are handed back in place: no release. */
static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    const uint32_t n = call->n_outputs ? call->n_outputs : call->n_inputs;
    (void)model;
    (void)slot;
    if (n > call->n_inputs)
        return gp_error_set(err, GP_INVALID,
                            "%u outputs were asked for, but echo returns its "
                            "%u inputs",
                            n, call->n_inputs);
    for (uint32_t i = 0; i < n; i++) {
        const enum gp_status status =
            gp_outputs_adopt(outputs, i, &call->inputs[i], NULL, NULL, err);
        if (status != GP_OK)
            return status;
    }
    return GP_OK;
}

static void close_model(void *model)
{
    free(model);
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "echo",
    .version = "",
    .open = open_model,
    .describe = describe_model,
    .run = run,
    .close = close_model,
    .flags = GP_OPENS_TOGETHER,
};

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
