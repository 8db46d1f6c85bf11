/* yyjson says what there is, and where its keys are in the text (json_doc.h); from a key it is a step to
 * its value. */
#include "cli/config_edit.h"

#include "base/text.h"
#include "cli/file.h"
#include "cli/json_doc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct edit {
    const char *path;
    struct json_doc json;
    const char *copied; /* up to here of the old text */
    struct text text;   /* the new one */
};

/* Behind white space and comments. */
static const char *skip_blanks(const char *at)
{
    for (;;) {
        at += strspn(at, " \t\r\n");
        if (at[0] == '/' && at[1] == '/') {
            at += strcspn(at, "\n");
        } else if (at[0] == '/' && at[1] == '*') {
            const char *end = strstr(at + 2, "*/");
            at = end ? end + 2 : at + strlen(at);
        } else {
            return at;
        }
    }
}

/* Behind a string, whose first character this is. */
static const char *skip_string(const char *at)
{
    while (*at && *at != '"')
        at += *at == '\\' && at[1] ? 2 : 1;
    return *at ? at + 1 : at;
}

/* The value of a key of the document. */
static const char *find_value(const struct edit *edit, yyjson_val *key)
{
    const char *at = edit->json.text + (yyjson_get_str(key) - edit->json.copy);
    return skip_blanks(skip_blanks(skip_string(at)) + 1); /* behind the colon */
}

static const char *skip_scalar(const char *at)
{
    return *at == '"' ? skip_string(at + 1) : at + strcspn(at, ",]} \t\r\n/");
}

static void copy_to(struct edit *edit, const char *at)
{
    text_add(&edit->text, edit->copied, (size_t)(at - edit->copied));
    edit->copied = at;
}

/* The key in the object, or NULL. */
static yyjson_val *find_key(yyjson_val *object, const char *name)
{
    size_t i, n;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, i, n, key, value)
    {
        if (yyjson_equals_str(key, name))
            return key;
    }
    return NULL;
}

/* The settings that the object does not have, where it begins; the rest in their places. They are taken in
 * the order of the text. */
static enum gp_status put_settings(struct edit *edit, yyjson_val *object,
                                   const char *begin,
                                   const struct config_setting *settings,
                                   size_t n_settings, struct gp_error *err)
{
    size_t i, n;
    yyjson_val *key, *value;
    bool is_first = true;
    copy_to(edit, begin);
    for (size_t s = 0; s < n_settings; s++) {
        if (find_key(object, settings[s].key))
            continue;
        text_printf(&edit->text, "%s\n  \"%s\": %u", is_first ? "" : ",", settings[s].key,
                    settings[s].number);
        is_first = false;
    }
    if (!is_first)
        text_puts(&edit->text, yyjson_obj_size(object) ? "," : "\n");
    yyjson_obj_foreach(object, i, n, key, value)
    {
        for (size_t s = 0; s < n_settings; s++) {
            if (!yyjson_equals_str(key, settings[s].key))
                continue;
            if (yyjson_is_ctn(value))
                return gp_error_set(err, GP_INVALID, "%.*s:%u: \"%s\" is no number",
                                    gp_cut(edit->path, 150), edit->path,
                                    json_doc_line(&edit->json, key), settings[s].key);
            const char *at = find_value(edit, key);
            copy_to(edit, at);
            text_printf(&edit->text, "%u", settings[s].number);
            edit->copied = skip_scalar(at);
        }
    }
    return GP_OK;
}

/* Where the object begins that has none of these tables, each in the one before it. */
static void put_tables(struct edit *edit, bool is_empty, const char *begin,
                       const char *const *names, size_t n_names,
                       const struct config_setting *settings, size_t n_settings)
{
    copy_to(edit, begin);
    text_puts(&edit->text, "\n  ");
    for (size_t i = 0; i < n_names; i++) {
        text_json_puts(&edit->text, names[i]);
        text_puts(&edit->text, ": {");
    }
    for (size_t i = 0; i < n_settings; i++)
        text_printf(&edit->text, "%s\"%s\": %u", i ? ", " : "", settings[i].key,
                    settings[i].number);
    for (size_t i = 0; i < n_names; i++)
        text_puts(&edit->text, "}");
    text_puts(&edit->text, is_empty ? "\n" : ",");
}

static enum gp_status edit_text(struct edit *edit, const char *name,
                                const struct config_setting *settings, size_t n,
                                struct gp_error *err)
{
    const char *const names[] = {"models", name};
    const size_t n_names = name ? 2 : 0;
    yyjson_val *object = yyjson_doc_get_root(edit->json.doc), *key;
    const char *begin = skip_blanks(edit->copied) + 1;
    size_t depth = 0;
    if (!yyjson_is_obj(object))
        return gp_error_set(err, GP_INVALID, "%.*s: no table of settings",
                            gp_cut(edit->path, 150), edit->path);
    while (depth < n_names && (key = find_key(object, names[depth])) != NULL) {
        object = yyjson_obj_iter_get_val(key);
        if (!yyjson_is_obj(object))
            return gp_error_set(
                err, GP_INVALID, "%.*s:%u: \"%.*s\" is no table of settings",
                gp_cut(edit->path, 150), edit->path, json_doc_line(&edit->json, key),
                gp_cut(names[depth], 60), names[depth]);
        begin = find_value(edit, key) + 1;
        depth++;
    }
    if (depth == n_names)
        return put_settings(edit, object, begin, settings, n, err);
    put_tables(edit, yyjson_obj_size(object) == 0, begin, names + depth, n_names - depth,
               settings, n);
    return GP_OK;
}

/* Through a new file beside it, which becomes it. */
static enum gp_status replace_file(const char *path, const struct text *text,
                                   struct gp_arena *arena, struct gp_error *err)
{
    char *beside = gp_arena_alloc(arena, strlen(path) + sizeof ".new");
    const struct iovec part = {text->data, text->size_bytes};
    const struct gp_encoding content = {&part, 1, text->size_bytes};
    struct stat before;
    if (!beside || text->is_short)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    (void)sprintf(beside, "%s.new", path);
    if (file_write(beside, &content, err) != GP_OK)
        return err->status;
    if (stat(path, &before) == 0 && chmod(beside, before.st_mode & 07777) == 0 &&
        rename(beside, path) == 0)
        return GP_OK;
    const int error = errno;
    (void)unlink(beside);
    return gp_error_set(err, GP_IO, "cannot replace %.*s: %s", gp_cut(path, 150), path,
                        strerror(error));
}

enum gp_status config_edit(const char *path, const char *name,
                           const struct config_setting *settings, size_t n,
                           struct gp_error *err)
{
    struct gp_arena *arena = gp_arena_create();
    struct edit edit = {.path = path};
    struct gp_encoding empty = {&(struct iovec){(void *)(uintptr_t) "{}\n", 3}, 1, 3};
    if (!arena)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    enum gp_status status = GP_OK;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        status = file_write(path, &empty, err);
    char *real = status == GP_OK ? realpath(path, NULL) : NULL; /* what a link names */
    if (status == GP_OK && !real)
        status = gp_error_set(err, GP_IO, "cannot find %.*s: %s", gp_cut(path, 150), path,
                              strerror(errno));
    if (status == GP_OK)
        status = json_doc_open(&edit.json, path, arena, err);
    if (status == GP_OK) {
        edit.copied = edit.json.text;
        status = edit_text(&edit, name, settings, n, err);
    }
    if (status == GP_OK) {
        copy_to(&edit, edit.copied + strlen(edit.copied));
        status = replace_file(real, &edit.text, arena, err);
    }
    free(real);
    text_finish(&edit.text);
    json_doc_close(&edit.json);
    gp_arena_destroy(arena);
    return status;
}
