/* Reads a CNTKv2 file, a protobuf of dictionaries within dictionaries. CNTK's C interface
 * tells neither the types of inputs nor their dynamic axes; and it makes arrays of the
 * size that the file claims before it looks for their elements, so these are compared
 * first. */
#include "cntk.h"

#include "../protobuf.h"

enum { MOST_DEPTH = 24, MOST_INPUTS = 1 << 16 };

/* Fields of CNTK.proto */
enum { DICTIONARY_ENTRY = 2, ENTRY_KEY = 1, ENTRY_VALUE = 2, VECTOR_VALUE = 1 };
enum {
    VALUE_BOOL = 3,
    VALUE_SIZE = 5,
    VALUE_STRING = 8,
    VALUE_VECTOR = 11,
    VALUE_DICTIONARY = 12,
    VALUE_ARRAY = 13
};
enum { ARRAY_TYPE = 1, ARRAY_SHAPE = 3, ARRAY_FLOATS = 4, ARRAY_LAST_VALUES = 7 };
enum { KIND_INPUT = 0, TYPE_FLOAT = 1, TYPE_DOUBLE = 2 };

struct file_reader {
    const char *path;
    struct gp_error *err;
    struct pb_bytes uid; /* of the variable or function that is looked at */
    uint32_t depth;
};

/* The value of a key, of which the last counts. */
static struct pb_bytes find_value(struct pb_bytes dictionary, const char *key)
{
    struct pb_bytes found = {NULL, NULL}, entry;
    while (pb_next_body(&dictionary, DICTIONARY_ENTRY, &entry))
        if (pb_is_text(pb_body(entry, ENTRY_KEY), key))
            found = pb_body(entry, ENTRY_VALUE);
    return found;
}

static struct pb_bytes find_text(struct pb_bytes dictionary, const char *key)
{
    return pb_body(find_value(dictionary, key), VALUE_STRING);
}

/* For "%.*s", with name_size. */
static const char *name_of(struct pb_bytes text)
{
    return text.at ? (const char *)text.at : "";
}

static int name_size(struct pb_bytes text)
{
    return (int)gp_text_cut(name_of(text), pb_size(text), 80);
}

/* --- arrays --- */

static enum gp_status refuse_array(const struct file_reader *walk, uint64_t n_elements,
                                   size_t n_bytes)
{
    return gp_error_set(walk->err, GP_INVALID,
                        "%s: the array of \"%.*s\" should have %llu elements, and has "
                        "%zu bytes; is the file damaged?",
                        walk->path, name_size(walk->uid), name_of(walk->uid),
                        (unsigned long long)n_elements, n_bytes);
}

/* The number of elements that a shape means; UINT64_MAX if there are too many. */
static uint64_t count_elements(struct pb_bytes shape)
{
    uint64_t n = 1, size;
    struct pb_bytes sizes = pb_body(shape, 1);
    while (pb_varint(&sizes, &size))
        if (__builtin_mul_overflow(n, size, &n))
            return UINT64_MAX;
    return n;
}

static enum gp_status check_array(const struct file_reader *walk, struct pb_bytes array)
{
    struct pb_bytes values = {NULL, NULL};
    for (uint64_t field = ARRAY_FLOATS; field <= ARRAY_LAST_VALUES && !values.at; field++)
        values = pb_body(array, field);
    const size_t n_bytes = pb_size(pb_body(values, 1));
    const uint64_t type = pb_value(array, ARRAY_TYPE);
    const uint64_t n = count_elements(pb_body(array, ARRAY_SHAPE));
    const uint64_t size = type == TYPE_FLOAT ? 4 : type == TYPE_DOUBLE ? 8 : 1;
    /* of other types an element may take several bytes */
    const bool is_good =
        size == 1 ? n <= n_bytes : n_bytes % size == 0 && n == n_bytes / size;
    return is_good ? GP_OK : refuse_array(walk, n, n_bytes);
}

/* --- dictionaries --- */

/* CNTK's protobuf frees what is not its own if a message within another is broken. */
static enum gp_status check_whole(const struct file_reader *walk, struct pb_bytes message)
{
    return pb_is_whole(message)
               ? GP_OK
               : gp_error_set(walk->err, GP_INVALID,
                              "%s: the file is damaged within \"%.*s\"", walk->path,
                              name_size(walk->uid), name_of(walk->uid));
}

static enum gp_status check_dictionary(struct file_reader walk,
                                       struct pb_bytes dictionary);

static enum gp_status check_value(struct file_reader walk, struct pb_bytes value);

/* A value that is a message, in its field. */
static enum gp_status check_message(const struct file_reader *walk,
                                    const struct pb_field *field)
{
    struct pb_bytes item, items = field->body;
    enum gp_status status = check_whole(walk, field->body);
    if (status == GP_OK && field->number == VALUE_ARRAY)
        status = check_array(walk, field->body);
    else if (status == GP_OK && field->number == VALUE_DICTIONARY)
        status = check_dictionary(*walk, field->body);
    else if (field->number == VALUE_VECTOR)
        while (status == GP_OK && pb_next_body(&items, VECTOR_VALUE, &item))
            status = check_value(*walk, item);
    return status;
}

/* All that is in a value, whatever it is of. */
static enum gp_status check_value(struct file_reader walk, struct pb_bytes value)
{
    struct pb_field field;
    enum gp_status status;
    if (++walk.depth > MOST_DEPTH)
        return gp_error_set(walk.err, GP_INVALID,
                            "%s: dictionaries lie more than %d deep in each other",
                            walk.path, MOST_DEPTH);
    status = check_whole(&walk, value);
    while (status == GP_OK && pb_next(&value, &field))
        if (field.number > VALUE_STRING)
            status = check_message(&walk, &field);
    return status;
}

static enum gp_status check_dictionary(struct file_reader walk,
                                       struct pb_bytes dictionary)
{
    struct pb_bytes entry, uid = find_text(dictionary, "uid");
    enum gp_status status = GP_OK;
    walk.uid = uid.at ? uid : walk.uid;
    while (status == GP_OK && pb_next_body(&dictionary, DICTIONARY_ENTRY, &entry)) {
        status = check_whole(&walk, entry);
        if (status == GP_OK)
            status = check_value(walk, pb_body(entry, ENTRY_VALUE));
    }
    return status;
}

/* --- inputs --- */

static uint32_t count_values(struct pb_bytes vector)
{
    struct pb_bytes item;
    uint32_t n = 0;
    while (n < MOST_INPUTS && pb_next_body(&vector, VECTOR_VALUE, &item))
        n++;
    return n;
}

static enum gp_status read_input(struct pb_bytes variable, union plugin_block **kept,
                                 struct ck_inputs *inputs, struct gp_error *err)
{
    const struct pb_bytes name = find_text(variable, "name");
    struct ck_input *input = &inputs->items[inputs->n];
    if (pb_value(find_value(variable, "kind"), VALUE_SIZE) != KIND_INPUT)
        return GP_OK;
    inputs->n++;
    input->name = plugin_keep_bytes(kept, name.at, pb_size(name), err);
    input->data_type = (uint32_t)pb_value(find_value(variable, "data_type"), VALUE_SIZE);
    input->n_axes =
        count_values(pb_body(find_value(variable, "dynamic_axis"), VALUE_VECTOR));
    input->is_sparse = pb_value(find_value(variable, "is_sparse"), VALUE_BOOL) != 0;
    return input->name ? GP_OK : GP_NO_MEMORY;
}

static enum gp_status read_inputs(struct pb_bytes root, union plugin_block **kept,
                                  struct ck_inputs *inputs, struct gp_error *err)
{
    struct pb_bytes item, vector = pb_body(find_value(root, "inputs"), VALUE_VECTOR);
    enum gp_status status = GP_OK;
    inputs->n = 0;
    inputs->items = plugin_keep(kept, count_values(vector) * sizeof *inputs->items, err);
    if (!inputs->items)
        return GP_NO_MEMORY;
    for (uint32_t left = count_values(vector); status == GP_OK && left; left--)
        if (pb_next_body(&vector, VECTOR_VALUE, &item))
            status = read_input(pb_body(item, VALUE_DICTIONARY), kept, inputs, err);
    return status;
}

/* --- the file --- */

static bool is_same(struct pb_bytes a, struct pb_bytes b)
{
    return a.at && b.at && pb_size(a) == pb_size(b) &&
           memcmp(a.at, b.at, pb_size(a)) == 0;
}

/* CNTK takes it for granted that the root is one of the functions. */
static enum gp_status check_root(struct pb_bytes root, const char *path,
                                 struct gp_error *err)
{
    const struct pb_bytes uid = find_text(root, "root");
    struct pb_bytes item,
        vector = pb_body(find_value(root, "primitive_functions"), VALUE_VECTOR);
    while (pb_next_body(&vector, VECTOR_VALUE, &item))
        if (is_same(uid, find_text(pb_body(item, VALUE_DICTIONARY), "uid")))
            return GP_OK;
    return gp_error_set(err, GP_INVALID,
                        "%s: the root, \"%.*s\", is none of the functions", path,
                        name_size(uid), name_of(uid));
}

static bool begins_with(struct pb_bytes bytes, const char *head, size_t size)
{
    return pb_size(bytes) >= size && memcmp(bytes.at, head, size) == 0;
}

static enum gp_status check_kind(struct pb_bytes root, const char *path,
                                 struct gp_error *err)
{
    static const char legacy[] = "B\0C\0N\0", large[] = "ktnc";
    if (begins_with(root, legacy, sizeof legacy - 1))
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s is a model of CNTK 1; load it in CNTK 2 and save it "
                            "there: Function.load(path).save(path)",
                            path);
    if (begins_with(root, large, sizeof large - 1))
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s has its arrays apart, as CNTK saves models of 2 GiB and "
                            "more, which this engine does not read; export it to ONNX",
                            path);
    const bool is_whole = pb_is_whole(root);
    if (!is_whole && !pb_body(root, DICTIONARY_ENTRY).at)
        return gp_error_set(err, GP_INVALID,
                            "%s is no model of CNTK 2: it is no dictionary", path);
    if (!is_whole)
        return gp_error_set(err, GP_INVALID, "%s: the file is cut or damaged", path);
    if (!pb_is_text(find_text(root, "type"), "CompositeFunction"))
        return gp_error_set(err, GP_INVALID,
                            "%s is no model of CNTK 2: its type is not CompositeFunction",
                            path);
    return GP_OK;
}

enum gp_status ck_file_read(const struct plugin_file *file, const char *path,
                            union plugin_block **kept, struct ck_inputs *inputs,
                            struct gp_error *err)
{
    const struct pb_bytes root = pb_view(file->bytes, file->size_bytes);
    enum gp_status status = check_kind(root, path, err);
    if (status == GP_OK)
        status = check_dictionary((struct file_reader){.path = path, .err = err}, root);
    if (status == GP_OK)
        status = check_root(root, path, err);
    return status == GP_OK ? read_inputs(root, kept, inputs, err) : status;
}
