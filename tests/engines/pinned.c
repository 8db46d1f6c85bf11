/* An engine whose runtime keeps state by thread: each slot must always run on the same thread. A
 * run fails when it finds itself on another one; otherwise it returns its inputs. */
#include <graphpipe/engine.h>

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_SLOTS = 8, RUN_US = 500 };

struct model {
    uint32_t n_slots;
    struct {
        pthread_t thread;
        int has_run;
    } slots[MAX_SLOTS];
};

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return gp_error_set(err, GP_NO_MEMORY, "no memory");
    m->n_slots = options->n_slots && options->n_slots < MAX_SLOTS ? options->n_slots : 2;
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
    description->flags = GP_ANY_INPUTS | GP_SLOT_THREAD;
    description->n_slots = m->n_slots;
    description->inputs = description->outputs = &any;
    description->n_inputs = description->n_outputs = 1;
    return GP_OK;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    struct model *m = model;
    if (m->slots[slot].has_run && !pthread_equal(m->slots[slot].thread, pthread_self()))
        return gp_error_set(err, GP_ENGINE, "slot %u ran on two threads", slot);
    m->slots[slot].thread = pthread_self();
    m->slots[slot].has_run = 1;
    usleep(RUN_US);
    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < call->n_inputs && status == GP_OK; i++)
        status = gp_outputs_adopt(outputs, i, &call->inputs[i], NULL, NULL, err);
    return status;
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        .size_bytes = sizeof engine,
        .abi = GP_ENGINE_ABI,
        .name = "pinned",
        .version = "",
        .open = open_model,
        .describe = describe,
        .run = run,
        .close = free,
    };
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
