/* The files of a model: the given one; for an IR (.xml) its weights (.bin) as well; for a
 * SavedModel, which is a folder, those that it always has. Weights that an ONNX file
 * refers to are not included: finding them takes a parser of the format.
 *
 * Files that cannot be a model are refused here, by name and outer form: OpenVINO tries
 * all of its readers on such a file, and one of them prints its complaints. */
#include "openvino.h"

#include "../protobuf.h"

#include <limits.h>
#include <strings.h>

static const char wanted[] =
    "the openvino engine reads .xml, .onnx, .tflite and .pb files, "
    "and the folder of a SavedModel";

static const char *const saved_model[] = {"saved_model.pb", "variables/variables.index",
                                          "variables/variables.data-00000-of-00001"};

enum { MAX_FILES = sizeof saved_model / sizeof saved_model[0] };

/* the limit of FlatBuffers and protobuf; OpenVINO would first read a larger file to its
 * end */
enum { MAX_MESSAGE_BYTES = INT32_MAX };

/* its root element begins it, after at most a comment, and ends it */
static bool is_ir(const unsigned char *bytes, size_t n)
{
    enum { HEAD_BYTES = 4096 };
    const size_t m = n < HEAD_BYTES ? n : HEAD_BYTES;
    return memmem(bytes, m, "<net", 4) && memmem(bytes + n - m, m, "</net", 5);
}

static bool is_tflite(const unsigned char *bytes, size_t n)
{
    return n >= 8 && n <= MAX_MESSAGE_BYTES && memcmp(bytes + 4, "TFL3", 4) == 0;
}

/* Fields that only this kind of message has. */
enum { ONNX_GRAPH = 7, GRAPH_DEF_NODE = 1, SAVED_MODEL_META_GRAPH = 2 };

static bool has_field(const unsigned char *bytes, size_t n, uint64_t number)
{
    const struct pb_bytes message = pb_view(bytes, n);
    return n <= MAX_MESSAGE_BYTES && pb_is_whole(message) && pb_body(message, number).at;
}

static bool is_onnx(const unsigned char *bytes, size_t n)
{
    return has_field(bytes, n, ONNX_GRAPH);
}

static bool is_graph_def(const unsigned char *bytes, size_t n)
{
    return has_field(bytes, n, GRAPH_DEF_NODE);
}

static bool is_saved_model(const unsigned char *bytes, size_t n)
{
    return has_field(bytes, n, SAVED_MODEL_META_GRAPH);
}

static const struct {
    const char *suffix;
    bool (*is_it)(const unsigned char *bytes, size_t n);
    const char *kind;
} formats[] = {{".xml", is_ir, "IR"},
               {".onnx", is_onnx, "ONNX model"},
               {".tflite", is_tflite, "TFLite model"},
               {"/saved_model.pb", is_saved_model, "SavedModel"},
               {".pb", is_graph_def, "GraphDef of TensorFlow"}};

static enum gp_status check_format(const char *path, struct gp_error *err)
{
    const size_t n = strlen(path);
    struct plugin_file file;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const size_t m = strlen(formats[i].suffix);
        if (n < m || strcasecmp(path + n - m, formats[i].suffix) != 0)
            continue;
        const enum gp_status status = plugin_map(path, wanted, &file, err);
        if (status != GP_OK)
            return status;
        const bool is_it = formats[i].is_it(file.bytes, file.size_bytes);
        plugin_unmap(&file);
        return is_it ? GP_OK
                     : gp_error_set(err, GP_INVALID,
                                    "%s is not a whole %s: it is cut off, or of another "
                                    "kind",
                                    path, formats[i].kind);
    }
    return gp_error_set(err, GP_INVALID, "%s: %s", path, wanted);
}

/* A missing file is not part of the model; if it is needed, the reader reports it. For a
 * cyclic link OpenVINO aborts the process, and a pipe makes it wait. */
static enum gp_status add(struct ov_model *model, const char *path, struct gp_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return errno == ENOENT ? GP_OK
                               : gp_error_set(err, GP_INVALID, "cannot open %s: %s", path,
                                              strerror(errno));
    if (!S_ISREG(info.st_mode))
        return gp_error_set(err, GP_INVALID, "%s is not a file", path);
    const char *kept = plugin_keep_text(&model->blocks, path, err);
    if (!kept)
        return GP_NO_MEMORY;
    model->files[model->n_files++] = kept;
    model->size_bytes += (uint64_t)info.st_size;
    return GP_OK;
}

static enum gp_status add_folder(struct ov_model *model, const char *path,
                                 struct gp_error *err)
{
    char inner[PATH_MAX];
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < MAX_FILES && status == GP_OK; i++) {
        if (snprintf(inner, sizeof inner, "%s/%s", path, saved_model[i]) >=
            (int)sizeof inner)
            return gp_error_set(err, GP_INVALID, "the path %.*s... is too long",
                                gp_cut(path, 200), path);
        if (i == 0 && access(inner, F_OK) != 0)
            return gp_error_set(err, GP_INVALID,
                                "the folder %s holds no saved_model.pb; of other models "
                                "name the file",
                                path);
        if (i == 0)
            status = check_format(inner, err);
        if (status == GP_OK)
            status = add(model, inner, err);
    }
    return status;
}

static enum gp_status add_weights(struct ov_model *model, const char *path,
                                  struct gp_error *err)
{
    const char *suffix = strrchr(path, '.');
    char weights[PATH_MAX];
    if (!suffix || strcasecmp(suffix, ".xml") != 0 ||
        snprintf(weights, sizeof weights, "%.*s.bin", (int)(suffix - path), path) >=
            (int)sizeof weights)
        return GP_OK;
    return add(model, weights, err);
}

enum gp_status openvino_files_list(struct ov_model *model, const char *path,
                                   struct gp_error *err)
{
    struct stat info;
    model->files = plugin_keep(&model->blocks, MAX_FILES * sizeof *model->files, err);
    if (!model->files)
        return GP_NO_MEMORY;
    if (stat(path, &info) != 0)
        return gp_error_set(err, errno == ENOENT ? GP_NOT_FOUND : GP_INVALID,
                            "cannot open the model %s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return add_folder(model, path, err);
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, saved_model[0]) == 0)
        return gp_error_set(err, GP_INVALID,
                            "%s is part of a SavedModel; name the folder that it is in",
                            path);
    enum gp_status status = check_format(path, err);
    if (status == GP_OK)
        status = add(model, path, err);
    return status == GP_OK ? add_weights(model, path, err) : status;
}
