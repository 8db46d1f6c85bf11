/* GraphPipe's messages (src/wire/) as a format. Answers to a client of 2018 have stand-ins for the
 * types that it does not know. */
#include "server/format.h"

#include "model/model.h"
#include "wire/wire.h"

static bool read_message(struct exchange *x)
{
    return wire_view_request(x->arena, x->body.data, x->body_size, 0, &x->request,
                             &x->error) == GP_OK;
}

static void answer_or_fail(struct exchange *x, enum gp_status status,
                           const struct gp_encoding *encoding)
{
    if (status == GP_OK)
        exchange_answer_message(x, encoding);
    else
        exchange_answer_error(x);
}

static void write_metadata(struct exchange *x, unsigned flags)
{
    struct gp_encoding encoding;
    const enum gp_status status =
        gp_metadata_encode(x->arena, &x->model->metadata, flags, &encoding, &x->error);
    answer_or_fail(x, status, &encoding);
}

static void write_outputs(struct exchange *x, const struct gp_tensor *outputs, uint32_t n,
                          unsigned flags)
{
    struct gp_encoding encoding;
    const enum gp_status status =
        gp_response_encode(x->arena, outputs, n, flags, &encoding, &x->error);
    answer_or_fail(x, status, &encoding);
}

static void write_metadata_today(struct exchange *x)
{
    write_metadata(x, 0);
}

static void write_outputs_today(struct exchange *x, const struct gp_tensor *outputs,
                                uint32_t n)
{
    write_outputs(x, outputs, n, 0);
}

static void write_error_message(struct exchange *x)
{
    struct gp_encoding encoding;
    if (gp_error_encode(x->arena, &x->error, &encoding, NULL) == GP_OK)
        exchange_answer_message(x, &encoding);
    else
        exchange_answer_plainly(x);
}

static void write_word_text(struct exchange *x, const char *word)
{
    text_printf(&x->text, "%s\n", word);
    exchange_answer_text(x, "text/plain; charset=utf-8");
}

const struct format format_graphpipe = {
    .protocol = METRICS_GRAPHPIPE,
    .read_request = read_message,
    .write_metadata = write_metadata_today,
    .write_outputs = write_outputs_today,
    .write_error = write_error_message,
    .write_word = write_word_text,
};

static void write_metadata_2018(struct exchange *x)
{
    write_metadata(x, GP_ENCODE_2018);
}

static void write_outputs_2018(struct exchange *x, const struct gp_tensor *outputs,
                               uint32_t n)
{
    write_outputs(x, outputs, n, GP_ENCODE_2018);
}

const struct format format_2018 = {
    .protocol = METRICS_2018,
    .read_request = read_message,
    .write_metadata = write_metadata_2018,
    .write_outputs = write_outputs_2018,
    .write_error = exchange_answer_plainly,
    .write_word = write_word_text,
};
