/* Metadata, errors and words as JSON, for people and probes; it has no requests yet. */
#include "server/format.h"

#include "model/model.h"

static void put_ios(struct text *text, const struct gp_io *ios, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        text_puts(text, i ? ",\n    {\"name\": " : "\n    {\"name\": ");
        text_json_puts(text, ios[i].name);
        text_printf(text, ", \"type\": \"%s\", \"shape\": [",
                    gp_dtype_name(ios[i].dtype));
        for (uint32_t k = 0; k < ios[i].rank; k++)
            text_printf(text, k ? ", %lld" : "%lld", (long long)ios[i].shape[k]);
        text_puts(text, "]");
        if (ios[i].flags & GP_IO_OPTIONAL)
            text_puts(text, ", \"optional\": true");
        if (ios[i].description && ios[i].description[0]) {
            text_puts(text, ", \"description\": ");
            text_json_puts(text, ios[i].description);
        }
        text_puts(text, "}");
    }
}

static void write_metadata(struct exchange *x)
{
    const struct gp_metadata *m = &x->model->metadata;
    struct text *text = &x->text;
    const char *const names[] = {"name", "version", "server", "description"};
    const char *const values[] = {m->name, m->version, m->server, m->description};
    for (int i = 0; i < 4; i++) {
        text_printf(text, "%s  \"%s\": ", i ? ",\n" : "{\n", names[i]);
        text_json_puts(text, values[i] ? values[i] : "");
    }
    text_puts(text, ",\n  \"inputs\": [");
    put_ios(text, m->inputs, m->n_inputs);
    text_puts(text, "\n  ],\n  \"outputs\": [");
    put_ios(text, m->outputs, m->n_outputs);
    text_puts(text, "\n  ]\n}\n");
    exchange_answer_text(x, "application/json");
}

static void write_error(struct exchange *x)
{
    text_finish(&x->text);
    text_puts(&x->text, "{\"error\":");
    text_json_puts(&x->text, x->error.message);
    text_printf(&x->text, ",\"status\":\"%s\"}\n", gp_status_name(x->error.status));
    if (x->text.is_short)
        exchange_answer_plainly(x);
    else
        exchange_answer_text(x, "application/json");
}

static void write_word(struct exchange *x, const char *word)
{
    text_printf(&x->text, "{\"status\":\"%s\"}\n", word);
    exchange_answer_text(x, "application/json");
}

const struct format format_json = {
    .write_metadata = write_metadata,
    .write_error = write_error,
    .write_word = write_word,
};
