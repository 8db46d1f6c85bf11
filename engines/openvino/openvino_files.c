/* The files that make up a model: the one that is named; of an IR (.xml) its weights (.bin)
 * as well; of a SavedModel, which is a folder, those that it always has. Weights that an
 * ONNX file names are not among them: finding them takes a reader of the format.
 *
 * What can be no model is refused here, by its name and outer form: OpenVINO tries all of
 * its readers on such a file, and one of them prints what it thinks of it. */
#include "openvino.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const saved_model[] = {"saved_model.pb", "variables/variables.index",
                                          "variables/variables.data-00000-of-00001"};

enum { MAX_FILES = sizeof saved_model / sizeof saved_model[0] };

/* its root is at the beginning, after at most a comment */
static bool is_ir(const unsigned char *bytes, size_t n)
{
    enum { HEAD_BYTES = 4096 };
    return memmem(bytes, n < HEAD_BYTES ? n : HEAD_BYTES, "<net", 4) != NULL;
}

static bool is_tflite(const unsigned char *bytes, size_t n)
{
    return n >= 8 && memcmp(bytes + 4, "TFL3", 4) == 0;
}

static bool read_varint(const unsigned char *bytes, size_t n, size_t *at, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && *at < n; shift += 7) {
        const unsigned char byte = bytes[(*at)++];
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* Whole fields up to the end of the file. */
static bool is_protobuf(const unsigned char *bytes, size_t n)
{
    enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
    size_t at = 0;
    while (at < n) {
        uint64_t tag, size = 0;
        if (!read_varint(bytes, n, &at, &tag) || tag >> 3 == 0)
            return false;
        switch (tag & 7) {
        case VARINT:
            if (!read_varint(bytes, n, &at, &size))
                return false;
            size = 0;
            break;
        case BYTES:
            if (!read_varint(bytes, n, &at, &size))
                return false;
            break;
        case FIXED64:
        case FIXED32:
            size = (tag & 7) == FIXED64 ? 8 : 4;
            break;
        default:
            return false;
        }
        if (size > n - at)
            return false;
        at += (size_t)size;
    }
    return n > 0;
}

static const struct {
    const char *suffix;
    bool (*is_it)(const unsigned char *bytes, size_t n);
    const char *kind;
} formats[] = {{".xml", is_ir, "an IR"},
               {".onnx", is_protobuf, "a whole ONNX model"},
               {".tflite", is_tflite, "a TFLite model"},
               {".pb", is_protobuf, "a whole GraphDef of TensorFlow"}};

static enum gp_status check_format(const char *path, size_t size_bytes,
                                   struct gp_error *err)
{
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const size_t m = strlen(formats[i].suffix);
        if (n < m || strcasecmp(path + n - m, formats[i].suffix) != 0)
            continue;
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return gp_error_set(err, GP_INVALID, "cannot open the model %s: %s", path,
                                strerror(errno));
        void *bytes = size_bytes ? mmap(NULL, size_bytes, PROT_READ, MAP_SHARED, fd, 0)
                                 : MAP_FAILED;
        close(fd);
        const bool is_it = bytes != MAP_FAILED && formats[i].is_it(bytes, size_bytes);
        if (bytes != MAP_FAILED)
            munmap(bytes, size_bytes);
        return is_it ? GP_OK
                     : gp_error_set(err, GP_INVALID, "the file %s is not %s", path,
                                    formats[i].kind);
    }
    return gp_error_set(err, GP_INVALID,
                        "%s: the openvino engine reads .xml, .onnx, .tflite and .pb "
                        "files, and the folder of a SavedModel",
                        path);
}

/* A file that is not there is no part of the model; if it is needed, its reader says so. */
static enum gp_status add(struct ov_model *model, const char *path, struct gp_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return GP_OK;
    const char *kept = openvino_keep_text(model, path, err);
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
        struct stat info;
        if (snprintf(inner, sizeof inner, "%s/%s", path, saved_model[i]) >=
            (int)sizeof inner)
            return gp_error_set(err, GP_INVALID, "the path %.200s... is too long", path);
        if (i == 0 && stat(inner, &info) != 0)
            return gp_error_set(err, GP_INVALID,
                                "the folder %s holds no saved_model.pb; of other models "
                                "name the file",
                                path);
        if (i == 0)
            status = check_format(inner, (size_t)info.st_size, err);
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
    model->files = openvino_keep(model, MAX_FILES * sizeof *model->files, err);
    if (!model->files)
        return GP_NO_MEMORY;
    if (stat(path, &info) != 0)
        return gp_error_set(err, errno == ENOENT ? GP_NOT_FOUND : GP_INVALID,
                            "cannot open the model %s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return add_folder(model, path, err);
    if (!S_ISREG(info.st_mode))
        return gp_error_set(err, GP_INVALID,
                            "%s is not a file; the openvino engine needs a model's file, "
                            "or the folder of a SavedModel",
                            path);
    enum gp_status status = check_format(path, (size_t)info.st_size, err);
    if (status == GP_OK)
        status = add(model, path, err);
    return status == GP_OK ? add_weights(model, path, err) : status;
}
