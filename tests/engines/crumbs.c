/* An engine whose model leaves the allocator in pieces: 64 MiB in blocks, with a crumb between each
 * and the next that stays. Returns its inputs. */
#include <graphpipe/engine.h>

#include <stdlib.h>
#include <string.h>

enum { N_BLOCKS = 1024, BLOCK_BYTES = 64 * 1024 };

static void *crumbs[N_BLOCKS];

struct model {
    void *blocks[N_BLOCKS];
};

static void close_model(void *arg)
{
    struct model *model = arg;
    for (int i = 0; i < N_BLOCKS; i++)
        free(model->blocks[i]);
    free(model);
}

static enum gp_status open_model(const struct gp_engine_options *options, void **made,
                                 struct gp_error *err)
{
    (void)options;
    struct model *model = calloc(1, sizeof *model);
    for (int i = 0; model && i < N_BLOCKS; i++) {
        model->blocks[i] = malloc(BLOCK_BYTES);
        if (model->blocks[i])
            memset(model->blocks[i], 1, BLOCK_BYTES);
        if (!crumbs[i])
            crumbs[i] = malloc(1);
    }
    *made = model;
    return model ? GP_OK : gp_error_set(err, GP_NO_MEMORY, "no memory");
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    static const struct gp_io any = {
        .name = "x", .description = "", .flags = GP_IO_ANY_RANK};
    (void)model, (void)err;
    description->n_slots = 1;
    description->inputs = description->outputs = &any;
    description->n_inputs = description->n_outputs = 1;
    return GP_OK;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    (void)model, (void)slot;
    return gp_outputs_adopt(outputs, 0, &call->inputs[0], NULL, NULL, err);
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        .size_bytes = sizeof engine,
        .abi = GP_ENGINE_ABI,
        .name = "crumbs",
        .version = "",
        .open = open_model,
        .describe = describe_model,
        .run = run,
        .close = close_model,
    };
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
