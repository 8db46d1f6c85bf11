#include "server/models_json.h"

#include "base/clock.h"
#include "wire/metadata_json.h"

#include <inttypes.h>

struct list {
    struct text *text;
    bool has_some;
};

static void put_error(struct text *text, const struct gp_error *error)
{
    if (error->status == GP_OK)
        return;
    text_puts(text, ", \"error\": ");
    text_json_puts(text, error->message);
}

static void put_versions(struct text *text, const struct model_entry *entry)
{
    text_puts(text, ",\n      \"versions\": [");
    for (const struct model_version *v = entry->versions; v; v = v->next) {
        text_printf(text, "%s{\"version\": %" PRIu64 ", \"state\": \"%s\"",
                    v == entry->versions ? "" : ", ", v->number,
                    model_state_name(v->state));
        if (v->model)
            text_printf(text, ", \"load_ms\": %lld",
                        (long long)(v->model->load_ns / CLOCK_MS));
        if (v->model && v->model->warm_up_ns)
            text_printf(text, ", \"warm_up_ms\": %lld",
                        (long long)(v->model->warm_up_ns / CLOCK_MS));
        put_error(text, &v->error);
        text_puts(text, "}");
    }
    text_puts(text, "]");
}

static void put_aliases(struct text *text, const struct gp_model_options *options)
{
    if (!options->n_aliases)
        return;
    text_puts(text, ",\n      \"aliases\": {");
    for (size_t i = 0; i < options->n_aliases; i++) {
        text_puts(text, i ? ", " : "");
        text_json_puts(text, options->aliases[i].name);
        text_printf(text, ": %" PRIu64, options->aliases[i].version);
    }
    text_puts(text, "}");
}

static void put_entry(const struct model_entry *entry, void *arg)
{
    struct list *list = arg;
    struct text *text = list->text;
    const struct model_version *served = models_newest(entry);
    const struct model *model = served ? served->model : NULL;
    text_puts(text, list->has_some ? ",\n    {\"name\": " : "\n    {\"name\": ");
    list->has_some = true;
    text_json_puts(text, entry->name);
    text_printf(text, ", \"state\": \"%s\"",
                model_state_name(entry->is_unloaded ? MODEL_UNLOADED
                                 : served           ? served->state
                                                    : MODEL_FAILED));
    if (model)
        text_printf(text, ", \"version\": %" PRIu64, model->version);
    put_error(text, &entry->error);
    put_versions(text, entry);
    put_aliases(text, entry->options);
    if (model && model->batch_rules.max_rows)
        text_printf(text, ",\n      \"max_batch\": %" PRIu64,
                    model->batch_rules.max_rows);
    if (model) {
        metadata_write_ios(text, "inputs", model->metadata.inputs,
                           model->metadata.n_inputs);
        metadata_write_ios(text, "outputs", model->metadata.outputs,
                           model->metadata.n_outputs);
    }
    text_puts(text, "}");
}

static void put_default(struct text *text, struct models *models)
{
    pthread_mutex_lock(&models->lock);
    if (models->default_name) {
        text_puts(text, ",\n  \"default\": ");
        text_json_puts(text, models->default_name);
    }
    pthread_mutex_unlock(&models->lock);
}

void models_write_json(struct gp_server *server, struct text *text)
{
    struct list list = {.text = text};
    text_puts(text, "{\n  \"server\": \"graphpipe " GP_VERSION "\"");
    put_default(text, &server->models);
    text_puts(text, ",\n  \"models\": [");
    models_list(&server->models, put_entry, &list);
    text_puts(text, "\n  ]\n}\n");
}
