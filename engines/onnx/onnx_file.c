/* Reads just enough of a model's protobuf for two things that the runtime does not tell:
 * whether a graph's input or output has a shape at all (a scalar and an unknown rank look
 * the same through its interface), and which other files hold weights. It visits fields
 * in place and skips the large ones by their length; a file that is broken simply ends
 * early, since the runtime reads it as well and will say so. */
#include "onnx.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Subgraphs in subgraphs: beyond any model, below any stack. */
enum { MAX_DEPTH = 16 };

/* Numbers of fields in onnx.proto. */
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

struct bytes {
    const unsigned char *at;
    const unsigned char *end;
};

static bool read_varint(struct bytes *from, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && from->at < from->end; shift += 7) {
        const unsigned char c = *from->at++;
        *value |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return true;
    }
    return false;
}

/* The next field of a message; `body` is empty but for those with a length. */
static bool next_field(struct bytes *from, uint64_t *number, struct bytes *body)
{
    enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };
    uint64_t tag, size;
    *body = (struct bytes){NULL, NULL};
    if (!read_varint(from, &tag))
        return false;
    *number = tag >> 3;
    const size_t left = (size_t)(from->end - from->at);
    switch (tag & 7) {
    case VARINT:
        return read_varint(from, &size);
    case FIXED64:
        size = 8;
        break;
    case FIXED32:
        size = 4;
        break;
    case LENGTH:
        if (!read_varint(from, &size) || size > (uint64_t)(from->end - from->at))
            return false;
        *body = (struct bytes){from->at, from->at + size};
        break;
    default:
        return false;
    }
    if (size > left)
        return false;
    from->at += size;
    return true;
}

/* The first field of this number that has a length. */
static bool find_field(struct bytes message, uint64_t wanted, struct bytes *body)
{
    uint64_t number;
    while (next_field(&message, &number, body))
        if (number == wanted && body->at)
            return true;
    return false;
}

static bool is_text(struct bytes bytes, const char *text)
{
    const size_t n = strlen(text);
    return (size_t)(bytes.end - bytes.at) == n && memcmp(bytes.at, text, n) == 0;
}

void onnx_file_open(struct onnx_file *file, const char *path)
{
    *file = (struct onnx_file){0};
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes != MAP_FAILED)
            *file = (struct onnx_file){bytes, (size_t)info.st_size};
    }
    close(fd);
}

void onnx_file_close(struct onnx_file *file)
{
    if (file->bytes)
        munmap((void *)(uintptr_t)file->bytes, file->size_bytes);
    *file = (struct onnx_file){0};
}

static bool find_graph(const struct onnx_file *file, struct bytes *graph)
{
    return file->bytes &&
           find_field((struct bytes){file->bytes, file->bytes + file->size_bytes},
                      MODEL_GRAPH, graph);
}

bool onnx_file_has_shape(const struct onnx_file *file, const char *name)
{
    struct bytes graph, value, part;
    uint64_t number;
    if (!find_graph(file, &graph))
        return false;
    while (next_field(&graph, &number, &value))
        if ((number == GRAPH_INPUT || number == GRAPH_OUTPUT) &&
            find_field(value, VALUE_NAME, &part) && is_text(part, name))
            return find_field(value, VALUE_TYPE, &part) &&
                   find_field(part, TYPE_TENSOR, &part) &&
                   find_field(part, TENSOR_TYPE_SHAPE, &part);
    return false;
}

/* A walk over the graph for the weights that lie elsewhere, and what it finds, each once;
 * the first entry stands for the model itself. */
struct walk {
    struct onnx_model *model;
    const char *path; /* of the model */
    const char **files;
    uint32_t n;
    unsigned depth;
};

static bool add_file(struct walk *walk, const char *location, size_t size_bytes)
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
    char *file = onnx_keep(walk->model, folder + size_bytes + 1, NULL);
    if (!file)
        return false;
    memcpy(file, walk->path, folder);
    memcpy(file + folder, location, size_bytes);
    files[walk->n++] = file;
    return true;
}

static bool walk_tensor(struct walk *walk, struct bytes tensor)
{
    struct bytes entry, key, value;
    uint64_t number;
    while (next_field(&tensor, &number, &entry))
        if (number == TENSOR_EXTERNAL_DATA && find_field(entry, ENTRY_KEY, &key) &&
            is_text(key, "location") && find_field(entry, ENTRY_VALUE, &value))
            return add_file(walk, (const char *)value.at, (size_t)(value.end - value.at));
    return true;
}

static bool walk_graph(struct walk *walk, struct bytes graph);

static bool walk_node(struct walk *walk, struct bytes node)
{
    struct bytes attribute, body;
    uint64_t number;
    bool go_on = true;
    while (go_on && next_field(&node, &number, &attribute)) {
        if (number != NODE_ATTRIBUTE || !attribute.at)
            continue;
        while (go_on && next_field(&attribute, &number, &body))
            if (number == ATTRIBUTE_GRAPH || number == ATTRIBUTE_GRAPHS)
                go_on = walk_graph(walk, body);
            else if (number == ATTRIBUTE_TENSOR || number == ATTRIBUTE_TENSORS)
                go_on = walk_tensor(walk, body);
    }
    return go_on;
}

static bool walk_graph(struct walk *walk, struct bytes graph)
{
    struct bytes body;
    uint64_t number;
    bool go_on = true;
    if (walk->depth == MAX_DEPTH)
        return true;
    walk->depth++;
    while (go_on && next_field(&graph, &number, &body))
        if (number == GRAPH_INITIALIZER)
            go_on = walk_tensor(walk, body);
        else if (number == GRAPH_NODE)
            go_on = walk_node(walk, body);
    walk->depth--;
    return go_on;
}

enum gp_status onnx_file_list(struct onnx_model *model, const struct onnx_file *file,
                              const char *path, struct gp_error *err)
{
    struct walk walk = {.model = model, .path = path};
    struct bytes graph;
    const bool is_whole =
        add_file(&walk, "", 0) && (!find_graph(file, &graph) || walk_graph(&walk, graph));
    const char **files = is_whole ? onnx_keep(model, walk.n * sizeof *files, NULL) : NULL;
    if (files) {
        memcpy(files, walk.files, walk.n * sizeof *files);
        files[0] = onnx_keep_text(model, path, NULL);
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
