/* Reads value_inputs.json, which is as it was in 2018: a type, by its number in caffe2.proto, and
 * a shape for each input of the predict net. The first dimension was not looked at, so here it
 * is free; -1 says that of another. */
#include "caffe2.h"

#include <yyjson.h>

enum { MOST_BYTES = 1 << 20 };

/* X(of GraphPipe, TensorProto.DataType of caffe2.proto) */
#define DTYPE_MAP(X)                                                                     \
    X(GP_FLOAT32, 1)                                                                     \
    X(GP_INT32, 2)                                                                       \
    X(GP_UINT8, 3) /* BYTE */                                                            \
    X(GP_BOOL, 5)                                                                        \
    X(GP_UINT8, 6)                                                                       \
    X(GP_INT8, 7)                                                                        \
    X(GP_UINT16, 8)                                                                      \
    X(GP_INT16, 9)                                                                       \
    X(GP_INT64, 10)                                                                      \
    X(GP_FLOAT16, 12)                                                                    \
    X(GP_FLOAT64, 13)

static enum gp_dtype dtype_of(int64_t number)
{
#define DTYPE_CASE(ours, theirs)                                                         \
    if (number == (theirs))                                                              \
        return ours;
    DTYPE_MAP(DTYPE_CASE)
#undef DTYPE_CASE
    return GP_NULL;
}

struct value_place {
    const char *path;
    const char *name;
};

GP_PRINTF(3, 4)
static enum gp_status refuse_at(const struct value_place *at, struct gp_error *err,
                                const char *format, ...)
{
    char words[240];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return gp_error_set(err, GP_INVALID, "%s: \"%.*s\" %s", at->path,
                        gp_cut(at->name, 80), at->name, words);
}

static enum gp_status read_dtype(const struct value_place *at, yyjson_val *value,
                                 enum gp_dtype *dtype, struct gp_error *err)
{
    const int64_t number = yyjson_get_sint(value);
    *dtype = yyjson_is_int(value) ? dtype_of(number) : GP_NULL;
    if (*dtype != GP_NULL)
        return GP_OK;
    if (number == 4)
        return refuse_at(at, err, "has type 4, strings, which this engine does not take");
    return refuse_at(at, err,
                     "should begin with a type by its number in caffe2.proto; 1 is "
                     "float32, 2 int32, 5 bool, 6 uint8, 10 int64, 13 float64");
}

static enum gp_status read_sizes(const struct value_place *at, yyjson_val *array,
                                 struct c2_said *said, struct gp_error *err)
{
    size_t i, n;
    yyjson_val *size;
    uint64_t n_row = gp_dtype_size(said->dtype); /* bytes */
    if (!yyjson_is_arr(array) || yyjson_arr_size(array) > GP_MAX_RANK)
        return refuse_at(at, err, "should end with a shape, a list of at most %u sizes",
                         GP_MAX_RANK);
    yyjson_arr_foreach(array, i, n, size)
    {
        const int64_t number = yyjson_get_sint(size);
        if (!yyjson_is_int(size) || number < -1 || number > INT32_MAX)
            return refuse_at(
                at, err,
                "has a size, shape[%zu], that is no whole number below 2^31, "
                "or -1 for any",
                i);
        said->sizes[i] = i == 0 ? -1 : number;
        if (i > 0 && number > 0)
            n_row *= (uint64_t)number;
        if (n_row > GP_MAX_MESSAGE_BYTES)
            return refuse_at(at, err,
                             "has a shape whose rows are over the limit of a message, %u "
                             "bytes",
                             GP_MAX_MESSAGE_BYTES);
    }
    said->rank = (uint32_t)yyjson_arr_size(array);
    return GP_OK;
}

static enum gp_status read_input(const struct value_place *at, yyjson_val *key,
                                 yyjson_val *value, union plugin_block **kept,
                                 struct c2_said *said, struct gp_error *err)
{
    if (!yyjson_is_arr(value) || yyjson_arr_size(value) != 2)
        return refuse_at(at, err, "should be [TYPE, [SIZE, ...]]");
    if (strlen(at->name) != yyjson_get_len(key))
        return refuse_at(at, err, "has a zero byte in its name");
    said->name = plugin_keep_text(kept, at->name, err);
    if (!said->name)
        return GP_NO_MEMORY;
    const enum gp_status status =
        read_dtype(at, yyjson_arr_get(value, 0), &said->dtype, err);
    return status == GP_OK ? read_sizes(at, yyjson_arr_get(value, 1), said, err) : status;
}

static enum gp_status read_inputs(const char *path, yyjson_val *root,
                                  union plugin_block **kept, struct c2_said_list *list,
                                  struct gp_error *err)
{
    size_t i, n;
    yyjson_val *key, *value;
    if (!yyjson_is_obj(root) || yyjson_obj_size(root) > GP_MAX_TENSORS)
        return gp_error_set(err, GP_INVALID,
                            "%s should be an object of at most %u inputs, "
                            "{\"NAME\": [TYPE, [SIZE, ...]]}",
                            path, GP_MAX_TENSORS);
    list->items = plugin_keep(kept, yyjson_obj_size(root) * sizeof *list->items, err);
    if (!list->items)
        return GP_NO_MEMORY;
    yyjson_obj_foreach(root, i, n, key, value)
    {
        const struct value_place at = {path, yyjson_get_str(key)};
        const enum gp_status status =
            read_input(&at, key, value, kept, &list->items[i], err);
        if (status != GP_OK)
            return status;
        list->n++;
    }
    return GP_OK;
}

enum gp_status c2_said_read(const char *path, union plugin_block **kept,
                            struct c2_said_list *said, struct gp_error *err)
{
    struct plugin_file file;
    yyjson_read_err bad;
    enum gp_status status =
        plugin_map(path, "it should be a value_inputs.json", &file, err);
    if (status == GP_OK && file.size_bytes > MOST_BYTES)
        status = gp_error_set(err, GP_TOO_LARGE, "%s has %zu bytes, over the limit of %d",
                              path, file.size_bytes, MOST_BYTES);
    yyjson_doc *doc = status == GP_OK ? yyjson_read_opts((char *)(uintptr_t)file.bytes,
                                                         file.size_bytes, 0, NULL, &bad)
                                      : NULL;
    said->path = path;
    if (doc)
        status = read_inputs(path, yyjson_doc_get_root(doc), kept, said, err);
    else if (status == GP_OK)
        status = gp_error_set(err, GP_INVALID, "%s is not JSON: %s, at byte %zu", path,
                              bad.msg, bad.pos);
    yyjson_doc_free(doc);
    plugin_unmap(&file);
    return status;
}
