/* An engine that takes the option "device" as those for GPUs do, and shows what comes of it: each
 * run gives the number of its device (-1: the CPU), of its slot in the model and of its process.
 * It hands over what pins memory where there is a driver. */
#include "../../engines/pinned.h"

#include <stdlib.h>
#include <unistd.h>

enum { RUN_US = 20000 };

struct model {
    struct device_list devices;
    uint32_t n_slots;
    uint32_t first_slot;
};

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return gp_error_set(err, GP_NO_MEMORY, "no memory");
    if (device_read(&m->devices, options, err) != GP_OK) {
        free(m);
        return GP_INVALID;
    }
    m->n_slots = device_n_slots(&m->devices, options);
    m->first_slot = options->first_slot;
    *model = m;
    return GP_OK;
}

static enum gp_status describe(void *model, struct gp_description *description,
                               struct gp_error *err)
{
    static const struct gp_io any = {
        .name = "x", .description = "", .flags = GP_IO_ANY_RANK};
    const struct model *m = model;
    (void)err;
    description->flags = GP_ANY_INPUTS;
    description->n_slots = m->n_slots;
    description->summary = m->devices.text;
    description->inputs = description->outputs = &any;
    description->n_inputs = description->n_outputs = 1;
    pinned_describe(&m->devices, description);
    return GP_OK;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    static const int64_t shape[] = {3};
    const struct model *m = model;
    int32_t *facts = gp_outputs_alloc(outputs, 0, GP_INT32, shape, 1, err);
    (void)call;
    if (!facts)
        return err->status;
    usleep(RUN_US);
    facts[0] = m->devices.n ? m->devices.numbers[slot % m->devices.n] : -1;
    facts[1] = (int32_t)(m->first_slot + slot);
    facts[2] = (int32_t)getpid();
    return GP_OK;
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        .size_bytes = sizeof engine,
        .abi = GP_ENGINE_ABI,
        .name = "device",
        .version = "",
        .open = open_model,
        .describe = describe,
        .run = run,
        .close = free,
    };
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
