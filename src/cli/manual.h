/* cli/manual.h - the man page and the completions for shells, made from the same rows as
 * --help, so that they agree. The build calls them as "graphpipe help --man" and
 * "graphpipe help --completion SHELL". */
#ifndef GP_CLI_MANUAL_H
#define GP_CLI_MANUAL_H

#include "cli/cli.h"

/* The whole program. */
struct manual {
    const char *summary;  /* one line */
    const char *examples; /* lines, each ended by '\n' */
    const struct command *const *commands;
    size_t n_commands;
    const struct command *const *programs; /* called by their own names */
    size_t n_programs;
};

/* The man page graphpipe(1), in roff's man macros. */
void manual_write(struct text *text, const struct manual *manual);

/* The completion script for a shell; false if it is not bash, zsh or fish. */
bool completion_write(struct text *text, const struct manual *manual, const char *shell);

#endif
