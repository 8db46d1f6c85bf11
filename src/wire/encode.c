/* Writes the five kinds of message. Every vector is written, even if it is empty, since
 * readers of 2018 fail on absent ones. */
#include "wire/tables.h"
#include "wire/try.h"
#include "wire/wire_write.h"

#include "base/text.h"

#include <string.h>

static const struct flat_layout REQUEST = {4, {8, 12, 8, 4}};
static const struct flat_layout INFER = {4, {12, 20, 4, 8, 12, 16}};
static const struct flat_layout METADATA_REQUEST = {4, {4, 4}};
static const struct flat_layout RESPONSE = {4, {8, 12, 4, 8}};
static const struct flat_layout ERROR = {8, {8, 16, 8, 4}};
static const struct flat_layout IO = {4, {12, 20, 4, 8, 12, 16}};
static const struct flat_layout METADATA = {4, {16, 28, 4, 8, 12, 16, 20, 24}};

/* The offset of the root table, and that table. */
static size_t put_root(struct flat_writer *flat, const struct flat_layout *layout)
{
    size_t vtable_at = 0;
    flat_put_zeros(flat, 4);
    const size_t table = flat_put_table(flat, layout, &vtable_at);
    flat_link(flat, 0, table);
    return table;
}

/* A Request that holds a table of kind `tag`; returns that table. */
static size_t put_request(struct flat_writer *flat, uint8_t tag,
                          const struct flat_layout *layout)
{
    size_t vtable_at = 0;
    const size_t request = put_root(flat, &REQUEST);
    const size_t table = flat_put_table(flat, layout, &vtable_at);
    flat_set(flat, flat_field(&REQUEST, request, REQUEST_REQ_TYPE), &tag, sizeof tag);
    flat_link(flat, flat_field(&REQUEST, request, REQUEST_REQ), table);
    return table;
}

static void put_text(struct flat_writer *flat, size_t from, const char *text)
{
    flat_put_string(flat, from, text ? text : "", text ? strlen(text) : 0);
}

/* Writes a description with anything escaped that is not UTF-8, which readers refuse: the
 * name of a file may hold any bytes. Both passes write the same, so nothing may fail
 * here. */
static void put_about(struct flat_writer *flat, size_t from, const char *text)
{
    char piece[GP_TEXT_PIECE_BYTES];
    size_t size = text ? strlen(text) : 0, shown = 0;
    if (text_is_utf8(text ? text : "", size)) {
        put_text(flat, from, text);
        return;
    }
    for (size_t at = 0; at < size; shown += strlen(piece))
        at += gp_text_piece(piece, text + at, size - at);
    flat_put_head(flat, from, shown, sizeof(uint32_t));
    for (size_t at = 0; at < size; flat_put(flat, piece, strlen(piece)))
        at += gp_text_piece(piece, text + at, size - at);
    flat_put_zeros(flat, 1);
}

static bool is_named(const struct gp_tensor *tensor)
{
    return tensor->name && tensor->name[0];
}

static void put_infer(struct wire_writer *writer, const void *message)
{
    const struct gp_call *call = message;
    struct flat_writer *flat = &writer->flat;
    const size_t infer = put_request(flat, REQ_INFER, &INFER);
    const uint32_t n_names =
        call->n_inputs && is_named(call->inputs) ? call->n_inputs : 0;
    put_text(flat, flat_field(&INFER, infer, INFER_CONFIG), call->config);

    size_t at =
        flat_put_offsets(flat, flat_field(&INFER, infer, INFER_INPUT_NAMES), n_names);
    for (uint32_t i = 0; i < n_names; i++, at += 4)
        put_text(flat, at, call->inputs[i].name);
    wire_put_tensors(writer, flat_field(&INFER, infer, INFER_INPUT_TENSORS));
    at = flat_put_offsets(flat, flat_field(&INFER, infer, INFER_OUTPUT_NAMES),
                          call->n_outputs);
    for (uint32_t i = 0; i < call->n_outputs; i++, at += 4)
        put_text(flat, at, call->output_names[i]);
}

static enum gp_status check_names(const struct gp_call *call, struct gp_error *err)
{
    uint32_t n_named = 0;
    size_t names_size = 0;
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        GP_TRY(wire_check_name(call->inputs[i].name, "the name of input", i, &names_size,
                               err));
        n_named += is_named(&call->inputs[i]);
    }
    if (n_named && n_named != call->n_inputs)
        return gp_error_set(err, GP_INVALID,
                            "%u of %u inputs have names; name all of them, or none",
                            n_named, call->n_inputs);
    if (call->n_outputs > GP_MAX_TENSORS)
        return gp_error_set(err, GP_INVALID, "%u output names; the limit is %u",
                            call->n_outputs, GP_MAX_TENSORS);
    if (call->n_outputs && !call->output_names)
        return gp_error_set(err, GP_INVALID, "%u output names at NULL", call->n_outputs);
    for (uint32_t i = 0; i < call->n_outputs; i++)
        GP_TRY(
            wire_check_name(call->output_names[i], "output name", i, &names_size, err));
    return GP_OK;
}

enum gp_status gp_request_encode(struct gp_arena *arena, const struct gp_call *call,
                                 struct gp_encoding *out, struct gp_error *err)
{
    struct wire_writer writer;
    GP_TRY(wire_check_tensors(call->inputs, call->n_inputs, "input", err));
    GP_TRY(check_names(call, err));
    GP_TRY(wire_writer_init(&writer, arena, call->inputs, call->n_inputs, err));
    return wire_finish(&writer, put_infer, call, out);
}

static void put_metadata_request(struct wire_writer *writer, const void *message)
{
    (void)message;
    (void)put_request(&writer->flat, REQ_METADATA, &METADATA_REQUEST);
}

enum gp_status gp_metadata_request_encode(struct gp_arena *arena, struct gp_encoding *out,
                                          struct gp_error *err)
{
    struct wire_writer writer;
    GP_TRY(wire_writer_init(&writer, arena, NULL, 0, err));
    return wire_finish(&writer, put_metadata_request, NULL, out);
}

static void put_response(struct wire_writer *writer, const void *message)
{
    const struct gp_error *failure = message; /* NULL: none */
    struct flat_writer *flat = &writer->flat;
    const size_t response = put_root(flat, &RESPONSE);
    wire_put_tensors(writer, flat_field(&RESPONSE, response, RESPONSE_OUTPUT_TENSORS));
    const size_t errors = flat_put_offsets(
        flat, flat_field(&RESPONSE, response, RESPONSE_ERRORS), failure != NULL);
    if (!failure)
        return;
    const int64_t code = failure->status;
    size_t vtable_at = 0;
    const size_t table = flat_put_table(flat, &ERROR, &vtable_at);
    flat_link(flat, errors, table);
    flat_set(flat, flat_field(&ERROR, table, ERROR_CODE), &code, sizeof code);
    put_text(flat, flat_field(&ERROR, table, ERROR_MESSAGE), failure->message);
}

enum gp_status gp_response_encode(struct gp_arena *arena, const struct gp_tensor *outputs,
                                  uint32_t n_outputs, unsigned flags,
                                  struct gp_encoding *out, struct gp_error *err)
{
    struct wire_writer writer;
    GP_TRY(wire_check_tensors(outputs, n_outputs, "output", err));
    if (flags & GP_ENCODE_2018)
        GP_TRY(wire_tensors_of_2018(arena, &outputs, n_outputs, err));
    GP_TRY(wire_writer_init(&writer, arena, outputs, n_outputs, err));
    return wire_finish(&writer, put_response, NULL, out);
}

enum gp_status gp_error_encode(struct gp_arena *arena, const struct gp_error *failure,
                               struct gp_encoding *out, struct gp_error *err)
{
    struct wire_writer writer;
    struct gp_error clean;
    /* Readers of 2018 fail on text that is not UTF-8, which a caller may have passed. */
    gp_error_set(&clean, failure->status, "%s", failure->message);
    GP_TRY(wire_writer_init(&writer, arena, NULL, 0, err));
    return wire_finish(&writer, put_response, &clean, out);
}

struct metadata_message {
    const struct gp_metadata *metadata;
    bool is_for_2018;
};

static void put_ios(struct flat_writer *flat, size_t from, const struct gp_io *ios,
                    uint32_t n, bool is_for_2018, size_t *vtable_at)
{
    size_t offset_at = flat_put_offsets(flat, from, n);
    for (uint32_t i = 0; i < n; i++, offset_at += 4) {
        const struct gp_io *io = &ios[i];
        const uint8_t type =
            (uint8_t)(is_for_2018 ? wire_dtype_of_2018(io->dtype) : io->dtype);
        const size_t table = flat_put_table(flat, &IO, vtable_at);
        flat_link(flat, offset_at, table);
        put_text(flat, flat_field(&IO, table, IO_NAME), io->name);
        put_about(flat, flat_field(&IO, table, IO_DESCRIPTION), io->description);
        flat_put_head(flat, flat_field(&IO, table, IO_SHAPE), io->rank, 8);
        flat_put(flat, io->shape, io->rank * sizeof *io->shape);
        flat_set(flat, flat_field(&IO, table, IO_TYPE), &type, sizeof type);
    }
}

static void put_metadata(struct wire_writer *writer, const void *message)
{
    const struct metadata_message *said = message;
    const struct gp_metadata *metadata = said->metadata;
    struct flat_writer *flat = &writer->flat;
    const size_t root = put_root(flat, &METADATA);
    put_about(flat, flat_field(&METADATA, root, METADATA_NAME), metadata->name);
    put_about(flat, flat_field(&METADATA, root, METADATA_VERSION), metadata->version);
    put_about(flat, flat_field(&METADATA, root, METADATA_SERVER), metadata->server);
    put_about(flat, flat_field(&METADATA, root, METADATA_DESCRIPTION),
              metadata->description);
    size_t vtable_at = 0;
    put_ios(flat, flat_field(&METADATA, root, METADATA_INPUTS), metadata->inputs,
            metadata->n_inputs, said->is_for_2018, &vtable_at);
    put_ios(flat, flat_field(&METADATA, root, METADATA_OUTPUTS), metadata->outputs,
            metadata->n_outputs, said->is_for_2018, &vtable_at);
}

enum gp_status gp_metadata_encode(struct gp_arena *arena,
                                  const struct gp_metadata *metadata, unsigned flags,
                                  struct gp_encoding *out, struct gp_error *err)
{
    const struct metadata_message message = {metadata, (flags & GP_ENCODE_2018) != 0};
    struct wire_writer writer;
    size_t names_size = 0;
    GP_TRY(
        wire_check_ios(metadata->inputs, metadata->n_inputs, "input", &names_size, err));
    GP_TRY(wire_check_ios(metadata->outputs, metadata->n_outputs, "output", &names_size,
                          err));
    GP_TRY(wire_writer_init(&writer, arena, NULL, 0, err));
    return wire_finish(&writer, put_metadata, &message, out);
}
