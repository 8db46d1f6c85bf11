/* What a model takes and gives. A SavedModel's signatures are in its MetaGraphDef, which
 * only protobuf can read: docs/decisions/tensorflow.md says why it is read by hand. They
 * are maps without an order, so inputs and outputs are sorted by name, as TensorFlow's
 * Python does.
 *
 * Only tensors can travel: an input of another kind makes its signature unusable; an
 * output of another kind is left out with a warning. */
#include "model.h"

#include "../protobuf.h"

#include <stdlib.h>
#include <string.h>

/* Field numbers in meta_graph.proto, tensor_shape.proto and the entries of maps. */
enum { META_SIGNATURES = 5, SIGNATURE_INPUTS = 1, SIGNATURE_OUTPUTS = 2 };
enum { INFO_NAME = 1, INFO_DTYPE = 2, INFO_SHAPE = 3 };
enum { SHAPE_DIM = 2, SHAPE_UNKNOWN_RANK = 3, DIM_SIZE = 1 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };

static const char init_signature[] = "__saved_model_init_op"; /* the loader's own */

static enum gp_status too_many(size_t n, const char *what, struct gp_error *err)
{
    return gp_error_set(err, GP_UNSUPPORTED, "the model has %zu %s, over the limit of %u",
                        n, what, GP_MAX_TENSORS);
}

bool tf_place_find(const struct tf_model *model, const char *name, TF_Output *place)
{
    const struct tf_api *api = &model->tf->api;
    const char *colon = strrchr(name, ':');
    char op[1024];
    char *end = NULL;
    const size_t n = colon ? (size_t)(colon - name) : strlen(name);
    const unsigned long index = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (n >= sizeof op || (colon && (end == colon + 1 || *end)))
        return false;
    memcpy(op, name, n);
    op[n] = '\0';
    place->oper = api->GraphOperationByName(model->graph, op);
    if (!place->oper || index >= (unsigned long)api->OperationNumOutputs(place->oper))
        return false;
    place->index = (int)index;
    return true;
}

enum gp_status tf_place_describe(const struct tf_model *model, TF_Output place,
                                 TF_Status *status, struct gp_io *io, int64_t *shape,
                                 struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    io->dtype = tf_dtype(api->OperationOutputType(place));
    /* asking for the shape with the wrong rank is an error, and success may leave an
     * earlier failure in the status */
    api->SetStatus(status, TF_OK, "");
    const int rank = api->GraphGetTensorNumDims(model->graph, place, status);
    enum gp_status failed = tf_check(model->tf, status, io->name, err);
    if (failed != GP_OK)
        return failed;
    if (rank < 0) {
        io->flags |= GP_IO_ANY_RANK;
        return GP_OK;
    }
    if ((uint32_t)rank > GP_MAX_RANK)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "\"%s\" has rank %d, over the limit of %u", io->name, rank,
                            GP_MAX_RANK);
    io->shape = shape;
    io->rank = (uint32_t)rank;
    api->GraphGetTensorShape(model->graph, place, shape, rank, status);
    return tf_check(model->tf, status, io->name, err);
}

/* --- of a SavedModel -------------------------------------------------------------------
 */

static enum gp_status read_shape(struct tf_model *model, struct pb_bytes message,
                                 struct gp_io *io, struct gp_error *err)
{
    int64_t shape[GP_MAX_RANK];
    struct pb_bytes dim;
    uint32_t rank = 0;
    /* a missing message means an unknown rank */
    if (!message.at || pb_value(message, SHAPE_UNKNOWN_RANK)) {
        io->flags |= GP_IO_ANY_RANK;
        return GP_OK;
    }
    while (pb_next_body(&message, SHAPE_DIM, &dim)) {
        if (rank == GP_MAX_RANK)
            return gp_error_set(err, GP_UNSUPPORTED,
                                "\"%s\" has a rank over the limit of %u", io->name,
                                GP_MAX_RANK);
        const int64_t size = (int64_t)pb_value(dim, DIM_SIZE);
        shape[rank++] = size < 0 ? -1 : size;
    }
    int64_t *kept = plugin_keep(&model->blocks, rank * sizeof *kept, err);
    if (!kept)
        return GP_NO_MEMORY;
    memcpy(kept, shape, rank * sizeof *kept);
    io->shape = kept;
    io->rank = rank;
    return GP_OK;
}

static void leave_out(struct tf_model *model, struct tf_signature *signature,
                      bool is_input, const char *name, const char *why)
{
    char line[256];
    const int n = snprintf(line, sizeof line, "signature \"%.*s\": %s \"%.*s\" %s%.*s",
                           gp_cut(signature->name, 60), signature->name,
                           is_input ? "input" : "output", gp_cut(name, 60), name,
                           is_input ? "" : "is left out: it ", gp_cut(why, 60), why);
    if (is_input && !signature->unusable && n > 0)
        signature->unusable = plugin_keep_text(&model->blocks, line, NULL);
    else if (!is_input && model->listener.log)
        model->listener.log(model->listener.log_context, GP_LOG_WARNING, line);
}

/* One entry of a signature's map into the next place of `ends`. */
static enum gp_status read_end(struct tf_model *model, struct tf_signature *signature,
                               bool is_input, struct pb_bytes entry, struct tf_ends *ends,
                               struct gp_error *err)
{
    const struct pb_bytes key = pb_body(entry, ENTRY_KEY);
    const struct pb_bytes info = pb_body(entry, ENTRY_VALUE);
    const struct pb_bytes tensor = pb_body(info, INFO_NAME);
    struct gp_io *io = &ends->ios[ends->n];
    *io = (struct gp_io){.description = ""};
    io->name = plugin_keep_bytes(&model->blocks, key.at, pb_size(key), err);
    const char *place =
        plugin_keep_bytes(&model->blocks, tensor.at, pb_size(tensor), err);
    if (!io->name || !place)
        return GP_NO_MEMORY;
    const TF_DataType type = (TF_DataType)pb_value(info, INFO_DTYPE);
    io->dtype = tf_dtype(type);
    if (!*place) {
        leave_out(model, signature, is_input, io->name, "is no dense tensor");
        return GP_OK;
    }
    if (io->dtype == GP_NULL) {
        char why[64];
        (void)snprintf(why, sizeof why, "is of type %s, which GraphPipe does not have",
                       tf_type_name(type));
        leave_out(model, signature, is_input, io->name, why);
        return GP_OK;
    }
    if (!tf_place_find(model, place, &ends->places[ends->n]))
        return gp_error_set(err, GP_INVALID,
                            "signature \"%s\" names the tensor \"%s\", which the graph "
                            "does not have",
                            signature->name, place);
    const enum gp_status status = read_shape(model, pb_body(info, INFO_SHAPE), io, err);
    ends->n += status == GP_OK;
    return status;
}

/* Sorts by name; places go along. */
static void sort(struct tf_ends *ends)
{
    for (uint32_t i = 1; i < ends->n; i++)
        for (uint32_t k = i;
             k > 0 && strcmp(ends->ios[k - 1].name, ends->ios[k].name) > 0; k--) {
            const struct gp_io io = ends->ios[k];
            const TF_Output place = ends->places[k];
            ends->ios[k] = ends->ios[k - 1];
            ends->places[k] = ends->places[k - 1];
            ends->ios[k - 1] = io;
            ends->places[k - 1] = place;
        }
}

static bool reserve(struct tf_model *model, struct tf_ends *ends, size_t n,
                    struct gp_error *err)
{
    ends->ios = plugin_keep(&model->blocks, n * sizeof *ends->ios, err);
    ends->places =
        ends->ios ? plugin_keep(&model->blocks, n * sizeof *ends->places, err) : NULL;
    return ends->places != NULL;
}

static enum gp_status read_ends(struct tf_model *model, struct tf_signature *signature,
                                struct pb_bytes message, uint64_t section,
                                struct tf_ends *ends, struct gp_error *err)
{
    const bool is_input = section == SIGNATURE_INPUTS;
    struct pb_bytes rest = message, entry;
    size_t n = 0;
    while (pb_next_body(&rest, section, &entry))
        n++;
    if (n > GP_MAX_TENSORS)
        return too_many(n, is_input ? "inputs" : "outputs", err);
    if (!reserve(model, ends, n, err))
        return GP_NO_MEMORY;
    enum gp_status status = GP_OK;
    while (status == GP_OK && pb_next_body(&message, section, &entry))
        status = read_end(model, signature, is_input, entry, ends, err);
    sort(ends);
    return status;
}

static enum gp_status read_signature(struct tf_model *model, struct pb_bytes entry,
                                     struct tf_signature *signature, struct gp_error *err)
{
    const struct pb_bytes key = pb_body(entry, ENTRY_KEY);
    const struct pb_bytes message = pb_body(entry, ENTRY_VALUE);
    signature->name = plugin_keep_bytes(&model->blocks, key.at, pb_size(key), err);
    if (!signature->name)
        return GP_NO_MEMORY;
    enum gp_status status =
        read_ends(model, signature, message, SIGNATURE_INPUTS, &signature->inputs, err);
    if (status == GP_OK)
        status = read_ends(model, signature, message, SIGNATURE_OUTPUTS,
                           &signature->outputs, err);
    if (status == GP_OK && signature->outputs.n == 0 && !signature->unusable)
        leave_out(model, signature, true, "", "has no output that can be sent");
    if (status == GP_OK && !signature->unusable)
        signature->keeps_inputs = tf_state_is_kept(model, &signature->outputs);
    return status;
}

enum gp_status tf_signature_read(struct tf_model *model, const TF_Buffer *meta_graph,
                                 struct gp_error *err)
{
    const struct pb_bytes message = pb_view(meta_graph->data, meta_graph->length);
    struct pb_bytes rest = message, entry;
    size_t n = 0;
    while (pb_next_body(&rest, META_SIGNATURES, &entry))
        n++;
    model->signatures = plugin_keep(&model->blocks, n * sizeof *model->signatures, err);
    if (!model->signatures)
        return GP_NO_MEMORY;
    rest = message;
    enum gp_status status = GP_OK;
    while (status == GP_OK && pb_next_body(&rest, META_SIGNATURES, &entry)) {
        if (pb_is_text(pb_body(entry, ENTRY_KEY), init_signature))
            continue;
        status =
            read_signature(model, entry, &model->signatures[model->n_signatures], err);
        model->n_signatures += status == GP_OK;
    }
    return status;
}

/* --- of a GraphDef ---------------------------------------------------------------------
 */

static bool is_placeholder(const char *type)
{
    return strcmp(type, "Placeholder") == 0 || strcmp(type, "PlaceholderV2") == 0 ||
           strcmp(type, "PlaceholderWithDefault") == 0;
}

/* Adds output `index` of the operation, as "op:index". */
static enum gp_status add_end(struct tf_model *model, TF_Operation *op, int index,
                              struct tf_ends *ends, struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    const TF_Output place = {op, index};
    struct gp_io *io = &ends->ios[ends->n];
    char name[1100];
    if (ends->n == GP_MAX_TENSORS)
        return too_many(ends->n + 1, "inputs or outputs", err);
    (void)snprintf(name, sizeof name, "%.*s:%d", gp_cut(api->OperationName(op), 1000),
                   api->OperationName(op), index);
    int64_t *shape = plugin_keep(&model->blocks, GP_MAX_RANK * sizeof *shape, err);
    *io = (struct gp_io){.description = "",
                         .name = plugin_keep_text(&model->blocks, name, err)};
    if (!shape || !io->name)
        return GP_NO_MEMORY;
    if (strcmp(api->OperationOpType(op), "PlaceholderWithDefault") == 0)
        io->flags = GP_IO_OPTIONAL;
    ends->places[ends->n++] = place;
    return tf_place_describe(model, place, model->status, io, shape, err);
}

/* Whatever nothing consumes, except constants and operations that run for their effect:
 * such an operation, an assignment for example, has another one run after it. */
static enum gp_status add_unconsumed(struct tf_model *model, TF_Operation *op,
                                     struct tf_ends *ends, struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    const int n = api->OperationNumOutputs(op);
    if (strcmp(api->OperationOpType(op), "Const") == 0 ||
        api->OperationNumControlOutputs(op) > 0)
        return GP_OK;
    for (int i = 0; i < n; i++)
        if (api->OperationOutputNumConsumers((TF_Output){op, i}) > 0)
            return GP_OK;
    for (int i = 0; i < n; i++) {
        if (tf_dtype(api->OperationOutputType((TF_Output){op, i})) == GP_NULL)
            continue;
        const enum gp_status status = add_end(model, op, i, ends, err);
        if (status != GP_OK)
            return status;
    }
    return GP_OK;
}

enum gp_status tf_signature_make(struct tf_model *model, struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    struct tf_signature *signature = plugin_keep(&model->blocks, sizeof *signature, err);
    if (!signature || !reserve(model, &signature->inputs, GP_MAX_TENSORS, err) ||
        !reserve(model, &signature->outputs, GP_MAX_TENSORS, err))
        return GP_NO_MEMORY;
    signature->name = "";
    enum gp_status status = GP_OK;
    size_t at = 0;
    for (TF_Operation *op = api->GraphNextOperation(model->graph, &at);
         op && status == GP_OK; op = api->GraphNextOperation(model->graph, &at))
        status = is_placeholder(api->OperationOpType(op))
                     ? add_end(model, op, 0, &signature->inputs, err)
                     : add_unconsumed(model, op, &signature->outputs, err);
    if (status != GP_OK)
        return status;
    for (uint32_t i = 0; i < signature->inputs.n; i++)
        if (signature->inputs.ios[i].dtype == GP_NULL)
            return gp_error_set(
                err, GP_UNSUPPORTED,
                "input \"%s\" is of type %s, which GraphPipe does not have",
                signature->inputs.ios[i].name,
                tf_type_name(api->OperationOutputType(signature->inputs.places[i])));
    if (signature->outputs.n == 0)
        return gp_error_set(
            err, GP_UNSUPPORTED,
            "the graph has no output that can be sent: no operation whose "
            "tensors nobody consumes");
    signature->keeps_inputs = tf_state_is_kept(model, &signature->outputs);
    model->signatures = signature;
    model->n_signatures = 1;
    return GP_OK;
}

/* --- choosing --------------------------------------------------------------------------
 */

const struct tf_signature *tf_signature_find(const struct tf_model *model,
                                             const char *name, struct gp_error *err)
{
    char list[300] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < model->n_signatures; i++) {
        const struct tf_signature *signature = &model->signatures[i];
        if (strcmp(signature->name, name) == 0) {
            if (!signature->unusable)
                return signature;
            gp_error_set(err, GP_UNSUPPORTED, "%s", signature->unusable);
            return NULL;
        }
        const int n = snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                               signature->name);
        used = n > 0 && used + (size_t)n < sizeof list ? used + (size_t)n : used;
        list[used] = '\0';
    }
    gp_error_set(err, GP_INVALID, "the model has no signature \"%.*s\"; it has %s",
                 gp_cut(name, 100), name, model->is_saved_model && *list ? list : "none");
    return NULL;
}
