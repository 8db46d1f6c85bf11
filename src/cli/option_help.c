/* The table of options as people read it: --help and --print-config. */
#include "cli/options.h"

#include <string.h>

enum { HELP_COLUMN = 28 };

static void add_indented(struct text *text, const char *lines)
{
    for (;;) {
        const size_t size = strcspn(lines, "\n");
        text_add(text, lines, size);
        if (!lines[size])
            return;
        text_printf(text, "\n%*s", HELP_COLUMN, "");
        lines += size + 1;
    }
}

static void help_row(struct text *text, const struct option *option)
{
    const size_t start = text->size_bytes;
    if (option->letter)
        text_printf(text, "  -%c, --%s", option->letter, option->name);
    else
        text_printf(text, "      --%s", option->name);
    if (option->argument)
        text_printf(text, " %s", option->argument);
    const size_t width = text->size_bytes - start;
    if (width + 2 > HELP_COLUMN)
        text_printf(text, "\n%*s", HELP_COLUMN, "");
    else
        text_printf(text, "%*s", (int)(HELP_COLUMN - width), "");
    add_indented(text, option->help);
    if (option->fallback)
        text_printf(text, " (default %s)", option->fallback);
    text_puts(text, "\n");
}

void options_help(struct text *text, const struct option *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (table[i].group)
            text_printf(text, "\n%s:\n", table[i].group);
        else if (i == 0)
            text_puts(text, "\nOptions:\n");
        help_row(text, &table[i]);
    }
    text_printf(text, "  -h, --help%*sthis text\n", HELP_COLUMN - 12, "");
}

static void add_origin(struct text *text, const struct options *options, size_t i)
{
    const struct option *option = &options->table[i];
    switch (options->sources[i]) {
    case OPTION_COMMAND_LINE:
        text_puts(text, "command line");
        break;
    case OPTION_ENVIRONMENT:
        text_puts(text, option->env);
        break;
    case OPTION_FILE:
        text_printf(text, "%s:%u", options->file, options->lines[i]);
        break;
    default:
        text_puts(text, option->fallback ? "default" : "not set");
    }
}

void options_print(struct text *text, const struct options *options, bool is_of_model)
{
    for (size_t i = 0; i < options->n; i++) {
        const struct option *option = &options->table[i];
        const size_t start = text->size_bytes;
        if (is_of_model && !option->is_of_model)
            continue;
        text_printf(text, "%s = ", option->name);
        option_write(text, option, options->values);
        const size_t width = text->size_bytes - start;
        text_printf(text, "%*s# ", width < 36 ? (int)(36 - width) : 2, "");
        add_origin(text, options, i);
        text_puts(text, "\n");
    }
}
