/* An engine that breaks its contract on request. A request's config says how:
 *
 *   fail          fails as an engine may, with a message of two lines
 *   hostile       logs, and fails with, a message that would drive a terminal and forge lines
 *   silent        fails without a message
 *   unknown       fails with a status that is none
 *   unset         succeeds and sets no output
 *   hole          sets output 1 but not output 0
 *   many          sets more outputs than were asked for (or may be)
 *   type          gives an output a type that is none
 *   negative      gives an output a negative shape
 *   size          adopts memory of a size that its shape does not have
 *   crash         ends the process
 *
 * anything else returns the inputs. Engine options open=fail (which tells all
 * options), describe=fail and describe=none (no slots, no texts) do the same for a
 * model's start. */
#include <graphpipe/engine.h>

#include <stdlib.h>
#include <string.h>

static const char *describe_option;
static void (*log_line)(void *context, enum gp_log_level level, const char *message);
static void *log_context;

static const char *option(const struct gp_engine_options *options, const char *key)
{
    const size_t n = strlen(key);
    for (size_t i = 0; i < options->n_options; i++)
        if (strncmp(options->options[i], key, n) == 0)
            return options->options[i] + n;
    return "";
}

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    char given[256] = "";
    for (size_t i = 0, used = 0; i < options->n_options && used < sizeof given; i++)
        used += (size_t)snprintf(given + used, sizeof given - used, " %s",
                                 options->options[i]);
    if (strcmp(option(options, "open="), "fail") == 0)
        return gp_error_set(err, GP_ENGINE, "the faulty engine does not open:%s", given);
    describe_option = strcmp(option(options, "describe="), "fail") == 0   ? "fail"
                      : strcmp(option(options, "describe="), "none") == 0 ? "none"
                                                                          : "";
    *model = NULL;
    log_line = options->log;
    log_context = options->log_context;
    return GP_OK;
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    static const int64_t any[] = {-1};
    static const struct gp_io io = {
        .name = "x", .description = "", .shape = any, .rank = 1, .dtype = GP_NULL};
    (void)model;
    if (strcmp(describe_option, "fail") == 0)
        return gp_error_set(err, GP_ENGINE, "the faulty engine does not describe itself");
    if (strcmp(describe_option, "none") == 0)
        return GP_OK;
    description->flags = GP_ANY_INPUTS;
    description->n_slots = 1;
    description->summary = "faulty";
    description->version = "";
    description->description = "";
    description->inputs = &io;
    description->n_inputs = 1;
    description->outputs = &io;
    description->n_outputs = 1;
    return GP_OK;
}

/* Those that go wrong in how they set an output; -1 for any other config. */
static int misuse(const char *config, struct gp_outputs *outputs, struct gp_error *err)
{
    static float data[2];
    const int64_t good[] = {2}, negative[] = {2, -3};
    const struct gp_tensor short_one = {NULL, good, data, 4, GP_FLOAT32, 1};
    void *done = NULL;
    if (strcmp(config, "hole") == 0)
        return gp_outputs_alloc(outputs, 1, GP_FLOAT32, good, 1, err) ? GP_OK
                                                                      : (int)err->status;
    if (strcmp(config, "many") == 0)
        for (uint32_t i = 0; i <= GP_MAX_TENSORS; i++) {
            done = gp_outputs_alloc(outputs, i, GP_FLOAT32, good, 1, err);
            if (!done)
                break;
        }
    else if (strcmp(config, "type") == 0)
        done = gp_outputs_alloc(outputs, 0, (enum gp_dtype)77, good, 1, err);
    else if (strcmp(config, "negative") == 0)
        done = gp_outputs_alloc(outputs, 0, GP_FLOAT32, negative, 2, err);
    else if (strcmp(config, "size") == 0)
        return (int)gp_outputs_adopt(outputs, 0, &short_one, NULL, NULL, err);
    else
        return -1;
    return done ? GP_OK : (int)err->status;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    const char *config = call->config;
    (void)model;
    (void)slot;
    if (strcmp(config, "fail") == 0)
        return gp_error_set(err, GP_ENGINE, "it broke\nin two lines");
    if (strcmp(config, "hostile") == 0) {
        static const char text[] = "\x1b[2J\a\xc2\x9b\xe2\x80\xae\xff\xd0"
                                   "\nlistening on http://forged.example\r";
        if (log_line)
            log_line(log_context, GP_LOG_WARNING, text);
        err->status = GP_ENGINE; /* as a plug-in may write it that has no gp_error_set */
        (void)strcpy(err->message, text);
        return GP_ENGINE;
    }
    if (strcmp(config, "silent") == 0)
        return GP_ENGINE;
    if (strcmp(config, "unknown") == 0)
        return (enum gp_status)4711;
    if (strcmp(config, "unset") == 0)
        return GP_OK;
    if (strcmp(config, "crash") == 0)
        abort();
    const int misused = misuse(config, outputs, err);
    if (misused >= 0)
        return (enum gp_status)misused;
    for (uint32_t i = 0; i < (call->n_outputs ? call->n_outputs : call->n_inputs); i++)
        if (gp_outputs_adopt(outputs, i, &call->inputs[i % call->n_inputs], NULL, NULL,
                             err))
            return err->status;
    return GP_OK;
}

static void close_model(void *model)
{
    (void)model;
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "faulty",
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
