/* A plug-in that lacks what the environment's GP_INCOMPLETE names: its "entry" gives nothing, its "size"
 * is too small, or that member is missing. With anything else it is complete. */
#include <graphpipe/engine.h>

#include <stdlib.h>
#include <string.h>

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    (void)options;
    (void)model;
    return gp_error_set(err, GP_ENGINE, "it is only looked at");
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    (void)model;
    (void)description;
    return gp_error_set(err, GP_ENGINE, "it is only looked at");
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    (void)model;
    (void)slot;
    (void)call;
    (void)outputs;
    return gp_error_set(err, GP_ENGINE, "it is only looked at");
}

static void close_model(void *model)
{
    (void)model;
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static struct gp_engine engine;
    const char *lacks = getenv("GP_INCOMPLETE");
    (void)host;
    lacks = lacks ? lacks : "";
    engine = (struct gp_engine){
        /* up to the last member that came with the first release, or not quite */
        .size_bytes = (uint32_t)offsetof(struct gp_engine, flags),
        .abi = GP_ENGINE_ABI,
        .name = strcmp(lacks, "name") == 0 ? NULL : "incomplete",
        .version = "",
        .open = strcmp(lacks, "open") == 0 ? NULL : open_model,
        .describe = strcmp(lacks, "describe") == 0 ? NULL : describe_model,
        .run = strcmp(lacks, "run") == 0 ? NULL : run,
        .close = strcmp(lacks, "close") == 0 ? NULL : close_model,
    };
    engine.size_bytes -= strcmp(lacks, "size") == 0;
    return strcmp(lacks, "entry") == 0 ? NULL : &engine;
}
