/* From a request's path to the model that serves it, and the words for why there is none. */
#include "base/text.h"
#include "model/models.h"

#include <inttypes.h>
#include <string.h>

/* Of names and versions in a refusal. */
enum { LIST_BYTES = 120 };

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
        address->name_size ? models_named(models, address->name, address->name_size)
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
        if (!entry->is_unloaded && !entry->is_joining && !(version && version->model)) {
            missing = entry;
            fail_ready(entry, version, err);
        }
    }
    pthread_mutex_unlock(&models->lock);
    return has_some && !missing;
}
