/* Finds engines by name, and checks the contract of plug-ins. Nothing is kept: dlopen
 * knows what it has loaded, and plug-ins stay loaded because frameworks leave threads and
 * exit handlers behind that cannot be unloaded. An engine that is a Python program has no
 * contract here: spawn.c starts it and talks to it in records. */
#include "base/place.h"
#include "engine/engine.h"
#include "engine/folders.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "graphpipe-engine-"

static const char *const suffixes[] = {".so", ".py"};

enum { N_SUFFIXES = sizeof suffixes / sizeof suffixes[0] };

/* The members up to here came with the first release, so every plug-in has them. */
#define ENGINE_LEAST_BYTES (offsetof(struct gp_engine, probe) + sizeof(void (*)(void)))

/* Plug-ins are built where the headers of their framework are. */
static const struct {
    const char *name;
    const char *remedy;
} known_engines[] = {
    {"echo", ""},
    {"remote", ""},
    {"onnx", "tools/setup onnx"},
    {"openvino", "tools/setup openvino (59 MB)"},
    {"tensorflow", "tools/setup tensorflow (230 MB)"},
    {"pytorch", "tools/setup pytorch (181 MB), in an installation cmake --install BUILD "
                "--component pytorch"},
    {"mxnet", "tools/setup mxnet (49 MB)"},
    {"cntk", "tools/setup cntk (75 MB)"},
    {"caffe2", "tools/setup caffe2 (200 MB)"},
    {"python", ""}, /* reports by itself what it lacks */
};

enum { N_KNOWN = sizeof known_engines / sizeof known_engines[0] };

static const char *remedy_of(const char *name)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strcmp(known_engines[i].name, name) == 0)
            return known_engines[i].remedy;
    return "";
}

/* Finds the engine's path, if a folder has it. */
static bool find_plugin(const struct text *folders, const char *name, char *path,
                        size_t path_size)
{
    for (const char *at = engine_folder_next(folders, NULL); at;
         at = engine_folder_next(folders, at))
        for (int i = 0; i < N_SUFFIXES; i++) {
            const int n =
                snprintf(path, path_size, "%s/" PREFIX "%s%s", at, name, suffixes[i]);
            if (n > 0 && (size_t)n < path_size && access(path, F_OK) == 0)
                return true;
        }
    return false;
}

static enum gp_status no_memory(struct gp_error *err)
{
    return gp_error_set(err, GP_NO_MEMORY, "no memory to look for engines");
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

enum gp_status engine_script(const char *name, const char *engine_dir, char *path,
                             size_t path_size, struct gp_error *err)
{
    struct text folders = {0};
    bool is_found;
    if (strchr(name, '/')) {
        is_found = snprintf(path, path_size, "%s", name) < (int)path_size;
    } else {
        engine_folders(engine_dir, &folders);
        const bool is_short = folders.is_short;
        is_found = !is_short && find_plugin(&folders, name, path, path_size);
        text_finish(&folders);
        if (is_short)
            return no_memory(err);
    }
    if (!is_found || !ends_with(path, ".py"))
        path[0] = '\0';
    return GP_OK;
}

static enum gp_status not_found(const struct text *folders, const char *name,
                                struct gp_error *err)
{
    struct text looked = {0};
    for (const char *at = engine_folder_next(folders, NULL); at;
         at = engine_folder_next(folders, at))
        text_printf(&looked, "%s%s", looked.size_bytes ? ", " : "", at);
    const char *where = looked.size_bytes ? looked.data : "no folder",
               *remedy = remedy_of(name);
    if (*remedy)
        gp_error_set(err, GP_NOT_FOUND,
                     "engine \"%s\" is not installed; to install it: %s, then make "
                     "(looked in %.*s)",
                     name, remedy, gp_cut(where, 240), where);
    else
        gp_error_set(
            err, GP_NOT_FOUND,
            "no engine \"%s\": looked in %.*s; \"graphpipe engines\" lists what is "
            "there",
            name, gp_cut(where, 360), where);
    text_finish(&looked);
    return GP_NOT_FOUND;
}

static enum gp_status check_contract(const struct gp_engine *engine, const char *path,
                                     struct gp_error *err)
{
    if (!engine)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s does not work with this release of "
                            "GraphPipe (engine contract %u)",
                            path, GP_ENGINE_ABI);
    if (engine->abi != GP_ENGINE_ABI)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s was built for engine contract %u, this is "
                            "%u: build it against this release's graphpipe/engine.h",
                            path, engine->abi, GP_ENGINE_ABI);
    if (engine->size_bytes < ENGINE_LEAST_BYTES || !engine->name || !engine->open ||
        !engine->describe || !engine->run || !engine->close)
        return gp_error_set(
            err, GP_UNSUPPORTED,
            "%s is not a complete engine: struct gp_engine "
            "needs size_bytes (%u came), name, open, describe, run and close",
            path, engine->size_bytes);
    return GP_OK;
}

/* Of the process, as plug-ins are. */
static pthread_mutex_t entry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;

static bool opens_together(const struct gp_engine *engine)
{
    return GP_HAS(engine, flags) && engine->flags & GP_OPENS_TOGETHER;
}

void engine_enter(const struct gp_engine *engine)
{
    if (!opens_together(engine))
        pthread_mutex_lock(&open_lock);
}

void engine_leave(const struct gp_engine *engine)
{
    if (!opens_together(engine))
        pthread_mutex_unlock(&open_lock);
}

/* Opens the file and gets its engine. */
static enum gp_status load_plugin(const char *path, const char *name,
                                  const struct gp_engine **engine, struct gp_error *err)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        char words[PLACE_WORDS_BYTES];
        const char *said = dlerror(), *remedy = remedy_of(name);
        const char *reason = said ? said : path;
        const char *limit = place_loader_limit(reason, words);
        if (*limit)
            return gp_error_set(err, GP_UNAVAILABLE, "engine \"%s\" cannot load: %.*s%s",
                                name, gp_cut(reason, 300), reason, limit);
        return gp_error_set(err, GP_UNAVAILABLE, "engine \"%s\" cannot load: %.*s%s%s",
                            name, gp_cut(reason, 300), reason,
                            *remedy ? "; to install it: " : "", remedy);
    }
    const struct gp_engine *(*entry)(const struct gp_host *host);
    *(void **)&entry = dlsym(handle, "gp_engine_entry");
    if (!entry)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s is not an engine: it has no "
                            "gp_engine_entry",
                            path);
    pthread_mutex_lock(&entry_lock);
    const struct gp_engine *found = entry(&engine_host);
    pthread_mutex_unlock(&entry_lock);
    const enum gp_status status = check_contract(found, path, err);
    if (status == GP_OK)
        *engine = found;
    return status;
}

enum gp_status engine_load(const char *name, const char *engine_dir,
                           const struct gp_engine **engine, struct gp_error *err)
{
    *engine = NULL;
    if (!name || !*name)
        return gp_error_set(err, GP_INVALID, "no engine was named");
    if (strchr(name, '/')) {
        if (access(name, F_OK) != 0)
            return gp_error_set(err, GP_NOT_FOUND, "no engine at %s", name);
        return load_plugin(name, name, engine, err);
    }
    struct text folders = {0};
    char path[PATH_MAX];
    engine_folders(engine_dir, &folders);
    enum gp_status status;
    if (folders.is_short)
        status = no_memory(err);
    else if (find_plugin(&folders, name, path, sizeof path))
        status = load_plugin(path, name, engine, err);
    else
        status = not_found(&folders, name, err);
    text_finish(&folders);
    return status;
}

enum gp_status engine_isolates(const char *name, const char *engine_dir,
                               bool *is_isolated, struct gp_error *err)
{
    char path[PATH_MAX] = "";
    const struct gp_engine *engine = NULL;
    enum gp_status status = engine_script(name, engine_dir, path, sizeof path, err);
    *is_isolated = status == GP_OK && path[0];
    if (status != GP_OK || *is_isolated)
        return status;
    status = engine_load(name, engine_dir, &engine, err);
    *is_isolated = engine && GP_HAS(engine, flags) && engine->flags & GP_ISOLATED;
    return status;
}

/* Cuts the engine's name out of the name of its file; NULL for other files. */
static const char *name_of(char *file)
{
    if (strncmp(file, PREFIX, strlen(PREFIX)) != 0)
        return NULL;
    char *name = file + strlen(PREFIX);
    for (int i = 0; i < N_SUFFIXES; i++)
        if (ends_with(name, suffixes[i])) {
            name[strlen(name) - strlen(suffixes[i])] = '\0';
            return name;
        }
    return NULL;
}

static void list_names(const char *folder, struct text *names)
{
    struct dirent **entries;
    const int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = name_of(entries[i]->d_name);
        if (name)
            engine_folder_add(names, name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

void engine_each(const char *engine_dir,
                 void (*visit)(void *arg, const struct engine_known *known), void *arg)
{
    struct text folders = {0}, names = {0};
    char path[PATH_MAX];
    engine_folders(engine_dir, &folders);
    for (size_t i = 0; i < N_KNOWN; i++)
        engine_folder_add(&names, known_engines[i].name);
    for (const char *at = engine_folder_next(&folders, NULL); at;
         at = engine_folder_next(&folders, at))
        list_names(at, &names);
    for (const char *name = engine_folder_next(&names, NULL); name;
         name = engine_folder_next(&names, name)) {
        const bool is_there = find_plugin(&folders, name, path, sizeof path);
        visit(arg, &(struct engine_known){name, is_there ? path : NULL, remedy_of(name),
                                          is_there && ends_with(path, ".py")});
    }
    text_finish(&folders);
    text_finish(&names);
}
