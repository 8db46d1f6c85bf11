#include "model/sync.h"

#include "base/clock.h"
#include "base/mem.h"
#include "model/load.h"
#include "model/policy.h"
#include "model/repository.h"

#include <inttypes.h>
#include <string.h>

/* What is done with a look. */
struct look {
    struct sync *sync;
    struct catalog *now;
    const struct catalog *before; /* NULL: this is the first */
    const struct model_entry *at_once;
    struct load *loads;
    size_t n_loads;
    bool is_settled;
};

static bool has_problem(const struct catalog *catalog, const char *name,
                        const uint64_t *version)
{
    for (size_t i = 0; i < catalog->n_problems; i++) {
        const struct catalog_problem *problem = &catalog->problems[i];
        if (strcmp(problem->name, name) == 0 &&
            (!problem->has_version || (version && problem->version == *version)))
            return true;
    }
    return false;
}

/* One look may have come while it was replaced: two have to say so. */
static bool is_gone(const struct look *look, const char *name, uint64_t number)
{
    return look->before && !catalog_find(look->now, name, number) &&
           !catalog_find(look->before, name, number) &&
           !has_problem(look->now, name, &number);
}

static bool was_said(const struct look *look, const struct catalog_problem *problem)
{
    const struct catalog *before = look->before;
    for (size_t i = 0; before && i < before->n_problems; i++)
        if (strcmp(before->problems[i].name, problem->name) == 0 &&
            strcmp(before->problems[i].message, problem->message) == 0)
            return true;
    return false;
}

static void say_problems(const struct look *look)
{
    const struct sync *sync = look->sync;
    for (size_t i = 0; i < look->now->n_problems; i++) {
        const struct catalog_problem *problem = &look->now->problems[i];
        if (was_said(look, problem))
            continue;
        log_line(sync->host->log, GP_LOG_ERROR, "repository: %s", problem->message);
        struct model_entry *entry = models_entry(sync->models, problem->name);
        struct gp_error why = {0};
        gp_error_set(&why, problem->status, "%s", problem->message);
        if (entry && !problem->has_version)
            models_set_error(sync->models, entry, &why);
    }
}

static struct model_policy policy_of(const struct gp_model_options *options)
{
    return (struct model_policy){
        .kind = options->n_versions ? POLICY_NAMED : POLICY_NEWEST_N,
        .n = options->n_newest ? options->n_newest : 1,
        .versions = options->versions,
        .n_versions = options->n_versions,
    };
}

/* Notes what is new of a version that is wanted, to be loaded. */
static void take_version(struct look *look, struct model_entry *entry,
                         struct catalog_version *found)
{
    struct sync *sync = look->sync;
    struct gp_error err = {0};
    struct model_version *version = models_version(sync->models, entry, found->number);
    if (!version)
        return; /* there may be memory at the next look */
    version->is_wanted = true;
    if (repository_examine(look->now, found, &err) != GP_OK) {
        if (strcmp(version->error.message, err.message) != 0)
            log_line(sync->host->log, GP_LOG_ERROR, "repository: %s", err.message);
        models_set_state(sync->models, version, MODEL_FAILED, &err);
        look->is_settled = false;
        return;
    }
    if (version->fingerprint == found->fingerprint)
        return;
    if (look->before && look->at_once != entry &&
        !catalog_is_settled(look->before, entry->name, found)) {
        look->is_settled = false;
        return;
    }
    version->fingerprint = found->fingerprint;
    look->loads[look->n_loads++] = (struct load){entry, version, found->path};
}

/* What is wanted no longer goes when all that is wanted is there, what has been deleted always. */
static void retire_versions(const struct look *look, struct model_entry *entry)
{
    struct sync *sync = look->sync;
    bool is_whole = true;
    for (struct model_version *v = entry->versions; v; v = v->next)
        is_whole = is_whole && (!v->is_wanted || v->model);
    for (struct model_version *v = entry->versions, *next; v; v = next) {
        next = v->next;
        const bool is_over = !v->is_wanted && (is_whole || !v->model) &&
                             catalog_find(look->now, entry->name, v->number);
        if (is_over || is_gone(look, entry->name, v->number))
            load_retire(sync->models, sync->host, entry, v);
    }
}

static struct model_entry *entry_of(struct look *look, const char *name)
{
    struct sync *sync = look->sync;
    struct model_entry *entry = models_entry(sync->models, name);
    struct gp_model_options options = sync->defaults;
    struct gp_error err;
    if (entry)
        return entry->options->path ? NULL : entry; /* one of that name lies elsewhere */
    options.name = name;
    entry = models_add(sync->models, &options, &err);
    if (!entry)
        log_line(sync->host->log, GP_LOG_ERROR, "repository: %s", err.message);
    return entry;
}

static void load_noted(struct look *look, unsigned n_threads)
{
    const struct sync *sync = look->sync;
    load_several(sync->models, sync->host, look->loads, look->n_loads, n_threads);
    look->n_loads = 0;
}

static bool has_room(struct look *look)
{
    size_t n = 0;
    for (size_t i = 0; i < look->now->n_models; i++)
        n += look->now->models[i].n_versions;
    look->loads = gp_arena_alloc(look->now->arena, n * sizeof *look->loads);
    return look->loads;
}

/* At the first look all models are loaded together. Later it is one at a time, before the next is
 * looked at: those that serve need the cores and the memory. */
static void take_model(struct look *look, struct catalog_model *model)
{
    struct model_entry *entry = entry_of(look, model->name);
    struct gp_error err = {0};
    if (!entry || entry->is_unloaded)
        return;
    const struct model_policy policy = policy_of(entry->options);
    (void)policy_choose(&policy, model, &err);
    models_set_error(look->sync->models, entry, &err);
    for (struct model_version *v = entry->versions; v; v = v->next)
        v->is_wanted = false;
    for (size_t i = 0; i < model->n_versions; i++)
        if (model->versions[i].is_wanted)
            take_version(look, entry, &model->versions[i]);
    if (look->before) {
        load_noted(look, 1);
        retire_versions(look, entry);
    }
}

/* Models whose folder has gone, but for the one that the look is for. */
static void drop_entry(struct model_entry *entry, void *arg)
{
    const struct look *look = arg;
    struct sync *sync = look->sync;
    if (entry->options->path)
        return;
    for (struct model_version *v = entry->versions, *next; v; v = next) {
        next = v->next;
        if (is_gone(look, entry->name, v->number))
            load_retire(sync->models, sync->host, entry, v);
    }
    if (!entry->versions && !entry->is_declared && !entry->is_unloaded && look->before &&
        entry != look->at_once && !has_problem(look->now, entry->name, NULL))
        models_remove(sync->models, entry);
}

static void say_trouble(struct sync *sync, const struct gp_error *err)
{
    if (strcmp(sync->trouble.message, err->message) != 0)
        log_line(sync->host->log, GP_LOG_ERROR, "%s; what is served stays", err->message);
    sync->trouble = *err;
}

static enum gp_status look_at(struct sync *sync, const struct model_entry *at_once,
                              struct gp_error *err)
{
    /* One that comes soon after another stands for that: only time tells that a copy is over. */
    const int64_t now_ns = clock_now_ns();
    const bool is_soon = now_ns - sync->looked_ns < REPOSITORY_WATCH_SETTLE_MS * CLOCK_MS;
    if (is_soon && sync->n_looks > 1)
        sync->n_looks--;
    else
        sync->looked_ns = now_ns;
    const unsigned n = sync->n_looks;
    struct look look = {
        .sync = sync,
        .now = &sync->looks[n % 2],
        .before = n ? &sync->looks[(n + 1) % 2] : NULL,
        .at_once = at_once,
        .is_settled = true,
    };
    struct gp_arena *arena = sync->arenas[n % 2];
    gp_arena_reset(arena);
    enum gp_status status = repository_look(arena, sync->path, NULL, look.now, err);
    if (status == GP_OK && !has_room(&look))
        status = gp_error_set(err, GP_NO_MEMORY, "no memory to look at the repository");
    if (status == GP_OK) {
        sync->n_looks++;
        sync->trouble = (struct gp_error){0};
        say_problems(&look);
        for (size_t i = 0; i < look.now->n_models; i++)
            take_model(&look, &look.now->models[i]);
        load_noted(&look, sync->host->n_cores);
        models_each_entry(sync->models, drop_entry, &look);
    }
    repository_watch_looked(&sync->watch, clock_now_ns(), look.is_settled);
    return status;
}

static enum gp_status no_memory(struct gp_error *err)
{
    return gp_error_set(err, GP_NO_MEMORY, "no memory for a repository");
}

/* Instead of those before; on failure nothing changes. */
static enum gp_status keep_defaults(struct sync *sync,
                                    const struct gp_model_options *defaults,
                                    struct gp_error *err)
{
    struct gp_arena *arena = gp_arena_create();
    struct gp_model_options *kept = arena ? model_options_copy(arena, defaults) : NULL;
    if (!kept) {
        gp_arena_destroy(arena);
        return no_memory(err);
    }
    gp_arena_destroy(sync->arena);
    sync->arena = arena;
    sync->defaults = *kept;
    sync->defaults.path = NULL;
    return GP_OK;
}

enum gp_status sync_init(struct sync *sync, struct models *models,
                         const struct model_host *host, const char *path,
                         const struct gp_model_options *defaults, struct gp_error *err)
{
    sync->models = models;
    sync->host = host;
    sync->arenas[0] = gp_arena_create();
    sync->arenas[1] = gp_arena_create();
    if (keep_defaults(sync, defaults, err) != GP_OK)
        return err->status;
    char *copy = mem_strdup(path);
    sync->path = copy;
    if (!copy || !sync->arenas[0] || !sync->arenas[1])
        return no_memory(err);
    repository_watch_init(&sync->watch, sync->path, 0);
    (void)repository_watch_wait(&sync->watch, clock_now_ns());
    if (look_at(sync, NULL, err) != GP_OK)
        return err->status;
    models_set_repository(models, true);
    return GP_OK;
}

void sync_finish(struct sync *sync)
{
    if (sync->watch.path)
        repository_watch_finish(&sync->watch);
    gp_arena_destroy(sync->arenas[0]);
    gp_arena_destroy(sync->arenas[1]);
    gp_arena_destroy(sync->arena);
    mem_free((void *)(size_t)sync->path);
}

enum gp_status sync_move(struct sync *sync, struct models *models,
                         const struct model_host *host, const char *path,
                         const struct gp_model_options *defaults, struct gp_error *err)
{
    if (path && sync->path && strcmp(sync->path, path) == 0)
        return keep_defaults(sync, defaults, err);
    struct sync fresh = {0};
    if (path && sync_init(&fresh, models, host, path, defaults, err) != GP_OK) {
        sync_finish(&fresh);
        return err->status;
    }
    models_set_repository(models, path);
    sync_finish(sync);
    *sync = fresh;
    return GP_OK;
}

int sync_wait_ms(struct sync *sync)
{
    struct gp_error err;
    if (!sync->path)
        return -1;
    const int ms = repository_watch_wait(&sync->watch, clock_now_ns());
    if (repository_watch_has_trouble(&sync->watch, &err))
        log_line(sync->host->log, GP_LOG_WARNING, "%s", err.message);
    return ms;
}

enum gp_status sync_look(struct sync *sync, const struct model_entry *at_once,
                         struct gp_error *err)
{
    struct gp_error why = {0};
    if (!sync->path || look_at(sync, at_once, &why) == GP_OK)
        return GP_OK;
    say_trouble(sync, &why);
    return gp_error_set(err, why.status, "%s", why.message);
}
