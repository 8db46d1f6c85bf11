/* What a model with a cache is known by: two that have the same digest answer the same to the same
 * request. Retrained, it has another one, and its old rows are not found any more. */
#include "model/model.h"

#include "base/clock.h"
#include "model/model_files.h"

#include <graphpipe/version.h>

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* To be raised when rows that are kept mean something else, or are found by something else. */
enum { DIGEST_FORMAT = 1 };

/* What there is to know of an engine's models. */
enum model_origin {
    ORIGIN_ANY,    /* code, which may read anything: known while it is open */
    ORIGIN_ENGINE, /* it does the same whatever its file is */
    ORIGIN_FILES,
    ORIGIN_ELSEWHERE
};

/* By what the engine was asked for, since a plug-in says of itself what it likes. */
static enum model_origin find_origin(const char *engine)
{
    static const struct {
        const char *engine;
        enum model_origin origin;
    } origins[] = {
        {"echo", ORIGIN_ENGINE},      {"onnx", ORIGIN_FILES},
        {"openvino", ORIGIN_FILES},   {"pytorch", ORIGIN_FILES},
        {"python", ORIGIN_ANY},       {"remote", ORIGIN_ELSEWHERE},
        {"tensorflow", ORIGIN_FILES},
    };
    for (size_t i = 0; engine && i < sizeof origins / sizeof *origins; i++)
        if (strcmp(engine, origins[i].engine) == 0)
            return origins[i].origin;
    return ORIGIN_ANY;
}

static enum gp_status refuse_elsewhere(const char *engine, struct gp_error *err)
{
    return gp_error_set(err, GP_UNSUPPORTED,
                        "--cache is not for the engine %s: the other server may change "
                        "its model unseen; turn the cache on there",
                        engine);
}

static enum gp_status read_files(struct model *model, const char *path,
                                 struct gp_error *err)
{
    struct model_files *files = gp_arena_alloc(model->arena, sizeof *files);
    if (!files)
        return gp_error_set(err, GP_NO_MEMORY, "no memory to read the model's files");
    *files = (struct model_files){.is_ending = model->host->is_ending};
    model->files = files;
    return model_files_read(files, path, err);
}

enum gp_status model_digest_begin(struct model *model,
                                  const struct gp_model_options *options,
                                  struct gp_error *err)
{
    switch (find_origin(options->engine)) {
    case ORIGIN_ELSEWHERE:
        return refuse_elsewhere(options->engine, err);
    case ORIGIN_ENGINE:
        return read_files(model, NULL, err);
    case ORIGIN_FILES:
        return read_files(model, options->path, err);
    default:
        return GP_OK;
    }
}

static enum gp_status digest_any(struct digest *digest, struct gp_error *err)
{
    const ssize_t n = getrandom(digest->bytes, sizeof digest->bytes, 0);
    return n == sizeof digest->bytes
               ? GP_OK
               : gp_error_set(err, GP_UNAVAILABLE, "no random number for the cache: %s",
                              strerror(errno));
}

static void digest_told(struct model *model, const struct gp_model_options *options)
{
    struct digester digester;
    digest_begin(&digester);
    digest_add_number(&digester, DIGEST_FORMAT);
    digest_add_text(&digester, GP_VERSION);
    digest_add_text(&digester, options->engine);
    digest_add_text(&digester, model->engine_version ? model->engine_version : "");
    digest_add_number(&digester, options->n_engine_options);
    for (size_t i = 0; i < options->n_engine_options; i++)
        digest_add_text(&digester, options->engine_options[i]);
    digest_add(&digester, model->files->digest.bytes, sizeof model->files->digest.bytes);
    digest_end(&digester, &model->digest);
}

enum gp_status model_digest_end(struct model *model,
                                const struct gp_model_options *options,
                                struct gp_error *err)
{
    if (find_origin(model->engine->name) == ORIGIN_ELSEWHERE) /* was named by its path */
        return refuse_elsewhere(model->engine->name, err);
    if (!model->files)
        return digest_any(&model->digest, err);
    if (model_files_check(model->files, err) != GP_OK)
        return err->status;
    digest_told(model, options);
    return GP_OK;
}

/* Code may have read anything. Files that are still the same were the same when they were read. */
void model_digest_reopened(void *context)
{
    struct model *model = context;
    struct gp_error err;
    uint64_t salt;
    if (!model->store || (model->files && model_files_check(model->files, &err) == GP_OK))
        return;
    if (getrandom(&salt, sizeof salt, 0) != sizeof salt || !salt)
        salt = (uint64_t)clock_now_ns();
    atomic_store(&model->salt, salt);
    if (model->files)
        log_line(model->host->log, GP_LOG_WARNING,
                 "%s; until then what was cached of it is not answered any more",
                 err.message);
}

void model_digest_drop(struct model *model)
{
    if (model->files)
        model_files_finish(model->files);
}
