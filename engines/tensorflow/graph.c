/* Reads a model into a graph and a session that is ready to run. A SavedModel's folder
 * goes through TensorFlow's own loader, which also sets up its variables and tables; a
 * GraphDef's are set up by its own operations for that. */
#include "model.h"

#include "../protobuf.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Field numbers in saved_model.proto and graph.proto. */
enum { META_GRAPHS = 2, GRAPH_NODES = 1 };

static const char nothing[] = "graphpipe/nothing"; /* an operation of ours */

static enum gp_status add_file(struct tf_model *model, const char *folder,
                               const char *name, struct gp_error *err)
{
    char path[PATH_MAX];
    struct stat info;
    const int n = snprintf(path, sizeof path, "%s%s%s", folder, *name ? "/" : "", name);
    /* a pipe would block */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return gp_error_set(err, GP_INVALID, "%s is not a file", path);
    const char **files =
        plugin_keep(&model->blocks, ((size_t)model->n_files + 1) * sizeof *files, err);
    if (!files || n < 0)
        return GP_NO_MEMORY;
    if (model->n_files)
        memcpy(files, model->files, model->n_files * sizeof *files);
    files[model->n_files] = plugin_keep_text(&model->blocks, path, err);
    model->files = files;
    model->n_files += files[model->n_files] != NULL;
    return files[model->n_files - 1] ? GP_OK : GP_NO_MEMORY;
}

/* All files of a folder that may not exist. */
static enum gp_status add_folder(struct tf_model *model, const char *path,
                                 const char *name, struct gp_error *err)
{
    char folder[PATH_MAX];
    struct dirent **entries;
    enum gp_status status = GP_OK;
    if (snprintf(folder, sizeof folder, "%s/%s", path, name) >= (int)sizeof folder)
        return GP_OK;
    const int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.' && status == GP_OK)
            status = add_file(model, folder, entries[i]->d_name, err);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return status;
}

/* The part of a ConfigProto for CPUs: device_count, no GPU, and
 * graph_options.rewrite_options.cpu_layout_conversion. The latter is for models made for
 * GPUs, channels first: only oneDNN, which some processors lack, has such
 * convolutions. */
static size_t put_cpu(unsigned char *proto)
{
    static const unsigned char fields[] = {0x0a, 7,    0x0a, 3,    'G', 'P',  'U', 0x10,
                                           0,    0x52, 5,    0x52, 3,   0x90, 3,   1};
    memcpy(proto, fields, sizeof fields);
    return sizeof fields;
}

/* The part for a GPU: gpu_options, with allow_growth, so that it does not take the whole
 * card at once, and visible_device_list, with CUDA's numbers. */
static size_t put_gpu(unsigned char *proto, int device)
{
    char number[16];
    const int n = snprintf(number, sizeof number, "%d", device);
    const unsigned char fields[] = {0x32, (unsigned char)(4 + n), 0x20, 1,
                                    0x2a, (unsigned char)n};
    memcpy(proto, fields, sizeof fields);
    memcpy(proto + sizeof fields, number, (size_t)n);
    return sizeof fields + (size_t)n;
}

/* A ConfigProto: intra_op_parallelism_threads, inter_op_parallelism_threads, which are
 * for runs with a deadline, and the device's. */
static TF_SessionOptions *session_options(struct tf_model *model, uint32_t n_cores)
{
    const struct tf_api *api = &model->tf->api;
    unsigned char proto[64];
    size_t n = 0;
    const struct {
        unsigned char tag;
        uint32_t value;
    } fields[] = {{2 << 3, model->n_threads}, {5 << 3, n_cores}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        uint32_t value = fields[i].value;
        proto[n++] = fields[i].tag;
        for (; value >= 0x80; value >>= 7)
            proto[n++] = (unsigned char)(value | 0x80);
        proto[n++] = (unsigned char)value;
    }
    n += model->devices.n ? put_gpu(proto + n, model->devices.numbers[0])
                          : put_cpu(proto + n);
    TF_SessionOptions *options = api->NewSessionOptions();
    api->SetConfig(options, proto, n, model->status);
    return options;
}

/* Without its file of variables TensorFlow takes such a model for one that has none. */
static enum gp_status check_variables(struct tf_model *model, const char *path,
                                      struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    struct stat info;
    char file[PATH_MAX];
    size_t at = 0;
    if (snprintf(file, sizeof file, "%s/variables/variables.index", path) >=
            (int)sizeof file ||
        stat(file, &info) == 0)
        return GP_OK;
    for (TF_Operation *op = api->GraphNextOperation(model->graph, &at); op;
         op = api->GraphNextOperation(model->graph, &at))
        if (strncmp(api->OperationOpType(op), "Var", 3) == 0)
            return gp_error_set(err, GP_NOT_FOUND,
                                "the model has variables, but there is no %s", file);
    return GP_OK;
}

/* The file, if it is complete and has at least one field with that number. TensorFlow's
 * errors for others say less, and it aborts on a file that is too large for protobuf. */
static enum gp_status map(const char *path, uint64_t field, const char *kind,
                          struct plugin_file *file, struct gp_error *err)
{
    const enum gp_status status = plugin_map(path,
                                             "the tensorflow engine needs a SavedModel's "
                                             "folder or a .pb file",
                                             file, err);
    if (status != GP_OK)
        return status;
    const struct pb_bytes message = pb_view(file->bytes, file->size_bytes);
    if (file->size_bytes <= INT32_MAX && pb_is_whole(message) &&
        pb_body(message, field).at)
        return GP_OK;
    plugin_unmap(file);
    return gp_error_set(err, GP_INVALID,
                        "%s is not a whole %s: it is cut off, or of another kind", path,
                        kind);
}

/* The folder's model, with its variables read and its tables filled. */
static enum gp_status open_folder(struct tf_model *model, const char *path,
                                  const TF_SessionOptions *options, struct gp_error *err)
{
    static const char *const tags[] = {"serve"};
    const struct tf_api *api = &model->tf->api;
    char file[PATH_MAX], what[256];
    if (snprintf(file, sizeof file, "%s/saved_model.pb", path) >= (int)sizeof file ||
        access(file, F_OK) != 0)
        return gp_error_set(err, GP_NOT_FOUND,
                            "the folder %s holds no saved_model.pb, so it is no "
                            "SavedModel",
                            path);
    struct plugin_file bytes;
    enum gp_status status = map(file, META_GRAPHS, "SavedModel", &bytes, err);
    plugin_unmap(&bytes);
    if (status == GP_OK)
        status = add_file(model, file, "", err);
    if (status == GP_OK)
        status = add_folder(model, path, "variables", err);
    if (status == GP_OK)
        status = add_folder(model, path, "assets", err);
    if (status != GP_OK)
        return status;
    model->is_saved_model = true;
    TF_Buffer *meta_graph = api->NewBuffer();
    model->session = api->LoadSessionFromSavedModel(
        options, NULL, path, tags, 1, model->graph, meta_graph, model->status);
    const TF_Code code = api->GetCode(model->status);
    if (code == TF_OUT_OF_RANGE || code == TF_DATA_LOSS)
        (void)snprintf(what, sizeof what,
                       "the variables of the SavedModel %.*s are cut off or broken",
                       gp_cut(path, 180), path);
    else
        (void)snprintf(what, sizeof what, "cannot load the SavedModel %.*s",
                       gp_cut(path, 200), path);
    status = tf_check(model->tf, model->status, what, err);
    if (status == GP_OK)
        status = check_variables(model, path, err);
    if (status == GP_OK)
        status = tf_signature_read(model, meta_graph, err);
    api->DeleteBuffer(meta_graph);
    return status;
}

/* Runs what sets variables and tables up, when the graph has it under the name that
 * TensorFlow gives it, and first what does nothing: the first run of a process has words
 * for stderr. */
static enum gp_status initialise(struct tf_model *model, struct gp_error *err)
{
    static const char *const names[] = {nothing, "init", "init_all_tables"};
    const struct tf_api *api = &model->tf->api;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const TF_Operation *op = api->GraphOperationByName(model->graph, names[i]);
        if (!op ||
            strcmp(api->OperationOpType((TF_Operation *)(uintptr_t)op), "NoOp") != 0)
            continue;
        api->SessionRun(model->session, NULL, NULL, NULL, 0, NULL, NULL, 0, &op, 1, NULL,
                        model->status);
        const enum gp_status status = tf_check(model->tf, model->status, names[i], err);
        if (status != GP_OK)
            return status;
    }
    return GP_OK;
}

static enum gp_status open_file(struct tf_model *model, const char *path,
                                const TF_SessionOptions *options, struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    struct plugin_file file;
    char what[256];
    enum gp_status status = map(path, GRAPH_NODES, "GraphDef", &file, err);
    if (status == GP_OK) {
        const TF_Buffer graph_def = {file.bytes, file.size_bytes, NULL};
        TF_ImportGraphDefOptions *import = api->NewImportGraphDefOptions();
        api->GraphImportGraphDef(model->graph, &graph_def, import, model->status);
        api->DeleteImportGraphDefOptions(import);
        (void)snprintf(what, sizeof what, "cannot load the GraphDef %.*s",
                       gp_cut(path, 200), path);
        status = tf_check(model->tf, model->status, what, err);
    }
    plugin_unmap(&file);
    if (status == GP_OK) {
        (void)api->FinishOperation(api->NewOperation(model->graph, "NoOp", nothing),
                                   model->status);
        model->session = api->NewSession(model->graph, options, model->status);
        status = tf_check(model->tf, model->status, what, err);
    }
    if (status == GP_OK)
        status = initialise(model, err);
    return status == GP_OK ? add_file(model, path, "", err) : status;
}

/* A SavedModel is a folder; its saved_model.pb stands for it. */
enum gp_status tf_graph_open(struct tf_model *model, const char *path, uint32_t n_cores,
                             struct gp_error *err)
{
    static const char inner[] = "saved_model.pb";
    const struct tf_api *api = &model->tf->api;
    char folder[PATH_MAX];
    struct stat info;
    if (stat(path, &info) != 0)
        return gp_error_set(err, errno == ENOENT ? GP_NOT_FOUND : GP_INVALID,
                            "cannot open the model %s: %s", path, strerror(errno));
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    const bool is_inner = strcmp(slash ? slash + 1 : folder, inner) == 0;
    if (is_inner)
        (void)snprintf(slash ? slash : folder, 2, "%s", slash ? "" : ".");
    TF_SessionOptions *options = session_options(model, n_cores);
    const enum gp_status status = S_ISDIR(info.st_mode) || is_inner
                                      ? open_folder(model, folder, options, err)
                                      : open_file(model, path, options, err);
    api->DeleteSessionOptions(options);
    return status;
}
