/* Completions for bash, zsh and fish. They offer the names of commands and options; after
 * an option the choices of its argument, or folders, or files; and files for all other
 * words. */
#include "cli/manual.h"

#include <string.h>

static bool wants_folder(const struct option *option)
{
    return option->argument && strcmp(option->argument, "DIR") == 0;
}

static bool wants_file(const struct option *option)
{
    return option->argument &&
           (strstr(option->argument, "PATH") || strstr(option->argument, "FILE"));
}

static bool is_repeatable(const struct option *option)
{
    return option->kind == OPTION_LIST || option->kind == OPTION_NAMES;
}

/* "text|json" as "text json" */
static void add_choices(struct text *text, const struct option *option)
{
    for (const char *c = option->argument; *c; c++)
        text_add(text, *c == '|' ? " " : c, 1);
}

/* The first line of the help, for use within single quotes; the bytes in `special` get a
 * backslash as well. */
static void add_quoted(struct text *text, const char *help, const char *special)
{
    for (; *help && *help != '\n'; help++) {
        if (strchr(special, *help))
            text_puts(text, "\\");
        text_puts(text, *help == '\'' ? "'\\'" : "");
        text_add(text, help, 1);
    }
}

/* --- bash
 * ----------------------------------------------------------------------------- */

static void bash_command(struct text *text, const struct command *command)
{
    text_printf(text, "    %s)\n        case $before in\n", command->name);
    for (size_t i = 0; i < command->n_options; i++) {
        const struct option *option = &command->options[i];
        if (option->kind != OPTION_CHOICE && !wants_folder(option))
            continue;
        text_printf(text, "        --%s", option->name);
        if (option->letter)
            text_printf(text, " | -%c", option->letter);
        if (wants_folder(option)) {
            text_puts(text, ") kind=-d ;;\n");
        } else {
            text_puts(text, ") words='");
            add_choices(text, option);
            text_puts(text, "' ;;\n");
        }
    }
    text_puts(text, "        *) [[ $word != -* ]] || words='--help");
    for (size_t i = 0; i < command->n_options; i++)
        text_printf(text, " --%s", command->options[i].name);
    text_puts(text, "' ;;\n        esac ;;\n");
}

static void bash_write(struct text *text, const struct manual *manual)
{
    text_puts(
        text,
        "# bash completion of graphpipe; made by: graphpipe help --completion bash\n"
        "_graphpipe() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} kind=-f words= command\n"
        "    local before=${COMP_WORDS[COMP_CWORD - 1]}\n"
        "    # --name=value comes as three words\n"
        "    [[ $before != = ]] || before=${COMP_WORDS[COMP_CWORD - 2]}\n"
        "    [[ $word != = ]] || word=\n"
        "    command=${COMP_WORDS[0]##*/}\n"
        "    [[ $command != graphpipe ]] || command=${COMP_WORDS[1]}\n"
        "    [[ $COMP_CWORD != 1 || ${COMP_WORDS[0]##*/} != graphpipe ]] || "
        "command=graphpipe\n"
        "    case $command in\n"
        "    graphpipe) words='--help --version help");
    for (size_t i = 0; i < manual->n_commands; i++)
        text_printf(text, " %s", manual->commands[i]->name);
    text_puts(text, "' ;;\n");
    for (size_t i = 0; i < manual->n_commands; i++)
        bash_command(text, manual->commands[i]);
    for (size_t i = 0; i < manual->n_programs; i++)
        bash_command(text, manual->programs[i]);
    text_puts(text,
              "    esac\n"
              "    if [[ $words ]]; then\n"
              "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
              "    else\n"
              "        mapfile -t COMPREPLY < <(compgen \"$kind\" -- \"$word\")\n"
              "        compopt -o filenames 2>/dev/null\n"
              "    fi\n"
              "}\n"
              "complete -F _graphpipe graphpipe");
    for (size_t i = 0; i < manual->n_programs; i++)
        text_printf(text, " %s", manual->programs[i]->name);
    text_puts(text, "\n");
}

/* --- zsh
 * ------------------------------------------------------------------------------ */

static void zsh_option(struct text *text, const struct option *option)
{
    text_puts(text, " \\\n            ");
    if (is_repeatable(option) && option->letter)
        text_printf(text, "'*'{-%c,--%s}", option->letter, option->name);
    else if (option->letter)
        text_printf(text, "'(-%c --%s)'{-%c,--%s}", option->letter, option->name,
                    option->letter, option->name);
    else
        text_printf(text, "%s--%s", is_repeatable(option) ? "\\*" : "", option->name);
    text_printf(text, "%s'[", option->argument && !option->letter ? "=" : "");
    add_quoted(text, option->help, "[]:\\");
    text_puts(text, "]");
    if (option->argument) {
        text_puts(text, ":");
        add_quoted(text, option->argument, "[]:\\");
        text_puts(text, ":");
        if (option->kind == OPTION_CHOICE) {
            text_puts(text, "(");
            add_choices(text, option);
            text_puts(text, ")");
        } else if (wants_folder(option)) {
            text_puts(text, "_files -/");
        } else if (wants_file(option)) {
            text_puts(text, "_files");
        }
    }
    text_puts(text, "'");
}

static void zsh_command(struct text *text, const struct command *command)
{
    text_printf(text, "    %s)\n        _arguments -s", command->name);
    for (size_t i = 0; i < command->n_options; i++)
        zsh_option(text, &command->options[i]);
    text_puts(text, " \\\n            '(-h --help)'{-h,--help}'[help]'"
                    " \\\n            '*:file:_files' ;;\n");
}

static void zsh_write(struct text *text, const struct manual *manual)
{
    text_puts(text, "#compdef graphpipe");
    for (size_t i = 0; i < manual->n_programs; i++)
        text_printf(text, " %s", manual->programs[i]->name);
    text_puts(text, "\n# made by: graphpipe help --completion zsh\n"
                    "local command=$service\n"
                    "if [[ $command == graphpipe ]]; then\n"
                    "    if ((CURRENT == 2)); then\n"
                    "        local -a commands=(\n"
                    "            'help:tell more of a command'\n");
    for (size_t i = 0; i < manual->n_commands; i++) {
        text_printf(text, "            '%s:", manual->commands[i]->name);
        add_quoted(text, manual->commands[i]->summary, "\\");
        text_puts(text, "'\n");
    }
    text_puts(text, "        )\n"
                    "        _describe command commands\n"
                    "        return\n"
                    "    fi\n"
                    "    command=$words[2]\n"
                    "    shift words\n"
                    "    ((CURRENT--))\n"
                    "fi\n"
                    "case $command in\n");
    for (size_t i = 0; i < manual->n_commands; i++)
        zsh_command(text, manual->commands[i]);
    for (size_t i = 0; i < manual->n_programs; i++)
        zsh_command(text, manual->programs[i]);
    text_puts(text, "esac\n");
}

/* --- fish
 * ----------------------------------------------------------------------------- */

/* `where` names the program, and the command if there is one. */
static void fish_options(struct text *text, const struct command *command,
                         const char *where)
{
    for (size_t i = 0; i < command->n_options; i++) {
        const struct option *option = &command->options[i];
        text_printf(text, "complete -c %s -l %s", where, option->name);
        if (option->letter)
            text_printf(text, " -s %c", option->letter);
        if (option->kind == OPTION_CHOICE) {
            text_puts(text, " -x -a '");
            add_choices(text, option);
            text_puts(text, "'");
        } else if (wants_folder(option)) {
            text_puts(text, " -x -a '(__fish_complete_directories)'");
        } else if (option->argument) {
            text_puts(text, wants_file(option) ? " -r -F" : " -x");
        }
        text_puts(text, " -d '");
        add_quoted(text, option->help, "\\");
        text_puts(text, "'\n");
    }
}

static void fish_write(struct text *text, const struct manual *manual)
{
    text_puts(text, "# made by: graphpipe help --completion fish\n");
    for (size_t i = 0; i < manual->n_commands; i++) {
        const struct command *command = manual->commands[i];
        text_printf(text, "complete -c graphpipe -n __fish_use_subcommand -f -a %s -d '",
                    command->name);
        add_quoted(text, command->summary, "\\");
        text_puts(text, "'\n");
        char where[128];
        (void)snprintf(where, sizeof where,
                       "graphpipe -n '__fish_seen_subcommand_from %s'", command->name);
        fish_options(text, command, where);
    }
    for (size_t i = 0; i < manual->n_programs; i++)
        fish_options(text, manual->programs[i], manual->programs[i]->name);
}

bool completion_write(struct text *text, const struct manual *manual, const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        bash_write(text, manual);
    else if (strcmp(shell, "zsh") == 0)
        zsh_write(text, manual);
    else if (strcmp(shell, "fish") == 0)
        fish_write(text, manual);
    else
        return false;
    return true;
}
