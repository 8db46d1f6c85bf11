/* Metadata, errors and words as JSON, for people and probes; it has no requests yet. */
#include "server/format.h"

#include "model/model.h"
#include "wire/metadata_json.h"

static void write_metadata(struct exchange *x)
{
    metadata_write_json(&x->text, &x->model->metadata);
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
    text_puts(&x->text, "{\"status\":");
    text_json_puts(&x->text, word);
    text_puts(&x->text, "}\n");
    exchange_answer_text(x, "application/json");
}

const struct format format_json = {
    .protocol = METRICS_JSON,
    .write_metadata = write_metadata,
    .write_error = write_error,
    .write_word = write_word,
};
