/* Around the example of engine.h: a plug-in that gives back floats. */
#include <graphpipe/engine.h>

#include <string.h>

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    (void)options, (void)err;
    *model = NULL;
    return GP_OK;
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    static const struct gp_io any = {
        .name = "any", .description = "", .flags = GP_IO_ANY_RANK, .dtype = GP_FLOAT32};
    (void)model, (void)err;
    description->n_slots = description->n_inputs = description->n_outputs = 1;
    description->summary = description->version = description->description = "";
    description->inputs = description->outputs = &any;
    return GP_OK;
}

static void close_model(void *model)
{
    (void)model;
}

#include "example.inc"
