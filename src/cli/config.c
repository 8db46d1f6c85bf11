/* From JSON to the rows of options. A value is turned into the text that a flag would have, so
 * that bounds and messages are those of the command line; only its type is judged here. */
#include "cli/config.h"

#include "cli/json_doc.h"

#include <inttypes.h>
#include <string.h>

struct reader {
    struct json_doc json;
    const char *path;
    struct gp_arena *arena;
    struct gp_error *err;
    unsigned line; /* of the key that is being read */
    const char *key;
};

static enum gp_status no_memory(const struct reader *reader)
{
    return gp_error_set(reader->err, GP_NO_MEMORY, "%.*s: out of memory",
                        gp_cut(reader->path, 100), reader->path);
}

/* "path:line: key" */
static void write_label(char label[OPTION_LABEL_BYTES], const struct reader *reader)
{
    (void)snprintf(label, OPTION_LABEL_BYTES, "%.*s:%u: %.*s", gp_cut(reader->path, 100),
                   reader->path, reader->line, gp_cut(reader->key, 60), reader->key);
}

/* A string or a number as a flag would have it; NULL when it is another value, and when memory is
 * short. A string with a NUL in it is none. */
static const char *scalar_text(const struct reader *reader, yyjson_val *value)
{
    if (yyjson_is_str(value))
        return strlen(yyjson_get_str(value)) == yyjson_get_len(value)
                   ? yyjson_get_str(value)
                   : NULL;
    enum { DIGITS = 24 };
    char *text = yyjson_is_uint(value) ? gp_arena_alloc(reader->arena, DIGITS) : NULL;
    if (text)
        (void)snprintf(text, DIGITS, "%" PRIu64, yyjson_get_uint(value));
    return text;
}

static bool is_list(const struct option *option)
{
    return option->kind == OPTION_LIST || option->kind == OPTION_NAMES;
}

/* Whether the value is of a type that the row takes. */
static bool has_type(const struct option *option, yyjson_val *value)
{
    if (option->kind == OPTION_FLAG)
        return yyjson_is_bool(value);
    if (is_list(option) && option->is_pairs)
        return yyjson_is_obj(value) && yyjson_obj_size(value);
    if (is_list(option))
        return yyjson_is_str(value) || (yyjson_is_arr(value) && yyjson_arr_size(value));
    if (option->kind == OPTION_COUNT)
        return yyjson_is_uint(value) ||
               (option->word && yyjson_equals_str(value, option->word));
    const bool has_unit_of_its_own =
        option->kind == OPTION_SIZE || option->kind == OPTION_DURATION;
    return yyjson_is_str(value) || (has_unit_of_its_own && yyjson_is_uint(value));
}

static void write_wanted(struct text *text, const struct option *option)
{
    if (option->kind == OPTION_FLAG)
        text_puts(text, "true or false");
    else if (option->kind == OPTION_TEXT)
        text_puts(text, "a string");
    else if (is_list(option))
        text_puts(text, option->is_pairs ? "an object of strings and numbers"
                                         : "a string or an array of strings");
    else
        option_wanted(text, option);
}

static void write_got(struct text *text, yyjson_val *value)
{
    if (yyjson_is_str(value) && strlen(yyjson_get_str(value)) != yyjson_get_len(value))
        text_puts(text, "a string with \\u0000 in it");
    else if (yyjson_is_str(value))
        text_printf(text, "the string \"%.*s\"", gp_cut(yyjson_get_str(value), 60),
                    yyjson_get_str(value));
    else if (yyjson_is_uint(value))
        text_printf(text, "%" PRIu64, yyjson_get_uint(value));
    else if (yyjson_is_sint(value))
        text_printf(text, "%" PRIi64, yyjson_get_sint(value));
    else if (yyjson_is_real(value))
        text_printf(text, "%g", yyjson_get_real(value));
    else if (yyjson_is_bool(value))
        text_puts(text, yyjson_get_bool(value) ? "true" : "false");
    else if (yyjson_is_null(value))
        text_puts(text, "null");
    else
        text_printf(text, "an%s %s", yyjson_get_len(value) ? "" : " empty",
                    yyjson_is_arr(value) ? "array" : "object");
}

/* "path:line: key wants this, not that" */
static enum gp_status refuse_type(const struct reader *reader, const char *wanted,
                                  yyjson_val *value)
{
    char label[OPTION_LABEL_BYTES];
    struct text got = {0};
    write_label(label, reader);
    write_got(&got, value);
    const enum gp_status status =
        gp_error_set(reader->err, GP_INVALID, "%s wants %s, not %s", label, wanted,
                     got.data ? got.data : "this");
    text_finish(&got);
    return status;
}

static enum gp_status refuse_value(const struct reader *reader,
                                   const struct option *option, yyjson_val *value)
{
    struct text wanted = {0};
    write_wanted(&wanted, option);
    const enum gp_status status =
        refuse_type(reader, wanted.data ? wanted.data : "another type", value);
    text_finish(&wanted);
    return status;
}

/* Whether the pair falls into the same two parts again. */
static bool is_key_of_pair(yyjson_val *key)
{
    const char *text = yyjson_get_str(key);
    return *text && strlen(text) == yyjson_get_len(key) && !strchr(text, '=');
}

/* "key=value" */
static const char *pair_text(const struct reader *reader, yyjson_val *key,
                             const char *value)
{
    const size_t size = yyjson_get_len(key) + strlen(value) + 2;
    char *text = gp_arena_alloc(reader->arena, size);
    if (text)
        (void)snprintf(text, size, "%s=%s", yyjson_get_str(key), value);
    return text;
}

static enum gp_status add_item(const struct reader *reader, const struct option *option,
                               struct option_list *list, yyjson_val *key,
                               yyjson_val *value)
{
    if (key && !is_key_of_pair(key))
        return refuse_value(reader, option, key);
    const char *text = scalar_text(reader, value);
    if (!text && yyjson_is_uint(value))
        return no_memory(reader);
    if (!text || !*text)
        return refuse_value(reader, option, value);
    text = key ? pair_text(reader, key, text) : text;
    return text && option_list_add(list, reader->arena, text) ? GP_OK : no_memory(reader);
}

static enum gp_status read_list(const struct reader *reader,
                                const struct options *options,
                                const struct option *option, yyjson_val *value)
{
    struct option_list *list = (void *)((char *)options->values + option->offset);
    if (yyjson_is_str(value))
        return add_item(reader, option, list, NULL, value);
    enum gp_status status = GP_OK;
    yyjson_arr_iter items = yyjson_arr_iter_with(value);
    while (status == GP_OK && yyjson_arr_iter_has_next(&items))
        status = add_item(reader, option, list, NULL, yyjson_arr_iter_next(&items));
    yyjson_obj_iter pairs = yyjson_obj_iter_with(value);
    while (status == GP_OK && yyjson_obj_iter_has_next(&pairs)) {
        yyjson_val *key = yyjson_obj_iter_next(&pairs);
        status = add_item(reader, option, list, key, yyjson_obj_iter_get_val(key));
    }
    return status;
}

/* The value of a row's key. */
static enum gp_status read_value(const struct reader *reader, struct options *options,
                                 const struct option *option, yyjson_val *value)
{
    const size_t i = (size_t)(option - options->table);
    char label[OPTION_LABEL_BYTES];
    write_label(label, reader);
    if (options->sources[i] == OPTION_FILE)
        return gp_error_set(reader->err, GP_INVALID,
                            "%s is set a second time; the first is in line %u", label,
                            options->lines[i]);
    options->file = reader->path;
    options->lines[i] = reader->line;
    if (!has_type(option, value))
        return refuse_value(reader, option, value);
    if (is_list(option)) {
        options->sources[i] = OPTION_FILE;
        return read_list(reader, options, option, value);
    }
    const char *text = yyjson_is_bool(value) ? yyjson_get_bool(value) ? "1" : "0"
                                             : scalar_text(reader, value);
    if (!text)
        return yyjson_is_uint(value) ? no_memory(reader)
                                     : refuse_value(reader, option, value);
    return options_take(options, option, OPTION_FILE, label, text, reader->err);
}

static void offer_rows(struct nearest *nearest, const struct options *options,
                       bool is_of_model)
{
    for (size_t i = 0; i < options->n; i++) {
        const struct option *option = &options->table[i];
        if (is_of_model ? option->is_of_model : !option->is_flag_only)
            nearest_offer(nearest, option->name);
    }
}

static enum gp_status refuse_key(const struct reader *reader, const char *why,
                                 const char *best)
{
    return gp_error_set(
        reader->err, GP_INVALID, "%.*s:%u: \"%.*s\" %s%s%s%s", gp_cut(reader->path, 100),
        reader->path, reader->line, gp_cut(reader->key, 40), reader->key, why,
        best ? "; did you mean \"" : "", best ? best : "", best ? "\"?" : "");
}

/* Reads the value of the reader's key into `into`. */
typedef enum gp_status read_member_fn(struct reader *reader, void *into,
                                      yyjson_val *value);

/* Each member of the object that is the value of the reader's key, or the whole file. */
static enum gp_status read_members(struct reader *reader, yyjson_val *object,
                                   read_member_fn *read_member, void *into)
{
    if (!yyjson_is_obj(object))
        return refuse_type(reader, "an object", object);
    enum gp_status status = GP_OK;
    yyjson_obj_iter members = yyjson_obj_iter_with(object);
    while (status == GP_OK && yyjson_obj_iter_has_next(&members)) {
        yyjson_val *key = yyjson_obj_iter_next(&members);
        reader->line = json_doc_line(&reader->json, key);
        reader->key = yyjson_get_str(key);
        status = strlen(reader->key) == yyjson_get_len(key)
                     ? read_member(reader, into, yyjson_obj_iter_get_val(key))
                     : refuse_key(reader, "goes on with \\u0000", NULL);
    }
    return status;
}

static enum gp_status read_setting_of_model(struct reader *reader, void *into,
                                            yyjson_val *value)
{
    struct model_settings *model = into;
    const struct option *shared = options_find(&model->shared, reader->key);
    const struct option *own = options_find(&model->own, reader->key);
    if (own)
        return read_value(reader, &model->own, own, value);
    if (shared && shared->is_of_model)
        return read_value(reader, &model->shared, shared, value);
    if (shared && !shared->is_flag_only)
        return refuse_key(reader, "is for the whole server, at the top of the file",
                          NULL);
    struct nearest nearest = {.word = reader->key};
    offer_rows(&nearest, &model->shared, true);
    offer_rows(&nearest, &model->own, true);
    return refuse_key(reader, "is no setting of a model", nearest.best);
}

static enum gp_status check_model(const struct reader *reader,
                                  const struct models_settings *models)
{
    const char *name = reader->key;
    char label[OPTION_LABEL_BYTES];
    (void)snprintf(label, sizeof label, "%.*s:%u: models", gp_cut(reader->path, 100),
                   reader->path, reader->line);
    if (model_check_name(label, name, reader->err) != GP_OK)
        return reader->err->status;
    for (size_t i = 0; i < models->n; i++)
        if (strcmp(models->items[i].name, name) == 0)
            return gp_error_set(reader->err, GP_INVALID,
                                "%s: two are called \"%s\"; the first is in line %u",
                                label, name, models->items[i].line);
    return GP_OK;
}

static enum gp_status read_model(struct reader *reader, void *into, yyjson_val *table)
{
    struct models_settings *models = into;
    struct model_settings *model = &models->items[models->n];
    if (check_model(reader, models) != GP_OK)
        return reader->err->status;
    model_init(model, reader->arena);
    model->name = reader->key;
    model->file = reader->path;
    model->line = reader->line;
    models->n++;
    return read_members(reader, table, read_setting_of_model, model);
}

static enum gp_status read_models(struct reader *reader, struct models_settings *models,
                                  yyjson_val *tables)
{
    const size_t n = yyjson_obj_size(tables);
    if (models->items)
        return refuse_key(reader, "is set a second time", NULL);
    if (n > CONFIG_MAX_MODELS)
        return gp_error_set(
            reader->err, GP_INVALID, "%.*s:%u: %zu models, but at most %d",
            gp_cut(reader->path, 100), reader->path, reader->line, n, CONFIG_MAX_MODELS);
    models->items = gp_arena_alloc(reader->arena, n * sizeof *models->items);
    return models->items ? read_members(reader, tables, read_model, models)
                         : no_memory(reader);
}

static enum gp_status read_setting(struct reader *reader, void *into, yyjson_val *value)
{
    struct config *config = into;
    if (strcmp(reader->key, "models") == 0)
        return read_models(reader, &config->models, value);
    if (strcmp(reader->key, "$schema") == 0) /* for editors */
        return yyjson_is_str(value) ? GP_OK : refuse_type(reader, "a string", value);
    const struct option *option = options_find(&config->options, reader->key);
    if (option && !option->is_flag_only)
        return read_value(reader, &config->options, option, value);
    struct nearest nearest = {.word = reader->key};
    offer_rows(&nearest, &config->options, false);
    nearest_offer(&nearest, "models");
    return refuse_key(reader, option ? "is a flag only" : "is no setting", nearest.best);
}

void config_init(struct config *config, struct gp_arena *arena)
{
    *config = (struct config){.options = {.table = serve_options,
                                          .n = SERVE_N_OPTIONS,
                                          .values = &config->values,
                                          .arena = arena}};
}

enum gp_status config_read(struct config *config, const char *path, struct gp_error *err)
{
    struct reader reader = {.path = path,
                            .arena = config->options.arena,
                            .err = err,
                            .line = 1,
                            .key = "the file"};
    enum gp_status status = json_doc_open(&reader.json, path, reader.arena, err);
    if (status == GP_OK)
        status = read_members(&reader, yyjson_doc_get_root(reader.json.doc), read_setting,
                              config);
    json_doc_close(&reader.json);
    return status;
}
