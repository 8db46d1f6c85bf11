/* The null engine: reads nothing and answers one float32, whatever comes. What a request
 * costs with it is what the server costs. Benchmarks only. */
#include <graphpipe/engine.h>

enum { DEFAULT_SLOTS = 16 };

static uint32_t n_slots = DEFAULT_SLOTS;

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    (void)err;
    if (options->n_slots)
        n_slots = options->n_slots;
    *model = &n_slots;
    return GP_OK;
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    static const int64_t any[] = {-1}, one[] = {1};
    static const struct gp_io input = {
        .name = "x", .description = "", .shape = any, .rank = 1, .dtype = GP_NULL};
    static const struct gp_io output = {
        .name = "y", .description = "", .shape = one, .rank = 1, .dtype = GP_FLOAT32};
    (void)model;
    (void)err;
    description->flags = GP_ANY_INPUTS;
    description->n_slots = n_slots;
    description->summary = "answers one number";
    description->version = "";
    description->description = "Answers one number.";
    description->inputs = &input;
    description->n_inputs = 1;
    description->outputs = &output;
    description->n_outputs = 1;
    return GP_OK;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    static const int64_t one[] = {1};
    (void)model;
    (void)slot;
    (void)call;
    float *y = gp_outputs_alloc(outputs, 0, GP_FLOAT32, one, 1, err);
    if (!y)
        return err->status;
    *y = 1.0f;
    return GP_OK;
}

static void close_model(void *model)
{
    (void)model;
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "null",
    .version = "",
    .open = open_model,
    .describe = describe_model,
    .run = run,
    .close = close_model,
};

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
