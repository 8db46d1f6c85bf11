/* Chooses the engine for a model by its file's name and first bytes. The name decides if
 * its suffix is unambiguous; any other file that begins like an ONNX model is one.
 * Engines that this release does not have are named all the same: that error says more
 * than "unknown". */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACCEPTED                                                                         \
    ".onnx and .ort files (onnx), SavedModel folders, .pb and .graphdef files "          \
    "(tensorflow), .pt and .pt2 (pytorch), .tflite and .xml (openvino), -symbol.json "   \
    "(mxnet), predict_net.pb or its folder (caffe2), .model, .dnn and .cntk (cntk), "    \
    ".py (python); for others name the engine with --engine"

static const struct {
    const char *suffix;
    const char *engine;
} suffixes[] = {
    {".onnx", "onnx"},
    {".ort", "onnx"},
    {".pt", "pytorch"},
    {".pt2", "pytorch"},
    {".tflite", "openvino"},
    {".xml", "openvino"},
    {".py", "python"},
    {"-symbol.json", "mxnet"},
    {".model", "cntk"}, /* which begin like an ONNX model */
    {".dnn", "cntk"},
    {".cntk", "cntk"},
    {"predict_net.pb", "caffe2"},
    {".graphdef", "tensorflow"},
    {"saved_model.pb", "tensorflow"}, /* which begins like an ONNX model */
};

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcasecmp(text + n - m, end) == 0;
}

/* A ModelProto as all its writers serialise it: ir_version (field 1, a small number),
 * then another of its fields, in ascending order. */
static bool is_onnx(const unsigned char *head, size_t n)
{
    static const unsigned char tags[] = {0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42};
    return n >= 3 && head[0] == 0x08 && head[1] >= 1 && head[1] < 0x40 &&
           memchr(tags, head[2], sizeof tags) != NULL;
}

static enum gp_status guess_file(const char *path, const char **name,
                                 struct gp_error *err)
{
    unsigned char head[8];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof head);
    const int reason = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return gp_error_set(err, GP_INVALID, "cannot read the model %s: %s", path,
                            strerror(reason));
    if (ends_with(path, "init_net.pb"))
        return gp_error_set(err, GP_INVALID,
                            "%s fills the weights of a Caffe2 model: name the "
                            "predict_net.pb beside it, or their folder",
                            path);
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++)
        if (ends_with(path, suffixes[i].suffix)) {
            *name = suffixes[i].engine;
            return GP_OK;
        }
    if (is_onnx(head, (size_t)n))
        *name = "onnx";
    else if (ends_with(path, ".pb"))
        *name = "tensorflow";
    else
        return gp_error_set(err, GP_INVALID, "%s is not a known kind of model: " ACCEPTED,
                            path);
    return GP_OK;
}

/* For a folder, the engine for which it is a model, by a file in it. */
static enum gp_status guess_folder(const char *folder, const char **name,
                                   struct gp_error *err)
{
    static const struct {
        const char *file;
        const char *engine;
    } files[] = {{"saved_model.pb", "tensorflow"}, {"predict_net.pb", "caffe2"}};
    char inner[PATH_MAX];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (snprintf(inner, sizeof inner, "%s/%s", folder, files[i].file) <
                (int)sizeof inner &&
            access(inner, F_OK) == 0) {
            *name = files[i].engine;
            return GP_OK;
        }
    return gp_error_set(
        err, GP_INVALID,
        "the folder %s holds no saved_model.pb and no predict_net.pb: " ACCEPTED, folder);
}

enum gp_status engine_guess(const char *model_path, const char **name,
                            struct gp_error *err)
{
    struct stat info;
    *name = NULL;
    if (!model_path || !*model_path)
        return gp_error_set(err, GP_INVALID, "no model was named: " ACCEPTED);
    if (stat(model_path, &info) != 0) {
        const bool is_absent = errno == ENOENT || errno == ENOTDIR;
        return gp_error_set(err, is_absent ? GP_NOT_FOUND : GP_INVALID,
                            "cannot open the model %s: %s", model_path, strerror(errno));
    }
    if (S_ISREG(info.st_mode))
        return guess_file(model_path, name, err);
    if (!S_ISDIR(info.st_mode)) /* a pipe would never be open */
        return gp_error_set(err, GP_INVALID,
                            "%s is neither a file nor a folder: " ACCEPTED, model_path);
    return guess_folder(model_path, name, err);
}

const char *engine_model_name(const char *path, char *name, size_t name_size)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start && path[start - 1] != '/')
        start--;
    (void)snprintf(name, name_size, "%.*s", (int)(end - start), path + start);
    char *dot = strrchr(name, '.');
    if (dot && dot != name)
        *dot = '\0';
    return name;
}
