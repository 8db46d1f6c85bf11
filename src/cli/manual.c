/* The man page. Texts that are laid out for a terminal are kept as they are (.nf); the
 * options are a list, each with its variable. */
#include "cli/manual.h"

#include <graphpipe/version.h>

#include <string.h>

/* Text for roff: nothing in it is a request or a hyphenation. */
static void add_roff(struct text *text, const char *plain)
{
    bool is_line_start = true;
    for (; *plain; plain++) {
        if (is_line_start && (*plain == '.' || *plain == '\''))
            text_puts(text, "\\&");
        if (*plain == '\\')
            text_puts(text, "\\e");
        else if (*plain == '-')
            text_puts(text, "\\-");
        else
            text_add(text, plain, 1);
        is_line_start = *plain == '\n';
    }
}

/* Lines, unchanged. */
static void add_verbatim(struct text *text, const char *lines)
{
    text_puts(text, ".nf\n");
    add_roff(text, lines);
    text_puts(text, ".fi\n");
}

static void add_option(struct text *text, const struct option *option)
{
    text_puts(text, ".TP\n");
    if (option->letter)
        text_printf(text, "\\fB\\-%c\\fR, ", option->letter);
    text_puts(text, "\\fB\\-\\-");
    add_roff(text, option->name);
    text_puts(text, "\\fR");
    if (option->argument) {
        text_puts(text, " \\fI");
        add_roff(text, option->argument);
        text_puts(text, "\\fR");
    }
    text_puts(text, "\n");
    add_roff(text, option->help);
    if (option->fallback) {
        text_puts(text, " (default ");
        add_roff(text, option->fallback);
        text_puts(text, ")");
    }
    text_puts(text, "\n");
    if (option->env)
        text_printf(text, ".br\nIn the environment: \\fB%s\\fR\n", option->env);
}

static void add_command(struct text *text, const struct command *command,
                        const char *prefix)
{
    text_puts(text, ".SH ");
    text_puts(text, prefix);
    add_roff(text, command->name);
    text_puts(text, "\n");
    add_roff(text, command->summary);
    text_printf(text, "\n.PP\n\\fB%s", prefix);
    add_roff(text, command->name);
    text_puts(text, "\\fR ");
    add_roff(text, command->usage);
    text_puts(text, "\n.PP\n");
    add_verbatim(text, command->about);
    for (size_t i = 0; i < command->n_options; i++) {
        if (command->options[i].group)
            text_printf(text, ".SS %s\n", command->options[i].group);
        else if (i == 0)
            text_puts(text, ".SS Options\n");
        add_option(text, &command->options[i]);
    }
    text_puts(text,
              ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nprints the short form of this\n");
    text_puts(text, ".SS Examples\n");
    add_verbatim(text, command->examples);
}

void manual_write(struct text *text, const struct manual *manual)
{
    text_printf(text, ".TH GRAPHPIPE 1 \"\" \"graphpipe %s\" \"\"\n.SH NAME\n",
                gp_version());
    text_puts(text, "graphpipe \\- ");
    add_roff(text, manual->summary);
    text_puts(text, "\n.SH SYNOPSIS\n.B graphpipe\n.I COMMAND\n[OPTIONS]...\n"
                    ".SH COMMANDS\n");
    for (size_t i = 0; i < manual->n_commands; i++) {
        text_printf(text, ".TP\n\\fB%s\\fR\n", manual->commands[i]->name);
        add_roff(text, manual->commands[i]->summary);
        text_puts(text, "\n");
    }
    text_puts(text, ".SH EXAMPLES\n");
    add_verbatim(text, manual->examples);
    for (size_t i = 0; i < manual->n_commands; i++)
        add_command(text, manual->commands[i], "graphpipe ");
    for (size_t i = 0; i < manual->n_programs; i++)
        add_command(text, manual->programs[i], "");
    text_puts(text, ".SH EXIT STATUS\n"
                    "0: all went well; 1: it failed, and standard error says why;\n"
                    "2: the command line or the configuration file made no sense.\n");
}
