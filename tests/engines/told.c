/* An engine that tells what it was told: the model's summary has the options, and output 0 of a run is
 * its call in words. A request's config says what else:
 *
 *   copy     returns its inputs, in memory of the host
 *   adopt    returns them as memory of its own
 *   many     returns 200 outputs of 4096 bytes, output i filled with i
 *   shapes   returns as many outputs as there may be, each of the highest rank
 *   wait     logs "waits" until the run should stop, and fails then
 *   print    prints a line on standard output and one on standard error
 *
 * With the engine option end=PATH it makes that file when the model is closed. */
#include <graphpipe/engine.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_MANY = 200, MANY_BYTES = 4096 };

static struct model {
    char summary[512];
    char end[256]; /* a path, or "" */
    uint32_t slot;
    void (*log)(void *log_context, enum gp_log_level level, const char *message);
    void *log_context;
} told;

static enum gp_status open_model(const struct gp_engine_options *options, void **model,
                                 struct gp_error *err)
{
    (void)err;
    int n = snprintf(told.summary, sizeof told.summary,
                     "model %s, %" PRIu32 " slots, %" PRIu32 " threads, %" PRIu32
                     " cores, %zu options",
                     options->model_path ? options->model_path : "none", options->n_slots,
                     options->n_threads, options->n_cores, options->n_options);
    for (size_t i = 0; i < options->n_options; i++) {
        n += snprintf(told.summary + n, sizeof told.summary - (size_t)n, " %s",
                      options->options[i]);
        if (strncmp(options->options[i], "end=", 4) == 0)
            (void)snprintf(told.end, sizeof told.end, "%s", options->options[i] + 4);
    }
    told.slot = options->first_slot;
    told.log = options->log;
    told.log_context = options->log_context;
    *model = &told;
    return GP_OK;
}

static enum gp_status describe_model(void *model, struct gp_description *description,
                                     struct gp_error *err)
{
    static const int64_t shape[] = {-1, 3};
    static const char *const files[] = {"/one", "/two"};
    static const struct gp_io ios[] = {
        {.name = "x",
         .description = "an input",
         .shape = shape,
         .rank = 2,
         .dtype = GP_FLOAT32,
         .flags = GP_IO_OPTIONAL},
        {.name = "y", .description = "", .shape = shape, .rank = 1, .dtype = GP_NULL},
    };
    (void)model;
    (void)err;
    description->flags = GP_ANY_INPUTS | GP_ANY_OUTPUT;
    description->n_slots = 1;
    description->summary = told.summary;
    description->version = "7";
    description->description = "of the model";
    description->name = "its name";
    description->inputs = ios;
    description->n_inputs = 2;
    description->outputs = ios + 1;
    description->n_outputs = 1;
    description->files = files;
    description->n_files = 2;
    description->max_batch = 64;
    return GP_OK;
}

/* --- runs --- */

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int is_stopped;
};

static void stop(void *arg)
{
    struct waiting *waiting = arg;
    pthread_mutex_lock(&waiting->lock);
    waiting->is_stopped = 1;
    pthread_cond_signal(&waiting->changed);
    pthread_mutex_unlock(&waiting->lock);
}

static enum gp_status wait_for_stop(const struct gp_call *call, struct gp_error *err)
{
    static struct waiting waiting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
                                     0};
    waiting.is_stopped = 0;
    if (gp_call_on_cancel(call, stop, &waiting) != GP_OK)
        return gp_error_set(err, GP_CANCELLED, "it came too late");
    told.log(told.log_context, GP_LOG_INFO, "waits");
    pthread_mutex_lock(&waiting.lock);
    while (!waiting.is_stopped)
        pthread_cond_wait(&waiting.changed, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    return gp_error_set(err, GP_CANCELLED, "stopped as it was told");
}

static enum gp_status copy_string(const struct gp_string *from, struct gp_string *to,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    char *bytes = gp_outputs_memory(outputs, from->size_bytes, err);
    if (!bytes)
        return err->status;
    memcpy(bytes, from->data, from->size_bytes);
    *to = (struct gp_string){bytes, from->size_bytes};
    return GP_OK;
}

static enum gp_status copy_tensor(const struct gp_tensor *input, uint32_t index,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    void *to =
        gp_outputs_alloc(outputs, index, input->dtype, input->shape, input->rank, err);
    if (!to)
        return err->status;
    if (input->dtype != GP_STRING) {
        memcpy(to, input->data, input->size_bytes);
        return GP_OK;
    }
    const struct gp_string *strings = input->data;
    struct gp_string *copies = to;
    for (size_t i = 0; i < input->size_bytes / sizeof *strings; i++)
        if (copy_string(&strings[i], &copies[i], outputs, err) != GP_OK)
            return err->status;
    return GP_OK;
}

static enum gp_status give_many(struct gp_outputs *outputs, struct gp_error *err)
{
    static const int64_t shape[] = {MANY_BYTES};
    for (uint32_t i = 0; i < N_MANY; i++) {
        void *to = gp_outputs_alloc(outputs, i, GP_UINT8, shape, 1, err);
        if (!to)
            return err->status;
        memset(to, (int)i, MANY_BYTES);
    }
    return GP_OK;
}

static enum gp_status give_shapes(struct gp_outputs *outputs, struct gp_error *err)
{
    int64_t shape[GP_MAX_RANK];
    for (uint32_t i = 0; i < GP_MAX_RANK; i++)
        shape[i] = 1;
    for (uint32_t i = 0; i < GP_MAX_TENSORS; i++)
        if (!gp_outputs_alloc(outputs, i, GP_UINT8, shape, GP_MAX_RANK, err))
            return err->status;
    return GP_OK;
}

static enum gp_status tell(const struct gp_call *call, struct gp_outputs *outputs,
                           struct gp_error *err)
{
    static const int64_t one[] = {1};
    char words[512];
    int n = snprintf(words, sizeof words,
                     "slot %" PRIu32 ", until %" PRId64 ", %" PRIu32
                     " free cores, config %s, outputs",
                     told.slot, call->deadline_ns, call->n_free_cores, call->config);
    for (uint32_t i = 0; i < call->n_outputs; i++)
        n += snprintf(words + n, sizeof words - (size_t)n, " %s", call->output_names[i]);
    n += snprintf(words + n, sizeof words - (size_t)n, ", inputs");
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        const struct gp_tensor *t = &call->inputs[i];
        n += snprintf(words + n, sizeof words - (size_t)n, " %s of type %u, %zu bytes",
                      t->name, (unsigned)t->dtype, t->size_bytes);
        for (uint32_t j = 0; j < t->rank; j++)
            n += snprintf(words + n, sizeof words - (size_t)n, " [%" PRId64 "]",
                          t->shape[j]);
    }
    const struct gp_string said = {words, (size_t)n};
    struct gp_string *to = gp_outputs_alloc(outputs, 0, GP_STRING, one, 1, err);
    return to ? copy_string(&said, to, outputs, err) : err->status;
}

static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    const char *config = call->config;
    (void)model;
    (void)slot;
    if (strcmp(config, "wait") == 0)
        return wait_for_stop(call, err);
    if (strcmp(config, "many") == 0)
        return give_many(outputs, err);
    if (strcmp(config, "shapes") == 0)
        return give_shapes(outputs, err);
    if (strcmp(config, "print") == 0) {
        puts("on standard output");
        (void)fputs("on standard error\n", stderr);
    }
    if (strcmp(config, "copy") != 0 && strcmp(config, "adopt") != 0)
        return tell(call, outputs, err);
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        const enum gp_status status =
            config[0] == 'a'
                ? gp_outputs_adopt(outputs, i, &call->inputs[i], NULL, NULL, err)
                : copy_tensor(&call->inputs[i], i, outputs, err);
        if (status != GP_OK)
            return status;
    }
    return GP_OK;
}

static void close_model(void *model)
{
    (void)model;
    FILE *file = told.end[0] ? fopen(told.end, "we") : NULL;
    if (file)
        (void)fclose(file);
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    (void)options;
    (void)err;
    *version = "2.0 as it was found";
    *path = "";
    return GP_OK;
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "told",
    .version = "1.0",
    .open = open_model,
    .describe = describe_model,
    .run = run,
    .close = close_model,
    .probe = probe,
};

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
