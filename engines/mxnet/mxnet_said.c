/* Reads what a user says of a model's inputs and outputs: the JSON file beside the model,
 * or the value of an option. It is the same JSON as that of the pytorch engine. */
#include "mxnet.h"

#include <yyjson.h>

enum { MOST_BYTES = 1 << 20 };

struct said_place {
    const char *where; /* "model.json" */
    const char *list;  /* "inputs" */
    size_t i;
};

GP_PRINTF(3, 4)
static enum gp_status refuse_at(const struct said_place *at, struct gp_error *err,
                                const char *format, ...)
{
    char words[240];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return gp_error_set(err, GP_INVALID, "%s: %s[%zu]%s", at->where, at->list, at->i,
                        words);
}

static enum gp_status read_text(const struct said_place *at, const char *key,
                                yyjson_val *value, union plugin_block **kept,
                                const char **text, struct gp_error *err)
{
    if (!yyjson_is_str(value))
        return refuse_at(at, err, ".%s should be a text in quotes", key);
    if (strlen(yyjson_get_str(value)) != yyjson_get_len(value))
        return refuse_at(at, err, ".%s has a zero byte in it", key);
    *text = plugin_keep_text(kept, yyjson_get_str(value), err);
    return *text ? GP_OK : GP_NO_MEMORY;
}

static enum gp_status read_dtype(const struct said_place *at, yyjson_val *value,
                                 enum gp_dtype *dtype, struct gp_error *err)
{
    const char *name = yyjson_get_str(value);
    if (!name)
        return refuse_at(at, err, ".dtype should be a text in quotes");
#define DTYPE_CASE(symbol, number, its_name, size)                                       \
    if (strcmp(name, its_name) == 0)                                                     \
        *dtype = symbol;
    GP_DTYPE_MAP(DTYPE_CASE)
#undef DTYPE_CASE
    if (mx_type(*dtype) < 0)
        return refuse_at(at, err,
                         ".dtype is \"%.*s\", which is no type of MXNet; one is float32",
                         gp_cut(name, 40), name);
    return GP_OK;
}

static enum gp_status read_shape(const struct said_place *at, yyjson_val *value,
                                 struct mx_said *said, struct gp_error *err)
{
    size_t i, n;
    yyjson_val *size;
    if (!yyjson_is_arr(value))
        return refuse_at(at, err, ".shape should be a list");
    if (yyjson_arr_size(value) > GP_MAX_RANK)
        return refuse_at(at, err, ".shape has %zu sizes, over the limit of %d",
                         yyjson_arr_size(value), GP_MAX_RANK);
    yyjson_arr_foreach(value, i, n, size)
    {
        const int64_t number = yyjson_get_sint(size);
        if (!yyjson_is_int(size) || number < -1 || number > INT32_MAX)
            return refuse_at(at, err,
                             ".shape[%zu] should be a whole number below 2^31, -1 for "
                             "any size",
                             i);
        said->sizes[i] = number;
    }
    said->rank = (uint32_t)yyjson_arr_size(value);
    said->has_shape = true;
    return GP_OK;
}

static enum gp_status read_item(const struct said_place *at, yyjson_val *object,
                                union plugin_block **kept, struct mx_said *said,
                                struct gp_error *err)
{
    size_t i, n;
    yyjson_val *key, *value;
    *said = (struct mx_said){.name = "", .description = ""};
    if (!yyjson_is_obj(object))
        return refuse_at(at, err, " should be an object");
    yyjson_obj_foreach(object, i, n, key, value)
    {
        const char *word = yyjson_get_str(key);
        enum gp_status status;
        if (strcmp(word, "name") == 0)
            status = read_text(at, word, value, kept, &said->name, err);
        else if (strcmp(word, "description") == 0)
            status = read_text(at, word, value, kept, &said->description, err);
        else if (strcmp(word, "dtype") == 0)
            status = read_dtype(at, value, &said->dtype, err);
        else if (strcmp(word, "shape") == 0)
            status = read_shape(at, value, said, err);
        else
            status = refuse_at(at, err,
                               ".%.*s is not known; there are name, dtype, shape and "
                               "description",
                               gp_cut(word, 40), word);
        if (status != GP_OK)
            return status;
    }
    return GP_OK;
}

static enum gp_status read_list(struct said_place at, yyjson_val *array,
                                union plugin_block **kept, struct mx_said_list *list,
                                struct gp_error *err)
{
    size_t n;
    yyjson_val *object;
    enum gp_status status = GP_OK;
    if (!yyjson_is_arr(array))
        return gp_error_set(err, GP_INVALID, "%s: %s should be a list", at.where,
                            at.list);
    list->is_said = true;
    list->n = yyjson_arr_size(array);
    list->items = plugin_keep(kept, list->n * sizeof *list->items, err);
    if (!list->items)
        return GP_NO_MEMORY;
    yyjson_arr_foreach(array, at.i, n, object)
    {
        if (status == GP_OK)
            status = read_item(&at, object, kept, &list->items[at.i], err);
    }
    return status;
}

static yyjson_doc *parse(const char *text, size_t size_bytes, const char *where,
                         struct gp_error *err)
{
    yyjson_read_err bad;
    if (size_bytes > MOST_BYTES) {
        gp_error_set(err, GP_TOO_LARGE, "%s has %zu bytes, over the limit of %d", where,
                     size_bytes, MOST_BYTES);
        return NULL;
    }
    yyjson_doc *doc =
        yyjson_read_opts((char *)(uintptr_t)text, size_bytes, 0, NULL, &bad);
    if (!doc)
        gp_error_set(err, GP_INVALID, "%s is not JSON: %s, at byte %zu", where, bad.msg,
                     bad.pos);
    return doc;
}

enum gp_status mx_said_read(const char *text, size_t size_bytes, const char *where,
                            union plugin_block **kept, struct mx_said_list *inputs,
                            struct mx_said_list *outputs, struct gp_error *err)
{
    yyjson_doc *doc = parse(text, size_bytes, where, err);
    yyjson_val *root = yyjson_doc_get_root(doc), *key, *value;
    enum gp_status status = doc ? GP_OK : err->status;
    size_t i, n;
    if (doc && !yyjson_is_obj(root))
        status = gp_error_set(err, GP_INVALID, "%s should be an object", where);
    yyjson_obj_foreach(root, i, n, key, value)
    {
        const char *word = yyjson_get_str(key);
        if (status != GP_OK)
            break;
        if (strcmp(word, "inputs") == 0)
            status =
                read_list((struct said_place){where, word, 0}, value, kept, inputs, err);
        else if (strcmp(word, "outputs") == 0)
            status =
                read_list((struct said_place){where, word, 0}, value, kept, outputs, err);
        else
            status = gp_error_set(err, GP_INVALID,
                                  "%s: %.*s is not known; there are inputs and outputs",
                                  where, gp_cut(word, 40), word);
    }
    yyjson_doc_free(doc);
    return status;
}

enum gp_status mx_said_read_list(const char *text, const char *where,
                                 union plugin_block **kept, struct mx_said_list *list,
                                 struct gp_error *err)
{
    yyjson_doc *doc = parse(text, strlen(text), where, err);
    if (!doc)
        return err->status;
    const enum gp_status status =
        read_list((struct said_place){"an option of the mxnet engine", where, 0},
                  yyjson_doc_get_root(doc), kept, list, err);
    yyjson_doc_free(doc);
    return status;
}
