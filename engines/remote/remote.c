/* The remote engine: asks a model of another GraphPipe server, by its address. With it a server
 * batches, isolates and counts for one that does not, and `graphpipe-batcher` is one.
 *
 *     graphpipe serve --engine remote --engine-option url=http://10.0.0.7:9000 --max-batch 64
 *
 * Each slot has a client, and so a connection, of its own. Without the options `inputs` and `outputs`
 * the model is described as the other server describes it when this one opens; with both it need not
 * be there yet, names of the given ones are all that is known, and requests are not checked.
 */
#include "../plugin.h"

#include <graphpipe/client.h>

enum { DEFAULT_SLOTS = 4, DEFAULT_TIMEOUT_MS = 60000, MOST_NAMES = 64 };

struct remote_model {
    const char *url;
    union plugin_block *kept;
    struct gp_client_options client_options;
    struct gp_client **clients; /* of each slot */
    uint32_t n_slots;
    struct gp_result *metadata; /* NULL: the names were given */
    struct gp_description description;
};

/* --- open --- */

static bool read_number(const char *text, uint32_t *number)
{
    char *end;
    const unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n == 0 || n > UINT32_MAX)
        return false;
    *number = (uint32_t)n;
    return true;
}

static enum gp_status read_options(struct remote_model *remote,
                                   const struct gp_engine_options *options,
                                   const char **inputs, const char **outputs,
                                   struct gp_error *err)
{
    for (size_t i = 0; i < options->n_options; i++) {
        const char *option = options->options[i];
        const char *value;
        if ((value = plugin_option(option, "url")) != NULL)
            remote->url = value;
        else if ((value = plugin_option(option, "inputs")) != NULL)
            *inputs = value;
        else if ((value = plugin_option(option, "outputs")) != NULL)
            *outputs = value;
        else if ((value = plugin_option(option, "timeout-ms")) == NULL)
            return gp_error_set(err, GP_INVALID,
                                "the remote engine has no option \"%.*s\"; it has: url, "
                                "inputs, outputs, timeout-ms",
                                gp_cut(option, 100), option);
        else if (!read_number(value, &remote->client_options.timeout_ms))
            return gp_error_set(err, GP_INVALID,
                                "timeout-ms wants a number above 0, not \"%.*s\"",
                                gp_cut(value, 60), value);
    }
    if (!remote->url)
        return gp_error_set(err, GP_INVALID,
                            "which server? Name it with --engine-option "
                            "url=http://HOST:PORT");
    if (!*inputs != !*outputs)
        return gp_error_set(
            err, GP_INVALID,
            "the remote engine wants both inputs and outputs, or neither");
    return GP_OK;
}

/* "a,b": any type, any shape. */
static enum gp_status describe_names(struct remote_model *remote, const char *names,
                                     const struct gp_io **ios, uint32_t *n,
                                     struct gp_error *err)
{
    struct gp_io *all = plugin_keep(&remote->kept, MOST_NAMES * sizeof *all, err);
    if (!all)
        return err->status;
    for (*n = 0;; names++) {
        const size_t size = strcspn(names, ",");
        if (!size || *n == MOST_NAMES)
            return gp_error_set(err, GP_INVALID,
                                "the remote engine wants 1 to %d names with commas "
                                "between",
                                MOST_NAMES);
        all[*n] =
            (struct gp_io){.name = plugin_keep_bytes(&remote->kept, names, size, err),
                           .description = "",
                           .flags = GP_IO_ANY_RANK};
        if (!all[(*n)++].name)
            return err->status;
        names += size;
        if (!*names)
            break;
    }
    *ios = all;
    return GP_OK;
}

static enum gp_status ask_metadata(struct remote_model *remote, struct gp_error *err)
{
    const struct gp_metadata *metadata;
    struct gp_description *d = &remote->description;
    struct gp_error why;
    const enum gp_status status =
        gp_client_metadata(remote->clients[0], &metadata, &remote->metadata, &why);
    if (status != GP_OK)
        return gp_error_set(
            err, status,
            "cannot ask %.*s what its model takes: %.*s; with the options "
            "inputs=NAMES and outputs=NAMES it is not asked",
            gp_cut(remote->url, 100), remote->url, gp_cut(why.message, 200), why.message);
    d->name = metadata->name;
    d->version = metadata->version;
    d->description = metadata->description;
    d->inputs = metadata->inputs;
    d->outputs = metadata->outputs;
    d->n_inputs = metadata->n_inputs;
    d->n_outputs = metadata->n_outputs;
    return GP_OK;
}

static enum gp_status open_clients(struct remote_model *remote, struct gp_error *err)
{
    remote->clients = calloc(remote->n_slots, sizeof(struct gp_client *));
    if (!remote->clients)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the remote engine");
    for (uint32_t i = 0; i < remote->n_slots; i++) {
        remote->clients[i] = gp_client_create(remote->url, &remote->client_options, err);
        if (!remote->clients[i])
            return err->status;
    }
    return GP_OK;
}

static void close_model(void *self)
{
    struct remote_model *remote = self;
    gp_result_destroy(remote->metadata);
    for (uint32_t i = 0; remote->clients && i < remote->n_slots; i++)
        gp_client_destroy(remote->clients[i]);
    free(remote->clients);
    plugin_free(remote->kept);
    free(remote);
}

static enum gp_status open_parts(struct remote_model *remote,
                                 const struct gp_engine_options *options,
                                 struct gp_error *err)
{
    const char *inputs = NULL, *outputs = NULL;
    struct gp_description *d = &remote->description;
    if (read_options(remote, options, &inputs, &outputs, err) != GP_OK || !remote->url)
        return err->status;
    remote->url = plugin_keep_bytes(&remote->kept, remote->url, strlen(remote->url), err);
    if (!remote->url || open_clients(remote, err) != GP_OK)
        return err->status;
    d->version = d->description = "";
    if (!inputs || !outputs) /* neither is there then */
        return ask_metadata(remote, err);
    d->flags = GP_OPEN_INPUTS | GP_ANY_OUTPUT;
    if (describe_names(remote, inputs, &d->inputs, &d->n_inputs, err) != GP_OK)
        return err->status;
    return describe_names(remote, outputs, &d->outputs, &d->n_outputs, err);
}

static enum gp_status open_model(const struct gp_engine_options *options, void **self,
                                 struct gp_error *err)
{
    struct remote_model *remote = calloc(1, sizeof *remote);
    if (!remote)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the remote engine");
    remote->n_slots = options->n_slots ? options->n_slots : DEFAULT_SLOTS;
    remote->client_options.size_bytes = sizeof remote->client_options;
    remote->client_options.timeout_ms = DEFAULT_TIMEOUT_MS;
    const enum gp_status status = open_parts(remote, options, err);
    if (status == GP_OK)
        *self = remote;
    else
        close_model(remote);
    return status;
}

static enum gp_status describe_model(void *self, struct gp_description *description,
                                     struct gp_error *err)
{
    const struct remote_model *remote = self;
    const struct gp_description *d = &remote->description;
    (void)err;
    description->flags = d->flags;
    description->n_slots = remote->n_slots;
    description->summary = remote->url;
    description->version = d->version;
    description->description = d->description;
    description->inputs = d->inputs;
    description->outputs = d->outputs;
    description->n_inputs = d->n_inputs;
    description->n_outputs = d->n_outputs;
    if (GP_HAS(description, name))
        description->name = d->name;
    return GP_OK;
}

/* --- run --- */

static enum gp_status copy_strings(struct gp_outputs *outputs, struct gp_string *to,
                                   const struct gp_tensor *from, struct gp_error *err)
{
    const struct gp_string *strings = from->data;
    const size_t n = from->size_bytes / sizeof *strings;
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += strings[i].size_bytes;
    char *bytes = gp_outputs_memory(outputs, size, err);
    if (!bytes)
        return err->status;
    for (size_t i = 0; i < n; i++) {
        to[i] = (struct gp_string){bytes, strings[i].size_bytes};
        if (strings[i].size_bytes)
            memcpy(bytes, strings[i].data, strings[i].size_bytes);
        bytes += strings[i].size_bytes;
    }
    return GP_OK;
}

/* A result's memory goes back to its client, which runs on while an answer is sent, perhaps on another
 * thread: so outputs are copied. */
static enum gp_status copy_output(struct gp_outputs *outputs, uint32_t index,
                                  const struct gp_tensor *from, struct gp_error *err)
{
    void *to =
        gp_outputs_alloc(outputs, index, from->dtype, from->shape, from->rank, err);
    if (!to)
        return err->status;
    if (from->dtype == GP_STRING)
        return copy_strings(outputs, to, from, err);
    if (from->size_bytes)
        memcpy(to, from->data, from->size_bytes);
    return GP_OK;
}

/* What went wrong on the way is no fault of the request's, and may be gone when it is sent again. */
static enum gp_status pass_on(const struct remote_model *remote, enum gp_status status,
                              const struct gp_error *why, struct gp_error *err)
{
    const bool is_named = strncmp(why->message, remote->url, strlen(remote->url)) == 0;
    if (status == GP_IO)
        status = GP_UNAVAILABLE;
    else if (status == GP_MALFORMED)
        status = GP_ENGINE;
    return gp_error_set(err, status, "%.*s%s%.*s",
                        is_named ? 0 : gp_cut(remote->url, 100), remote->url,
                        is_named ? "" : ": ", gp_cut(why->message, 300), why->message);
}

static enum gp_status run(void *self, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    struct remote_model *remote = self;
    struct gp_result *result;
    struct gp_error why;
    struct gp_call ask = {.size_bytes = sizeof ask,
                          .n_inputs = call->n_inputs,
                          .inputs = call->inputs,
                          .output_names = call->output_names,
                          .n_outputs = call->n_outputs,
                          .config = call->config,
                          .deadline_ns = call->deadline_ns};
    enum gp_status status = gp_client_infer(remote->clients[slot], &ask, &result, &why);
    if (status != GP_OK)
        return pass_on(remote, status, &why, err);
    const uint32_t n = gp_result_count(result);
    if (call->n_outputs && n != call->n_outputs)
        status = gp_error_set(err, GP_ENGINE, "%.*s: %u outputs came for %u",
                              gp_cut(remote->url, 100), remote->url, n, call->n_outputs);
    for (uint32_t i = 0; i < n && status == GP_OK; i++)
        status = copy_output(outputs, i, gp_result_output(result, i), err);
    gp_result_destroy(result);
    return status;
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "remote",
    .version = GP_VERSION,
    .open = open_model,
    .describe = describe_model,
    .run = run,
    .close = close_model,
    .flags = GP_OPENS_TOGETHER,
};

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
