#include "model/models.h"

#include "base/mem.h"
#include "base/text.h"

#include <inttypes.h>
#include <string.h>

/* Of names and versions in a refusal. */
enum { LIST_BYTES = 120 };

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
        counts_drop_list(models->entries[i]->counts);
        gp_arena_destroy(models->entries[i]->arena);
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

/* With the lock held. */
static struct model_entry *find_entry(const struct models *models, const char *name,
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
    struct model_entry *entry = find_entry(models, name, strlen(name));
    pthread_mutex_unlock(&models->lock);
    return entry;
}

static struct model_entry *create_entry(const struct gp_model_options *options)
{
    struct gp_arena *arena = gp_arena_create();
    struct model_entry *entry = arena ? gp_arena_alloc(arena, sizeof *entry) : NULL;
    if (entry) {
        *entry = (struct model_entry){.arena = arena};
        entry->options = model_options_copy(arena, options);
    }
    if (!entry || !entry->options) {
        gp_arena_destroy(arena);
        return NULL;
    }
    entry->name = entry->options->name;
    return entry;
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
    const bool is_taken = find_entry(models, options->name, strlen(options->name));
    const bool is_added = entry && !is_taken && insert_entry(models, entry);
    pthread_mutex_unlock(&models->lock);
    if (is_added)
        return entry;
    if (entry)
        gp_arena_destroy(entry->arena);
    if (is_taken)
        gp_error_set(err, GP_INVALID, "two models are named \"%s\"", options->name);
    else
        gp_error_set(err, GP_NO_MEMORY, "no memory for the model \"%s\"", options->name);
    return NULL;
}

enum gp_status models_set_default(struct models *models, const char *name,
                                  struct gp_error *err)
{
    pthread_mutex_lock(&models->lock);
    struct model_entry *entry = NULL;
    if (name)
        entry = find_entry(models, name, strlen(name));
    else if (models->n_entries == 1)
        entry = models->entries[0];
    mem_free((void *)(size_t)models->default_name);
    models->default_name = entry ? mem_strdup(entry->name) : NULL;
    models->by_default = models->default_name ? entry : NULL;
    const bool is_set = models->by_default || (!name && !entry);
    pthread_mutex_unlock(&models->lock);
    if (is_set)
        return GP_OK;
    return entry
               ? gp_error_set(err, GP_NO_MEMORY, "no memory for the default model")
               : gp_error_set(err, GP_INVALID,
                              "the default model is \"%s\", and none is named so", name);
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
    counts_drop_list(entry->counts);
    gp_arena_destroy(entry->arena);
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

/* "a, b, c, ...": with the lock held. */
static void list_names(const struct models *models, struct text *text)
{
    size_t i = 0;
    for (; i < models->n_entries && text->size_bytes < LIST_BYTES; i++)
        text_printf(text, "%s%s", i ? ", " : "", models->entries[i]->name);
    if (i < models->n_entries)
        text_puts(text, ", ...");
}

static void list_versions(const struct model_entry *entry, struct text *text)
{
    const struct model_version *v = entry->versions;
    for (; v && text->size_bytes < LIST_BYTES; v = v->next)
        text_printf(text, "%s%" PRIu64, v == entry->versions ? "" : ", ", v->number);
    if (v)
        text_puts(text, ", ...");
}

static const char *or_none(const struct text *text)
{
    return text->size_bytes && !text->is_short ? text->data : "none";
}

static struct model *fail_name(const struct models *models, const char *name, size_t size,
                               struct gp_error *err)
{
    struct text list = {0};
    list_names(models, &list);
    if (size)
        gp_error_set(err, GP_NOT_FOUND, "no model is named \"%.*s\"; there are: %s",
                     (int)gp_text_cut(name, size, 64), name, or_none(&list));
    else
        gp_error_set(err, GP_NOT_FOUND,
                     "none of the models is the one for \"/\" (default-model); ask for "
                     "/NAME of: %s",
                     or_none(&list));
    text_finish(&list);
    return NULL;
}

static struct model *fail_version(const struct model_entry *entry, const char *text,
                                  size_t size, struct gp_error *err)
{
    struct text list = {0};
    list_versions(entry, &list);
    gp_error_set(err, GP_NOT_FOUND,
                 "model \"%s\" has no version or alias \"%.*s\"; there are: %s",
                 entry->name, (int)gp_text_cut(text, size, 64), text, or_none(&list));
    text_finish(&list);
    return NULL;
}

static struct model *fail_ready(const struct model_entry *entry,
                                const struct model_version *version, struct gp_error *err)
{
    const struct gp_error *why = version ? &version->error : &entry->error;
    if (why->status != GP_OK)
        gp_error_set(err, GP_UNAVAILABLE, "model \"%s\" is not ready: %.*s", entry->name,
                     gp_cut(why->message, 180), why->message);
    else
        gp_error_set(err, GP_UNAVAILABLE, "model \"%s\" is not ready: it is %s",
                     entry->name,
                     version              ? model_state_name(version->state)
                     : entry->is_unloaded ? "unloaded"
                                          : "not loaded yet");
    return NULL;
}

static bool read_number(const char *text, size_t size, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' ||
            __builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (unsigned)(text[i] - '0'), number))
            return false;
    }
    return size > 0;
}

/* A number, or an alias. */
static const struct model_version *choose_version(const struct model_entry *entry,
                                                  const char *text, size_t size)
{
    const struct gp_model_options *options = entry->options;
    uint64_t number = 0;
    bool is_number = read_number(text, size, &number);
    for (size_t i = 0; i < options->n_aliases && !is_number; i++)
        if (strncmp(options->aliases[i].name, text, size) == 0 &&
            !options->aliases[i].name[size]) {
            number = options->aliases[i].version;
            is_number = true;
        }
    const struct model_version *version = entry->versions;
    while (version && (!is_number || version->number != number))
        version = version->next;
    return version;
}

/* The highest that is ready, else the highest. */
const struct model_version *models_newest(const struct model_entry *entry)
{
    const struct model_version *version = entry->versions;
    while (version && !version->model)
        version = version->next;
    return version ? version : entry->versions;
}

/* "/NAME/versions/N?query" in pieces. */
struct address {
    const char *name;
    size_t name_size;
    const char *version;
    size_t version_size;
};

static bool read_address(const char *path, struct address *address)
{
    static const char versions[] = "/versions/";
    *address = (struct address){.name = path + (*path == '/')};
    address->name_size = strcspn(address->name, "/?");
    const char *rest = address->name + address->name_size;
    if (strncmp(rest, versions, sizeof versions - 1) == 0) {
        address->version = rest + sizeof versions - 1;
        address->version_size = strcspn(address->version, "/?");
        rest = address->version + address->version_size;
        if (!address->name_size || !address->version_size)
            return false;
    }
    return !*rest || *rest == '?';
}

/* With the lock held. */
static struct model *find_model(const struct models *models,
                                const struct address *address, struct gp_error *err)
{
    const struct model_entry *entry =
        address->name_size ? find_entry(models, address->name, address->name_size)
                           : models->by_default;
    if (!entry)
        return fail_name(models, address->name, address->name_size, err);
    const struct model_version *version =
        address->version_size
            ? choose_version(entry, address->version, address->version_size)
            : models_newest(entry);
    if (!version && address->version_size)
        return fail_version(entry, address->version, address->version_size, err);
    return version && version->model ? version->model : fail_ready(entry, version, err);
}

struct model *models_find(struct models *models, const char *path, struct gp_error *err)
{
    struct address address = {.name = ""};
    if (!models->takes_any_path && !read_address(path, &address)) {
        gp_error_set(err, GP_NOT_FOUND,
                     "no such path; a model is at /NAME, /NAME/versions/N or "
                     "/NAME/versions/ALIAS");
        return NULL;
    }
    pthread_mutex_lock(&models->lock);
    struct model *model = find_model(models, &address, err);
    if (model)
        (void)model_hold(model); /* as the table does */
    pthread_mutex_unlock(&models->lock);
    return model;
}

bool models_are_ready(struct models *models, struct gp_error *err)
{
    const struct model_entry *missing = NULL;
    pthread_mutex_lock(&models->lock);
    if (!models->n_entries)
        gp_error_set(err, GP_UNAVAILABLE, "there is no model");
    const bool has_some = models->n_entries;
    for (size_t i = 0; i < models->n_entries && !missing; i++) {
        const struct model_entry *entry = models->entries[i];
        const struct model_version *version = models_newest(entry);
        if (!entry->is_unloaded && !(version && version->model)) {
            missing = entry;
            fail_ready(entry, version, err);
        }
    }
    pthread_mutex_unlock(&models->lock);
    return has_some && !missing;
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
    const bool is_lone = models->n_entries == 1 && models->by_default;
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
static struct model *hold_next(struct model *model)
{
    while (model && !model_hold(model))
        model = model->next;
    return model;
}

void models_each(struct models *models, void (*visit)(struct model *model, void *arg),
                 void *arg)
{
    pthread_mutex_lock(&models->lock);
    struct model *model = hold_next(models->open);
    while (model) {
        pthread_mutex_unlock(&models->lock);
        visit(model, arg);
        pthread_mutex_lock(&models->lock);
        struct model *next = hold_next(model->next);
        pthread_mutex_unlock(&models->lock);
        model_drop(model);
        pthread_mutex_lock(&models->lock);
        model = next;
    }
    pthread_mutex_unlock(&models->lock);
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
