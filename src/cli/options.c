/* Walks a command line over a table of options. Defaults are read first, then the
 * environment, then argv; a later source replaces what an earlier one said, and lists
 * grow only within one source. What a value means is in option_values.c. */
#include "cli/options.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST_WORD = 31, MOST_EDITS = 2 /* more make another word */ };

/* Small edits that make one word of the other. */
static size_t count_edits(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST_WORD || m > LONGEST_WORD)
        return n > m ? n : m;
    size_t row[LONGEST_WORD + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t change = diagonal + (a[i - 1] != b[j - 1]);
            const size_t edit = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < edit ? change : edit;
        }
    }
    return row[m];
}

void nearest_offer(struct nearest *nearest, const char *word)
{
    const size_t n_edits = count_edits(nearest->word, word);
    if (n_edits <= MOST_EDITS && (!nearest->best || n_edits < nearest->n_edits)) {
        nearest->best = word;
        nearest->n_edits = n_edits;
    }
}

/* As strncmp == 0 over a whole long name, with '_' read as '-'. */
static bool is_name(const char *name, const char *given, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (name[i] != (given[i] == '_' ? '-' : given[i]))
            return false;
    return name[size] == '\0';
}

static const struct option *find_long(const struct options *options, const char *given,
                                      size_t size)
{
    for (size_t i = 0; i < options->n; i++)
        if (is_name(options->table[i].name, given, size))
            return &options->table[i];
    return NULL;
}

static const struct option *find_letter(const struct options *options, char letter)
{
    for (size_t i = 0; i < options->n; i++)
        if (options->table[i].letter == letter)
            return &options->table[i];
    return NULL;
}

static enum gp_status unknown_long(const struct options *options, const char *given,
                                   size_t size, struct gp_error *err)
{
    char word[LONGEST_WORD + 1] = "";
    if (size < sizeof word)
        memcpy(word, given, size);
    struct nearest nearest = {.word = word};
    for (size_t i = 0; i < options->n; i++)
        nearest_offer(&nearest, options->table[i].name);
    return gp_error_set(err, GP_INVALID, "unknown option --%.*s%s%s%s", (int)size, given,
                        nearest.best ? "; did you mean --" : "",
                        nearest.best ? nearest.best : "", nearest.best ? "?" : "");
}

static void clear_list(const struct option *option, void *values)
{
    if (option->kind == OPTION_LIST || option->kind == OPTION_NAMES)
        ((struct option_list *)(void *)((char *)values + option->offset))->n = 0;
}

enum gp_status options_take(struct options *options, const struct option *option,
                            enum option_source source, const char *label,
                            const char *value, struct gp_error *err)
{
    unsigned char *was = &options->sources[option - options->table];
    const bool may_split = source == OPTION_DEFAULT || source == OPTION_ENVIRONMENT;
    if (*was != source)
        clear_list(option, options->values);
    *was = (unsigned char)source;
    return option_read(option, label, value, may_split, options->values, options->arena,
                       err);
}

enum gp_status options_take_defaults(struct options *options, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < options->n && status == GP_OK; i++) {
        const struct option *option = &options->table[i];
        if (option->fallback)
            status = options_take(options, option, OPTION_DEFAULT, option->name,
                                  option->fallback, err);
    }
    return status;
}

static enum gp_status take_environment(struct options *options, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < options->n && status == GP_OK; i++) {
        const struct option *option = &options->table[i];
        const char *value = option->env ? getenv(option->env) : NULL;
        if (value && *value)
            status = options_take(options, option, OPTION_ENVIRONMENT, option->env, value,
                                  err);
    }
    return status;
}

/* "--name", "--name=value" or "--name" "value"; *argv moves past a value that it used. */
static enum gp_status take_long(struct options *options, char *const **argv,
                                struct gp_error *err)
{
    const char *given = **argv + 2;
    const size_t size = strcspn(given, "=");
    if (is_name("help", given, size) && !given[size]) {
        options->wants_help = true;
        return GP_OK;
    }
    const struct option *option = find_long(options, given, size);
    if (!option)
        return unknown_long(options, given, size, err);
    char label[64];
    (void)snprintf(label, sizeof label, "--%s", option->name);
    const char *value = given[size] == '=' ? given + size + 1 : NULL;
    if (!value && option->kind != OPTION_FLAG) {
        if (!(*argv)[1])
            return gp_error_set(err, GP_INVALID, "%s needs a value: %s %s", label, label,
                                option->argument);
        value = *++*argv;
    }
    return options_take(options, option, OPTION_COMMAND_LINE, label, value ? value : "1",
                        err);
}

/* "-v", "-vq", "-lVALUE" or "-l" "VALUE". */
static enum gp_status take_letters(struct options *options, char *const **argv,
                                   struct gp_error *err)
{
    for (const char *letter = **argv + 1; *letter; letter++) {
        if (*letter == 'h') {
            options->wants_help = true;
            continue;
        }
        const struct option *option = find_letter(options, *letter);
        if (!option)
            return gp_error_set(err, GP_INVALID, "unknown option -%c", *letter);
        const char label[] = {'-', *letter, '\0'};
        if (option->kind == OPTION_FLAG) {
            const enum gp_status status =
                options_take(options, option, OPTION_COMMAND_LINE, label, "1", err);
            if (status != GP_OK)
                return status;
            continue;
        }
        const char *value = letter[1] ? letter + 1 : *++*argv;
        if (!value)
            return gp_error_set(err, GP_INVALID, "%s needs a value: %s %s", label, label,
                                option->argument);
        return options_take(options, option, OPTION_COMMAND_LINE, label, value, err);
    }
    return GP_OK;
}

/* "-" is a word (standard input), and so is a negative number. */
static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] && !(word[1] >= '0' && word[1] <= '9');
}

enum gp_status options_parse(struct options *options, char *const *argv,
                             struct gp_error *err)
{
    enum gp_status status = options_take_defaults(options, err);
    if (status == GP_OK)
        status = take_environment(options, err);
    bool are_over = false;
    for (; status == GP_OK && *argv; argv++) {
        if (!are_over && strcmp(*argv, "--") == 0)
            are_over = true;
        else if (are_over || !is_option(*argv))
            status = option_list_add(&options->words, options->arena, *argv)
                         ? GP_OK
                         : gp_error_set(err, GP_NO_MEMORY, "out of memory");
        else if ((*argv)[1] == '-')
            status = take_long(options, &argv, err);
        else
            status = take_letters(options, &argv, err);
        if (!*argv || options->wants_help)
            break;
    }
    return options->wants_help ? GP_OK : status;
}

const struct option *options_find(const struct options *options, const char *name)
{
    for (size_t i = 0; i < options->n; i++)
        if (strcmp(options->table[i].name, name) == 0)
            return &options->table[i];
    return NULL;
}

void options_label(char label[OPTION_LABEL_BYTES], const struct options *options,
                   const char *name)
{
    const struct option *option = options_find(options, name);
    const size_t i = (size_t)(option - options->table);
    if (options->sources[i] == OPTION_FILE)
        (void)snprintf(label, OPTION_LABEL_BYTES, "%.*s:%u: %s",
                       gp_cut(options->file, 100), options->file, options->lines[i],
                       name);
    else if (options->sources[i] == OPTION_ENVIRONMENT)
        (void)snprintf(label, OPTION_LABEL_BYTES, "%s", option->env);
    else
        (void)snprintf(label, OPTION_LABEL_BYTES, "--%s", name);
}

/* "name=value" into the list, unless that says it already. */
static enum gp_status join(struct options *options, const struct option *option,
                           const struct option *to, struct gp_error *err)
{
    const void *from = (const char *)options->values + option->offset;
    struct option_list *list = (void *)((char *)options->values + to->offset);
    const bool is_flag = option->kind == OPTION_FLAG, is_off = is_flag && !*(bool *)from;
    const char *value = is_off ? "0" : is_flag ? "1" : *(const char *const *)from;
    const size_t size = strlen(option->name);
    for (size_t i = 0; i < list->n; i++) {
        const char *item = list->items[i];
        if (strncmp(item, option->name, size) != 0 || item[size] != '=')
            continue;
        if (strcmp(item + size + 1, value) == 0)
            return GP_OK;
        char one[OPTION_LABEL_BYTES], other[OPTION_LABEL_BYTES];
        options_label(one, options, option->name);
        options_label(other, options, to->name);
        return gp_error_set(err, GP_INVALID,
                            "%s=%.*s and %s %.*s contradict each other: give one", one,
                            gp_cut(value, 100), value, other, gp_cut(item, 150), item);
    }
    if (is_off)
        return GP_OK;
    const size_t size_bytes = size + strlen(value) + 2;
    char *item = gp_arena_alloc(options->arena, size_bytes);
    if (!item || !option_list_add(list, options->arena, item))
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    (void)snprintf(item, size_bytes, "%s=%s", option->name, value);
    return GP_OK;
}

enum gp_status options_join(struct options *options, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < options->n && status == GP_OK; i++) {
        const struct option *option = &options->table[i];
        if (option->into && options->sources[i] != OPTION_DEFAULT)
            status = join(options, option, options_find(options, option->into), err);
    }
    return status;
}

static size_t field_size(enum option_kind kind)
{
    switch (kind) {
    case OPTION_FLAG:
        return sizeof(bool);
    case OPTION_TEXT:
        return sizeof(const char *);
    case OPTION_LIST:
    case OPTION_NAMES:
        return sizeof(struct option_list);
    case OPTION_SIZE:
        return sizeof(uint64_t);
    default:
        return sizeof(uint32_t);
    }
}

static void copy_field(const struct option *option, void *to, const void *from)
{
    void *field = (char *)to + option->offset;
    memcpy(field, (const char *)from + option->offset, field_size(option->kind));
    if (option->kind == OPTION_LIST || option->kind == OPTION_NAMES) {
        struct option_list *list = field;
        list->capacity = list->n; /* the items are shared, so adding to them copies */
    }
}

void options_inherit(struct options *to, const struct options *from)
{
    for (size_t i = 0; i < to->n; i++) {
        if (to->sources[i] == OPTION_FILE && from->sources[i] <= OPTION_FILE)
            continue;
        copy_field(&to->table[i], to->values, from->values);
        to->sources[i] = from->sources[i];
        to->lines[i] = from->lines[i];
    }
    if (!to->file)
        to->file = from->file;
}

enum option_source options_source(const struct options *options, const char *name)
{
    const struct option *option = options_find(options, name);
    return option ? (enum option_source)options->sources[option - options->table]
                  : OPTION_DEFAULT;
}
