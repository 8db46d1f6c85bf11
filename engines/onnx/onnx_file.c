/* Reads just enough of a model's protobuf for two facts that the runtime does not expose:
 * whether a graph's input or output has a shape at all (a scalar and an unknown rank look
 * the same through its interface), and which other files hold weights. */
#include "onnx.h"

#include "../protobuf.h"

#include <stdlib.h>

/* Nesting of subgraphs: more than any model has, less than any stack takes. */
enum { MAX_DEPTH = 16 };

/* Field numbers in onnx.proto. */
enum { MODEL_GRAPH = 7 };
enum { GRAPH_NODE = 1, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };
enum { NODE_ATTRIBUTE = 5 };
enum {
    ATTRIBUTE_TENSOR = 5,
    ATTRIBUTE_GRAPH = 6,
    ATTRIBUTE_TENSORS = 10,
    ATTRIBUTE_GRAPHS = 11
};
enum { TENSOR_EXTERNAL_DATA = 13, ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_TENSOR = 1, TENSOR_TYPE_SHAPE = 2 };

static struct pb_bytes view(const struct plugin_file *file)
{
    return pb_view(file->bytes, file->size_bytes);
}

/* Empty if there is none. */
static struct pb_bytes find_graph(const struct plugin_file *file)
{
    return pb_body(view(file), MODEL_GRAPH);
}

/* The runtime's own format, .ort: FlatBuffers. */
static bool is_ort(const struct plugin_file *file)
{
    return file->size_bytes >= 8 && memcmp(file->bytes + 4, "ORTM", 4) == 0;
}

enum gp_status onnx_file_open(struct plugin_file *file, const char *path,
                              struct gp_error *err)
{
    const enum gp_status status =
        plugin_map(path, "the onnx engine needs a .onnx file", file, err);
    if (status != GP_OK || is_ort(file) ||
        (pb_is_whole(view(file)) && find_graph(file).at))
        return status;
    plugin_unmap(file);
    return gp_error_set(err, GP_INVALID,
                        "%s is not a whole ONNX model: it is cut off, or of another kind",
                        path);
}

bool onnx_file_has_shape(const struct plugin_file *file, const char *name)
{
    struct pb_bytes graph = find_graph(file);
    struct pb_field field;
    while (pb_next(&graph, &field))
        if ((field.number == GRAPH_INPUT || field.number == GRAPH_OUTPUT) &&
            pb_is_text(pb_body(field.body, VALUE_NAME), name)) {
            const struct pb_bytes type = pb_body(field.body, VALUE_TYPE);
            return pb_body(pb_body(type, TYPE_TENSOR), TENSOR_TYPE_SHAPE).at != NULL;
        }
    return false;
}

/* A walk over the graph for external weights, and the files that it finds, each once; the
 * first entry is the model itself. */
struct file_walk {
    struct onnx_model *model;
    const char *path; /* of the model */
    const char **files;
    uint32_t n;
    unsigned depth;
};

static bool add_file(struct file_walk *walk, const char *location, size_t size_bytes)
{
    const char *slash = strrchr(walk->path, '/');
    const size_t folder = slash ? (size_t)(slash - walk->path) + 1 : 0;
    for (uint32_t i = 1; i < walk->n; i++)
        if (strlen(walk->files[i]) == folder + size_bytes &&
            memcmp(walk->files[i] + folder, location, size_bytes) == 0)
            return true;
    const char **files = realloc(walk->files, (walk->n + 1) * sizeof *files);
    if (!files)
        return false;
    walk->files = files;
    char *file = plugin_keep(&walk->model->blocks, folder + size_bytes + 1, NULL);
    if (!file)
        return false;
    memcpy(file, walk->path, folder);
    memcpy(file + folder, location, size_bytes);
    files[walk->n++] = file;
    return true;
}

static bool walk_tensor(struct file_walk *walk, struct pb_bytes tensor)
{
    struct pb_bytes entry;
    while (pb_next_body(&tensor, TENSOR_EXTERNAL_DATA, &entry)) {
        const struct pb_bytes value = pb_body(entry, ENTRY_VALUE);
        if (value.at && pb_is_text(pb_body(entry, ENTRY_KEY), "location"))
            return add_file(walk, (const char *)value.at, pb_size(value));
    }
    return true;
}

static bool walk_graph(struct file_walk *walk, struct pb_bytes graph);

static bool walk_node(struct file_walk *walk, struct pb_bytes node)
{
    struct pb_bytes attribute;
    struct pb_field field;
    bool go_on = true;
    while (go_on && pb_next_body(&node, NODE_ATTRIBUTE, &attribute))
        while (go_on && pb_next(&attribute, &field))
            if (field.number == ATTRIBUTE_GRAPH || field.number == ATTRIBUTE_GRAPHS)
                go_on = walk_graph(walk, field.body);
            else if (field.number == ATTRIBUTE_TENSOR ||
                     field.number == ATTRIBUTE_TENSORS)
                go_on = walk_tensor(walk, field.body);
    return go_on;
}

static bool walk_graph(struct file_walk *walk, struct pb_bytes graph)
{
    struct pb_field field;
    bool go_on = true;
    if (walk->depth == MAX_DEPTH)
        return true;
    walk->depth++;
    while (go_on && pb_next(&graph, &field))
        if (field.number == GRAPH_INITIALIZER)
            go_on = walk_tensor(walk, field.body);
        else if (field.number == GRAPH_NODE)
            go_on = walk_node(walk, field.body);
    walk->depth--;
    return go_on;
}

enum gp_status onnx_file_list(struct onnx_model *model, const struct plugin_file *file,
                              const char *path, struct gp_error *err)
{
    struct file_walk walk = {.model = model, .path = path};
    const bool is_whole = add_file(&walk, "", 0) && walk_graph(&walk, find_graph(file));
    const char **files =
        is_whole ? plugin_keep(&model->blocks, walk.n * sizeof *files, NULL) : NULL;
    if (files) {
        memcpy(files, walk.files, walk.n * sizeof *files);
        files[0] = plugin_keep_text(&model->blocks, path, NULL);
    }
    free(walk.files);
    if (!files || !files[0])
        return gp_error_set(err, GP_NO_MEMORY,
                            "no memory for the list of the model's files");
    for (uint32_t i = 0; i < walk.n; i++) {
        struct stat info;
        model->size_bytes += stat(files[i], &info) == 0 ? (uint64_t)info.st_size : 0;
    }
    model->files = files;
    model->n_files = walk.n;
    return GP_OK;
}
