/* An engine that tells in its summary what it was opened with:
 *
 *   path 2 slots 3 threads 4 cores name=n
 *
 * Two inputs, a and b, and c, which is optional; two outputs, x and y. The engine options say more:
 * name=, version= and description= of the model, "any-output", "pin": it locks memory, with a function
 * that locks nothing, and "refuse": it opens nothing. Its framework is of version 9.9; with "crash" it
 * ends the process that looks for it. Closing a model that was not opened ends the process. */
#include <graphpipe/engine.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model {
    struct gp_engine_options options;
    char texts[3][64]; /* name, version, description */
    char summary[512];
    uint32_t flags;
    int pins;
};

static void take_option(struct model *model, const char *option)
{
    static const char *const keys[] = {"name=", "version=", "description="};
    for (int i = 0; i < 3; i++)
        if (strncmp(option, keys[i], strlen(keys[i])) == 0)
            (void)snprintf(model->texts[i], sizeof model->texts[i], "%s",
                           option + strlen(keys[i]));
    if (strcmp(option, "any-output") == 0)
        model->flags |= GP_ANY_OUTPUT;
    if (strcmp(option, "pin") == 0)
        model->pins = 1;
}

static enum gp_status open_model(const struct gp_engine_options *options, void **made,
                                 struct gp_error *err)
{
    if (options->n_options && strcmp(options->options[0], "refuse") == 0)
        return gp_error_set(err, GP_ENGINE, "it opens nothing");
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return gp_error_set(err, GP_NO_MEMORY, "no memory");
    model->options = *options;
    size_t used = (size_t)snprintf(
        model->summary, sizeof model->summary, "%s %u slots %u threads %u cores",
        options->model_path ? options->model_path : "nothing", options->n_slots,
        options->n_threads, options->n_cores);
    for (size_t i = 0; i < options->n_options; i++) {
        take_option(model, options->options[i]);
        if (used < sizeof model->summary)
            used += (size_t)snprintf(model->summary + used, sizeof model->summary - used,
                                     " %s", options->options[i]);
    }
    *made = model;
    return GP_OK;
}

static int pin_nothing(void *memory, size_t size_bytes)
{
    (void)memory, (void)size_bytes;
    return 1;
}

static void unpin_nothing(void *memory)
{
    (void)memory;
}

static enum gp_status describe_model(void *arg, struct gp_description *description,
                                     struct gp_error *err)
{
    static const struct gp_io inputs[] = {
        {.name = "a", .description = "", .flags = GP_IO_ANY_RANK},
        {.name = "b", .description = "", .flags = GP_IO_ANY_RANK},
        {.name = "c", .description = "", .flags = GP_IO_ANY_RANK | GP_IO_OPTIONAL}};
    static const struct gp_io outputs[] = {
        {.name = "x", .description = "", .flags = GP_IO_ANY_RANK},
        {.name = "y", .description = "", .flags = GP_IO_ANY_RANK}};
    struct model *model = arg;
    (void)err;
    description->flags = model->flags;
    description->n_slots = model->options.n_slots ? model->options.n_slots : 1;
    description->summary = model->summary;
    description->name = model->texts[0];
    description->version = model->texts[1];
    description->description = model->texts[2];
    description->inputs = inputs;
    description->n_inputs = 3;
    description->outputs = outputs;
    description->n_outputs = 2;
    description->pin = model->pins ? pin_nothing : NULL;
    description->unpin = model->pins ? unpin_nothing : NULL;
    return GP_OK;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    (void)model, (void)slot, (void)call, (void)outputs;
    return gp_error_set(err, GP_UNSUPPORTED, "it only tells");
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    (void)err;
    for (size_t i = 0; i < options->n_options; i++)
        if (strcmp(options->options[i], "crash") == 0)
            abort();
    *version = "9.9";
    *path = "/opt/telling";
    return GP_OK;
}

static void close_model(void *model)
{
    if (!model)
        abort();
    free(model);
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        .size_bytes = sizeof engine,
        .abi = GP_ENGINE_ABI,
        .name = "telling",
        .version = "1.0",
        .open = open_model,
        .describe = describe_model,
        .run = run,
        .close = close_model,
        .probe = probe,
    };
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
