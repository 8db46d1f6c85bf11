/* An engine that asks for processes of its own, and answers with the id of the one that it
 * runs in. */
#include <graphpipe/engine.h>

#include <unistd.h>

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    (void)options, (void)err;
    *model = NULL;
    return GP_OK;
}

static enum gp_status describe(void *model, struct gp_description *description,
                               struct gp_error *err)
{
    static const struct gp_io pid = {.name = "pid", .description = "", .dtype = GP_INT64};
    (void)model, (void)err;
    description->flags = GP_ANY_INPUTS;
    description->n_slots = 1;
    description->summary = description->version = description->description = "";
    description->outputs = &pid;
    description->n_outputs = 1;
    return GP_OK;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    (void)model, (void)slot, (void)call;
    int64_t *pid = gp_outputs_alloc(outputs, 0, GP_INT64, NULL, 0, err);
    if (pid)
        *pid = getpid();
    return pid ? GP_OK : err->status;
}

static void close_model(void *model)
{
    (void)model;
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {.size_bytes = sizeof engine,
                                            .abi = GP_ENGINE_ABI,
                                            .name = "aside",
                                            .version = "",
                                            .open = open_model,
                                            .describe = describe,
                                            .run = run,
                                            .close = close_model,
                                            .flags = GP_ISOLATED};
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
