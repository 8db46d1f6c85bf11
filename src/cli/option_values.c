/* What the values of options mean: numbers with bounds, sizes and durations with units,
 * choices, lists; read from text and written back as text. A message about a bad one
 * always says what is wanted, within which bounds, and what came. */
#include "cli/options.h"

#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* As dd and many others: K, M and G are powers of 1024, with B of 1000; Ki, Mi and Gi are how
 * Kubernetes writes them. Largest first, for writing. */
static const struct unit size_units[] = {
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"G", UINT64_C(1) << 30},
    {"M", UINT64_C(1) << 20},
    {"K", UINT64_C(1) << 10},
    {"g", UINT64_C(1) << 30},
    {"m", UINT64_C(1) << 20},
    {"k", UINT64_C(1) << 10},
    {"Gi", UINT64_C(1) << 30},
    {"Mi", UINT64_C(1) << 20},
    {"Ki", UINT64_C(1) << 10},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"kB", 1000},
    {"KB", 1000},
    {"B", 1},
    {"", 1},
};

/* The last is for reading only: a bare number is of seconds. */
static const struct unit duration_units[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000}};

static const struct unit short_units[] = {{"s", 1000000}, {"ms", 1000}, {"us", 1}};

static const struct unit count_units[] = {{"", 1}};

static void *field(const struct option *option, const void *values)
{
    return (char *)(uintptr_t)values + option->offset;
}

/* Digits and a unit; false when it is anything else, or does not fit. */
static bool read_number(const char *value, const struct unit *units, size_t n_units,
                        uint64_t *number)
{
    uint64_t n = 0;
    size_t n_digits = 0;
    for (; value[n_digits] >= '0' && value[n_digits] <= '9'; n_digits++)
        if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
            __builtin_add_overflow(n, (uint64_t)(value[n_digits] - '0'), &n))
            return false;
    if (n_digits == 0)
        return false;
    const char *unit = value + n_digits;
    for (size_t i = 0; i < n_units; i++)
        if (strcmp(unit, units[i].name) == 0)
            return !__builtin_mul_overflow(n, units[i].factor, number);
    *number = 0;
    return n == 0 && *unit == '\0'; /* nothing is nothing in any unit */
}

/* Which of "a|b|c"; false when none is. */
static bool read_choice(const char *words, const char *value, uint64_t *number)
{
    const size_t size = strlen(value);
    for (*number = 0;; (*number)++) {
        const size_t word = strcspn(words, "|");
        if (word == size && memcmp(words, value, size) == 0)
            return true;
        if (!words[word])
            return false;
        words += word + 1;
    }
}

/* The words for yes and no of the environment and of --flag=WORD. */
static bool read_flag(const char *value, uint64_t *number)
{
    static const char *const words[] = {"0",  "1",   "false", "true",
                                        "no", "yes", "off",   "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *number = i & 1;
            return true;
        }
    }
    return false;
}

static bool read_any(const struct option *option, const char *value, uint64_t *number)
{
    switch (option->kind) {
    case OPTION_FLAG:
        return read_flag(value, number);
    case OPTION_CHOICE:
        return read_choice(option->argument, value, number);
    case OPTION_SIZE:
        return read_number(value, size_units, sizeof size_units / sizeof *size_units,
                           number);
    case OPTION_DURATION:
        return read_number(value, duration_units,
                           sizeof duration_units / sizeof *duration_units, number);
    case OPTION_SHORT_DURATION:
        return read_number(value, short_units, sizeof short_units / sizeof *short_units,
                           number);
    default:
        return read_number(value, count_units, 1, number);
    }
}

static uint64_t highest(const struct option *option)
{
    if (option->max)
        return option->max;
    return option->kind == OPTION_SIZE ? UINT64_MAX : UINT32_MAX;
}

/* In the largest of the units that fits. */
static void write_duration(struct text *text, const struct unit *unit, uint64_t n)
{
    while (unit->factor > 1 && (n == 0 || n % unit->factor))
        unit++;
    text_printf(text, "%llu%s", (unsigned long long)(n / unit->factor), unit->name);
}

static void write_size(struct text *text, uint64_t bytes)
{
    for (size_t i = 0; i < 3; i++)
        if (bytes && bytes % size_units[i].factor == 0) {
            text_printf(text, "%llu%s",
                        (unsigned long long)(bytes / size_units[i].factor),
                        size_units[i].name);
            return;
        }
    text_printf(text, "%llu", (unsigned long long)bytes);
}

static void write_number(struct text *text, const struct option *option, uint64_t number)
{
    if (option->kind == OPTION_SIZE)
        write_size(text, number);
    else if (option->kind == OPTION_DURATION)
        write_duration(text, duration_units, number);
    else if (option->kind == OPTION_SHORT_DURATION)
        write_duration(text, short_units, number);
    else if (option->word && number == UINT32_MAX)
        text_puts(text, option->word);
    else
        text_printf(text, "%llu", (unsigned long long)number);
}

void option_wanted(struct text *text, const struct option *option)
{
    switch (option->kind) {
    case OPTION_FLAG:
        text_puts(text, "1 or 0");
        return;
    case OPTION_CHOICE:
        for (const char *c = option->argument; *c; c++)
            text_add(text, *c == '|' ? " or " : c, *c == '|' ? 4 : 1);
        return;
    case OPTION_SIZE:
        text_puts(text, "a size such as 64M or 1GiB");
        break;
    case OPTION_DURATION:
        text_puts(text, "a duration such as 500ms, 10s or 2m, or seconds");
        break;
    case OPTION_SHORT_DURATION:
        text_puts(text, "a duration such as 200us, 5ms or 1s");
        break;
    default:
        text_puts(text, "a number");
        break;
    }
    if (option->max) {
        text_puts(text, ", from ");
        write_number(text, option, option->min);
        text_puts(text, " to ");
        write_number(text, option, option->max);
    } else if (option->min) {
        text_puts(text, ", at least ");
        write_number(text, option, option->min);
    }
    if (option->word)
        text_printf(text, ", or %s", option->word);
}

static enum gp_status refuse(const struct option *option, const char *label,
                             const char *value, struct gp_error *err)
{
    struct text wanted = {0};
    option_wanted(&wanted, option);
    const enum gp_status status =
        gp_error_set(err, GP_INVALID, "%s wants %s, not \"%s\"", label,
                     wanted.data ? wanted.data : "something else", value);
    text_finish(&wanted);
    return status;
}

bool option_list_add(struct option_list *list, struct gp_arena *arena, const char *item)
{
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 8;
        const char **items = gp_arena_alloc(arena, capacity * sizeof *items);
        if (!items)
            return false;
        if (list->n)
            memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = item;
    return true;
}

/* The items of a comma-separated list, each a copy; empty ones are refused. */
static enum gp_status add_names(struct option_list *list, struct gp_arena *arena,
                                const char *label, const char *value,
                                struct gp_error *err)
{
    for (const char *next = value;; next++) {
        const size_t size = strcspn(next, ",");
        if (size == 0)
            return gp_error_set(err, GP_INVALID,
                                "%s wants names with commas between, not \"%s\"", label,
                                value);
        char *item = gp_arena_alloc(arena, size + 1);
        if (!item || !option_list_add(list, arena, item))
            return gp_error_set(err, GP_NO_MEMORY, "out of memory");
        memcpy(item, next, size);
        item[size] = '\0';
        next += size;
        if (!*next)
            return GP_OK;
    }
}

enum gp_status option_read(const struct option *option, const char *label,
                           const char *value, bool may_split, void *values,
                           struct gp_arena *arena, struct gp_error *err)
{
    void *to = field(option, values);
    if (option->kind == OPTION_TEXT) {
        *(const char **)to = value;
        return GP_OK;
    }
    if (option->kind == OPTION_NAMES || (option->kind == OPTION_LIST && may_split))
        return add_names(to, arena, label, value, err);
    if (option->kind == OPTION_LIST)
        return option_list_add(to, arena, value)
                   ? GP_OK
                   : gp_error_set(err, GP_NO_MEMORY, "out of memory");
    const bool is_word = option->word && strcmp(value, option->word) == 0;
    uint64_t number = UINT32_MAX;
    if (!is_word && (!read_any(option, value, &number) || number < option->min ||
                     number > highest(option)))
        return refuse(option, label, value, err);
    if (option->kind == OPTION_FLAG)
        *(bool *)to = number != 0;
    else if (option->kind == OPTION_SIZE)
        *(uint64_t *)to = number;
    else
        *(uint32_t *)to = (uint32_t)number;
    return GP_OK;
}

static void write_choice(struct text *text, const char *words, uint32_t index)
{
    for (; index; index--)
        words += strcspn(words, "|") + 1;
    text_add(text, words, strcspn(words, "|"));
}

void option_write(struct text *text, const struct option *option, const void *values)
{
    const void *from = field(option, values);
    const struct option_list *list = from;
    switch (option->kind) {
    case OPTION_FLAG:
        text_puts(text, *(const bool *)from ? "true" : "false");
        break;
    case OPTION_TEXT:
        text_puts(text, *(const char *const *)from ? *(const char *const *)from : "");
        break;
    case OPTION_LIST:
    case OPTION_NAMES:
        for (size_t i = 0; i < list->n; i++)
            text_printf(text, "%s%s", i ? "," : "", list->items[i]);
        break;
    case OPTION_SIZE:
        write_size(text, *(const uint64_t *)from);
        break;
    case OPTION_CHOICE:
        write_choice(text, option->argument, *(const uint32_t *)from);
        break;
    case OPTION_COUNT:
    case OPTION_DURATION:
    case OPTION_SHORT_DURATION:
        write_number(text, option, *(const uint32_t *)from);
        break;
    }
}
