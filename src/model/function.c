#include "model/function.h"

#include "base/mem.h"

struct function {
    gp_infer_fn *call;
    void *self;
    uint32_t n_slots;
    const struct gp_metadata *metadata;
};

static const struct gp_io any_input = {
    .name = "input0", .description = "", .flags = GP_IO_ANY_RANK};
static const struct gp_io any_output = {
    .name = "output0", .description = "", .flags = GP_IO_ANY_RANK};

void *function_create(gp_infer_fn *call, void *self, uint32_t n_slots,
                      const struct gp_metadata *metadata)
{
    struct function *f = mem_zalloc(sizeof *f);
    if (f)
        *f = (struct function){call, self, n_slots, metadata};
    return f;
}

static enum gp_status function_describe(void *handle, struct gp_description *d,
                                        struct gp_error *err)
{
    (void)err;
    const struct function *f = handle;
    d->n_slots = f->n_slots;
    d->summary = "function";
    d->flags = f->metadata ? 0 : GP_ANY_INPUTS;
    d->inputs = f->metadata ? f->metadata->inputs : &any_input;
    d->outputs = f->metadata ? f->metadata->outputs : &any_output;
    d->n_inputs = f->metadata ? f->metadata->n_inputs : 1;
    d->n_outputs = f->metadata ? f->metadata->n_outputs : 1;
    return GP_OK;
}

static enum gp_status function_run(void *handle, uint32_t slot,
                                   const struct gp_call *call, struct gp_outputs *outputs,
                                   struct gp_error *err)
{
    (void)slot;
    const struct function *f = handle;
    return f->call(f->self, call, outputs, err);
}

const struct gp_engine function_engine = {
    .size_bytes = sizeof function_engine,
    .abi = GP_ENGINE_ABI,
    .name = "function",
    .version = GP_VERSION,
    .describe = function_describe,
    .run = function_run,
    .close = mem_free,
    .flags = GP_OPENS_TOGETHER,
};
