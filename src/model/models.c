#include "model/models.h"

#include "base/mem.h"

#include <string.h>

const char *model_state_name(enum model_state state)
{
    static const char *const names[] = {"loading", "ready", "failed", "unloaded"};
    return names[state];
}

void models_init(struct models *models)
{
    pthread_mutex_init(&models->lock, NULL);
}

static void destroy_version(struct model_version *version)
{
    counts_drop(version->counts);
    mem_free(version);
}

static void destroy_entry(struct model_entry *entry)
{
    counts_drop_list(entry->counts);
    gp_arena_destroy(entry->arena);
    mem_free(entry);
}

void models_finish(struct models *models)
{
    while (models->open) {
        struct model *model = models->open;
        models->open = model->next;
        model_close(model);
    }
    for (size_t i = 0; i < models->n_entries; i++) {
        struct model_version *version = models->entries[i]->versions;
        while (version) {
            struct model_version *next = version->next;
            destroy_version(version);
            version = next;
        }
        destroy_entry(models->entries[i]);
    }
    mem_free(models->entries);
    mem_free((void *)(size_t)models->default_name);
    pthread_mutex_destroy(&models->lock);
}

/* Where the name is, or would be. */
static size_t place_of(const struct models *models, const char *name, size_t size)
{
    size_t low = 0, high = models->n_entries;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const char *there = models->entries[middle]->name;
        const int order = strncmp(there, name, size);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct model_entry *models_named(const struct models *models, const char *name,
                                 size_t size)
{
    for (size_t i = place_of(models, name, size); i < models->n_entries; i++) {
        struct model_entry *entry = models->entries[i];
        if (strncmp(entry->name, name, size) != 0)
            break;
        if (!entry->name[size])
            return entry;
    }
    return NULL;
}

struct model_entry *models_entry(struct models *models, const char *name)
{
    pthread_mutex_lock(&models->lock);
    struct model_entry *entry = models_named(models, name, strlen(name));
    pthread_mutex_unlock(&models->lock);
    return entry;
}

/* False if memory is short; the arena is destroyed. */
static bool take_options(struct model_entry *entry, struct gp_arena *arena,
                         const struct gp_model_options *options)
{
    struct gp_model_options *copy = arena ? model_options_copy(arena, options) : NULL;
    if (!copy) {
        gp_arena_destroy(arena);
        return false;
    }
    entry->arena = arena;
    entry->options = copy;
    entry->name = copy->name;
    return true;
}

static struct model_entry *create_entry(const struct gp_model_options *options)
{
    struct model_entry *entry = mem_zalloc(sizeof *entry);
    if (entry && take_options(entry, gp_arena_create(), options))
        return entry;
    mem_free(entry);
    return NULL;
}

/* With the lock held: in its place by name. */
static bool insert_entry(struct models *models, struct model_entry *entry)
{
    const size_t n = models->n_entries;
    const size_t at = place_of(models, entry->name, strlen(entry->name) + 1);
    struct model_entry **entries =
        mem_resize(models->entries, (n + 1) * sizeof(struct model_entry *));
    if (!entries)
        return false;
    memmove(entries + at + 1, entries + at, (n - at) * sizeof(struct model_entry *));
    entries[at] = entry;
    models->entries = entries;
    models->n_entries++;
    entry->is_joining = models->is_serving;
    if (models->default_name && strcmp(models->default_name, entry->name) == 0)
        models->by_default = entry;
    return true;
}

struct model_entry *models_add(struct models *models,
                               const struct gp_model_options *options,
                               struct gp_error *err)
{
    struct model_entry *entry = create_entry(options);
    pthread_mutex_lock(&models->lock);
    const bool is_taken = models_named(models, options->name, strlen(options->name));
    const bool is_added = entry && !is_taken && insert_entry(models, entry);
    pthread_mutex_unlock(&models->lock);
    if (is_added)
        return entry;
    if (entry)
        destroy_entry(entry);
    if (is_taken)
        gp_error_set(err, GP_INVALID, "two models are named \"%s\"", options->name);
    else
        gp_error_set(err, GP_NO_MEMORY, "no memory for the model \"%s\"", options->name);
    return NULL;
}

enum gp_status models_set_options(struct models *models, struct model_entry *entry,
                                  const struct gp_model_options *options,
                                  struct gp_error *err)
{
    struct model_entry fresh;
    if (!take_options(&fresh, gp_arena_create(), options))
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the model \"%s\"",
                            entry->name);
    pthread_mutex_lock(&models->lock);
    struct gp_arena *before = entry->arena;
    entry->arena = fresh.arena;
    entry->options = fresh.options;
    entry->name = fresh.name;
    pthread_mutex_unlock(&models->lock);
    gp_arena_destroy(before);
    return GP_OK;
}

enum gp_status models_set_default(struct models *models, const char *name,
                                  struct gp_error *err)
{
    pthread_mutex_lock(&models->lock);
    struct model_entry *entry = NULL;
    if (name)
        entry = models_named(models, name, strlen(name));
    else if (models->n_entries == 1)
        entry = models->entries[0];
    char *copy = entry ? mem_strdup(entry->name) : NULL;
    const bool is_set = copy || (!name && !entry);
    if (is_set) {
        mem_free((void *)(size_t)models->default_name);
        models->default_name = copy;
        models->by_default = entry;
    }
    pthread_mutex_unlock(&models->lock);
    if (is_set)
        return GP_OK;
    return entry
               ? gp_error_set(err, GP_NO_MEMORY, "no memory for the default model")
               : gp_error_set(err, GP_INVALID,
                              "the default model is \"%s\", and none is named so", name);
}

void models_set_repository(struct models *models, bool has_repository)
{
    pthread_mutex_lock(&models->lock);
    models->has_repository = has_repository;
    pthread_mutex_unlock(&models->lock);
}

void models_remove(struct models *models, struct model_entry *entry)
{
    pthread_mutex_lock(&models->lock);
    const size_t at = place_of(models, entry->name, strlen(entry->name) + 1);
    models->n_entries--;
    memmove(models->entries + at, models->entries + at + 1,
            (models->n_entries - at) * sizeof(struct model_entry *));
    if (models->by_default == entry)
        models->by_default = NULL;
    pthread_mutex_unlock(&models->lock);
    destroy_entry(entry);
}

struct model_version *models_version(struct models *models, struct model_entry *entry,
                                     uint64_t number)
{
    struct model_version **at = &entry->versions;
    while (*at && (*at)->number > number)
        at = &(*at)->next;
    if (*at && (*at)->number == number)
        return *at;
    struct model_version *version = mem_zalloc(sizeof *version);
    if (!version)
        return NULL;
    version->number = number;
    pthread_mutex_lock(&models->lock);
    version->counts =
        counts_take(&entry->counts, number, models->n_counters, models->n_counting);
    if (version->counts) {
        version->next = *at;
        *at = version;
    }
    pthread_mutex_unlock(&models->lock);
    if (version->counts)
        return version;
    mem_free(version);
    return NULL;
}

void models_set_state(struct models *models, struct model_version *version,
                      enum model_state state, const struct gp_error *why)
{
    pthread_mutex_lock(&models->lock);
    version->state = version->model ? MODEL_READY : state;
    version->error = why ? *why : (struct gp_error){0};
    pthread_mutex_unlock(&models->lock);
}

void models_set_error(struct models *models, struct model_entry *entry,
                      const struct gp_error *why)
{
    pthread_mutex_lock(&models->lock);
    entry->error = why ? *why : (struct gp_error){0};
    entry->is_joining = entry->is_joining && entry->error.status == GP_OK;
    pthread_mutex_unlock(&models->lock);
}

void models_set_unloaded(struct models *models, struct model_entry *entry,
                         bool is_unloaded)
{
    pthread_mutex_lock(&models->lock);
    entry->is_unloaded = is_unloaded;
    pthread_mutex_unlock(&models->lock);
}

void models_publish(struct models *models, struct model_version *version,
                    struct model *model)
{
    pthread_mutex_lock(&models->lock);
    struct model *before = version->model;
    version->model = model;
    model->counts = version->counts;
    counts_hold(model->counts);
    version->state = MODEL_READY;
    version->error = (struct gp_error){0};
    model->next = models->open;
    models->open = model;
    pthread_mutex_unlock(&models->lock);
    model_begin_news(model);
    if (before)
        model_drop(before);
}

void models_end_joining(struct models *models, struct model_entry *entry)
{
    pthread_mutex_lock(&models->lock);
    entry->is_joining = false;
    pthread_mutex_unlock(&models->lock);
}

void models_retire(struct models *models, struct model_entry *entry,
                   struct model_version *version)
{
    pthread_mutex_lock(&models->lock);
    struct model_version **at = &entry->versions;
    while (*at != version)
        at = &(*at)->next;
    *at = version->next;
    pthread_mutex_unlock(&models->lock);
    if (version->model)
        model_drop(version->model);
    destroy_version(version);
}

void models_each_entry(struct models *models,
                       void (*visit)(struct model_entry *entry, void *arg), void *arg)
{
    for (size_t i = models->n_entries; i-- > 0;) /* what it removes, lies behind */
        visit(models->entries[i], arg);
}

bool models_is_lone(struct models *models)
{
    pthread_mutex_lock(&models->lock);
    const bool is_lone =
        models->n_entries == 1 && models->by_default && !models->has_repository;
    pthread_mutex_unlock(&models->lock);
    return is_lone;
}

void models_list(struct models *models,
                 void (*visit)(const struct model_entry *entry, void *arg), void *arg)
{
    pthread_mutex_lock(&models->lock);
    for (size_t i = 0; i < models->n_entries; i++)
        visit(models->entries[i], arg);
    pthread_mutex_unlock(&models->lock);
}

/* The next that can be held, from this on. With the lock held. */
static struct model *hold_next(struct model *model, bool must_be_busy)
{
    while (model &&
           ((must_be_busy && slots_are_idle(&model->slots)) || !model_hold(model)))
        model = model->next;
    return model;
}

static void visit_each(struct models *models, bool must_be_busy,
                       void (*visit)(struct model *model, void *arg), void *arg)
{
    pthread_mutex_lock(&models->lock);
    struct model *model = hold_next(models->open, must_be_busy);
    while (model) {
        pthread_mutex_unlock(&models->lock);
        visit(model, arg);
        pthread_mutex_lock(&models->lock);
        struct model *next = hold_next(model->next, must_be_busy);
        pthread_mutex_unlock(&models->lock);
        model_drop(model);
        pthread_mutex_lock(&models->lock);
        model = next;
    }
    pthread_mutex_unlock(&models->lock);
}

void models_each(struct models *models, void (*visit)(struct model *model, void *arg),
                 void *arg)
{
    visit_each(models, false, visit, arg);
}

void models_each_busy(struct models *models,
                      void (*visit)(struct model *model, void *arg), void *arg)
{
    visit_each(models, true, visit, arg);
}

/* Those of its children, which go with it. */
static void keep_counts(struct model *model)
{
    struct counters *counters = &model->counts->counters;
    const struct isolate_counts children = isolate_count(model->isolate);
    counters_add(counters, 0, COUNTS_CHILD_RESTARTS, children.n_restarts);
    for (unsigned i = 0; i < 4; i++)
        counters_add(counters, 0, COUNTS_CHILD_ENDED + i, children.ended[i]);
}

void models_close(struct models *models, struct model *model)
{
    pthread_mutex_lock(&models->lock);
    struct model **at = &models->open;
    while (*at && *at != model)
        at = &(*at)->next;
    if (*at)
        *at = model->next;
    if (model->counts && model->isolate)
        keep_counts(model);
    pthread_mutex_unlock(&models->lock);
    model_close(model);
}
