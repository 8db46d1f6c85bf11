/* Reads the three kinds of message, each from its root table down. Nothing else is looked
 * at: no unknown fields, no errors after the first, no string_val of numbers. */
#include "wire/tables.h"
#include "wire/try.h"
#include "wire/wire.h"
#include "wire/wire_read.h"

#include "base/checked.h"
#include "base/names.h"

enum { EXPANSION = 8, EXPANSION_MORE_BYTES = 1 << 20 };

size_t wire_expansion_limit(size_t size_bytes)
{
    size_t limit;
    return checked_mul(size_bytes, EXPANSION, &limit) &&
                   checked_add(limit, EXPANSION_MORE_BYTES, &limit)
               ? limit
               : SIZE_MAX;
}

static struct wire_reader reader_over(struct gp_arena *arena, const void *bytes,
                                      size_t size_bytes, size_t max_expanded_bytes,
                                      struct gp_error *err)
{
    const size_t limit = wire_expansion_limit(size_bytes);
    return (struct wire_reader){
        .message = {.bytes = bytes, .size_bytes = size_bytes, .err = err},
        .arena = arena,
        .max_expanded_bytes = max_expanded_bytes && max_expanded_bytes < limit
                                  ? max_expanded_bytes
                                  : limit};
}

/* Names the inputs. The batcher of 2018 sends every name twice, so extra names are
 * accepted if they repeat earlier ones. */
static enum gp_status name_inputs(struct wire_reader *reader,
                                  const struct flat_table *infer,
                                  const char *const *names, uint32_t n_names,
                                  struct gp_tensor *tensors, uint32_t n_tensors)
{
    const struct flat_message *message = &reader->message;
    const struct flat_place place = flat_place_of(infer, "input_names");
    if (n_names == 0)
        return GP_OK;
    if (n_names < n_tensors)
        return flat_refuse(message, &place, GP_MALFORMED,
                           ": %u input names for %u tensors", n_names, n_tensors);
    const uint32_t *first = NULL;
    if (n_names > n_tensors) {
        first = names_find_first(reader->arena, names, n_names);
        if (!first)
            return gp_error_set(message->err, GP_NO_MEMORY, "no memory for %u names",
                                n_names);
    }
    for (uint32_t i = n_tensors; i < n_names; i++)
        if (first[i] >= n_tensors)
            return flat_refuse(
                message, &place, GP_MALFORMED,
                ": %u input names for %u tensors, and \"%.*s\" repeats none "
                "of those before it",
                n_names, n_tensors, gp_cut(names[i], 100), names[i]);
    for (uint32_t i = 0; i < n_tensors; i++)
        tensors[i].name = names[i];
    return GP_OK;
}

static enum gp_status read_infer(struct wire_reader *reader,
                                 const struct flat_table *infer, struct gp_call *call)
{
    const char **input_names, **output_names;
    struct gp_tensor *inputs;
    uint32_t n_names;
    GP_TRY(wire_read_text(reader, infer, INFER_CONFIG, "config", &call->config));
    GP_TRY(wire_read_names(reader, infer, INFER_INPUT_NAMES, "input_names", &input_names,
                           &n_names));
    GP_TRY(wire_read_tensors(reader, infer, INFER_INPUT_TENSORS, "input_tensors", &inputs,
                             &call->n_inputs));
    GP_TRY(wire_read_names(reader, infer, INFER_OUTPUT_NAMES, "output_names",
                           &output_names, &call->n_outputs));
    GP_TRY(name_inputs(reader, infer, input_names, n_names, inputs, call->n_inputs));
    call->inputs = inputs;
    call->output_names = output_names;
    return GP_OK;
}

enum gp_status wire_view_request(struct gp_arena *arena, const void *bytes,
                                 size_t size_bytes, size_t max_expanded_bytes,
                                 struct gp_request *request, struct gp_error *err)
{
    struct wire_reader reader =
        reader_over(arena, bytes, size_bytes, max_expanded_bytes, err);
    struct flat_table root, infer;
    uint8_t tag = 0;
    bool is_present;
    *request = (struct gp_request){.call.size_bytes = sizeof request->call};
    GP_TRY(flat_root(&reader.message, "request", &root));
    GP_TRY(flat_u8(&root, REQUEST_REQ_TYPE, "req_type", &tag));
    GP_TRY(flat_inner(&root, REQUEST_REQ, "req", &infer, &is_present));
    if (tag == REQ_METADATA) {
        request->kind = GP_REQUEST_METADATA;
        return GP_OK;
    }
    if (tag > REQ_METADATA) {
        const struct flat_place place = flat_place_of(&root, "req_type");
        return flat_refuse(&reader.message, &place, GP_MALFORMED,
                           " is %u; InferRequest is 1, MetadataRequest 2", tag);
    }
    if (tag != REQ_INFER || !is_present) {
        const struct flat_place place = flat_place_of(&root, "req");
        return flat_refuse(
            &reader.message, &place, GP_MALFORMED,
            " is absent; an InferRequest or a MetadataRequest belongs there");
    }
    request->kind = GP_REQUEST_INFER;
    return read_infer(&reader, &infer, &request->call);
}

/* Makes all tensors readable, each as its own type. */
static enum gp_status settle_all(struct gp_arena *arena, const struct gp_tensor *views,
                                 uint32_t n, const struct gp_tensor **tensors,
                                 struct gp_error *err)
{
    struct wire_copies copies = {.arena = arena, .payloads = arena};
    struct gp_tensor *list;
    GP_TRY(wire_copy_list(arena, views, n, &list, err));
    for (uint32_t i = 0; i < n; i++)
        GP_TRY(wire_settle(&copies, &list[i], list[i].dtype, err));
    *tensors = list;
    return GP_OK;
}

enum gp_status gp_request_decode(struct gp_arena *arena, const void *bytes,
                                 size_t size_bytes, size_t max_expanded_bytes,
                                 struct gp_request *request, struct gp_error *err)
{
    struct gp_call *call = &request->call;
    GP_TRY(wire_view_request(arena, bytes, size_bytes, max_expanded_bytes, request, err));
    return settle_all(arena, call->inputs, call->n_inputs, &call->inputs, err);
}

static enum gp_status read_first_error(struct wire_reader *reader,
                                       const struct flat_table *root,
                                       struct gp_response *response)
{
    struct flat_vector errors;
    struct flat_table error;
    GP_TRY(flat_vector(root, RESPONSE_ERRORS, "errors", 4, GP_MAX_TENSORS, &errors));
    if (errors.n == 0)
        return GP_OK;
    GP_TRY(flat_vector_table(&errors, 0, &error));
    GP_TRY(flat_i64(&error, ERROR_CODE, "code", &response->error_code));
    return wire_read_text(reader, &error, ERROR_MESSAGE, "message",
                          &response->error_message);
}

enum gp_status gp_response_decode(struct gp_arena *arena, const void *bytes,
                                  size_t size_bytes, size_t max_expanded_bytes,
                                  struct gp_response *response, struct gp_error *err)
{
    struct wire_reader reader =
        reader_over(arena, bytes, size_bytes, max_expanded_bytes, err);
    struct flat_table root;
    struct gp_tensor *outputs;
    *response = (struct gp_response){0};
    GP_TRY(flat_root(&reader.message, "response", &root));
    GP_TRY(read_first_error(&reader, &root, response));
    if (response->error_message)
        return GP_OK;
    GP_TRY(wire_read_tensors(&reader, &root, RESPONSE_OUTPUT_TENSORS, "output_tensors",
                             &outputs, &response->n_outputs));
    return settle_all(arena, outputs, response->n_outputs, &response->outputs, err);
}

static enum gp_status read_io(struct wire_reader *reader, const struct flat_table *table,
                              struct gp_io *io)
{
    *io = (struct gp_io){0};
    GP_TRY(wire_read_name(reader, table, IO_NAME, "name", &io->name));
    GP_TRY(
        wire_read_text(reader, table, IO_DESCRIPTION, "description", &io->description));
    GP_TRY(wire_read_shape(reader, table, IO_SHAPE, -1, &io->shape, &io->rank));
    return wire_read_dtype(table, IO_TYPE, &io->dtype);
}

static enum gp_status read_ios(struct wire_reader *reader, const struct flat_table *root,
                               unsigned slot, const char *field, const struct gp_io **ios,
                               uint32_t *n)
{
    struct flat_vector vector;
    enum gp_status status;
    GP_TRY(flat_vector(root, slot, field, 4, GP_MAX_TENSORS, &vector));
    struct gp_io *array = wire_array(reader, vector.n, sizeof *array, &status);
    for (size_t i = 0; i < vector.n && status == GP_OK; i++) {
        struct flat_table table;
        status = flat_vector_table(&vector, i, &table);
        if (status == GP_OK)
            status = read_io(reader, &table, &array[i]);
    }
    *ios = array;
    *n = (uint32_t)vector.n;
    return status;
}

enum gp_status gp_metadata_decode(struct gp_arena *arena, const void *bytes,
                                  size_t size_bytes, struct gp_metadata *metadata,
                                  struct gp_error *err)
{
    struct wire_reader reader = reader_over(arena, bytes, size_bytes, 0, err);
    struct flat_table root;
    *metadata = (struct gp_metadata){0};
    GP_TRY(flat_root(&reader.message, "metadata", &root));
    GP_TRY(wire_read_text(&reader, &root, METADATA_NAME, "name", &metadata->name));
    GP_TRY(
        wire_read_text(&reader, &root, METADATA_VERSION, "version", &metadata->version));
    GP_TRY(wire_read_text(&reader, &root, METADATA_SERVER, "server", &metadata->server));
    GP_TRY(wire_read_text(&reader, &root, METADATA_DESCRIPTION, "description",
                          &metadata->description));
    GP_TRY(read_ios(&reader, &root, METADATA_INPUTS, "inputs", &metadata->inputs,
                    &metadata->n_inputs));
    return read_ios(&reader, &root, METADATA_OUTPUTS, "outputs", &metadata->outputs,
                    &metadata->n_outputs);
}
