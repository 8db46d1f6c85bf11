/* cli/manual.h - the man page and the completions of shells, out of the rows that --help
 * is made of, so that they say the same. The build calls them as "graphpipe help --man"
 * and "graphpipe help --completion SHELL".
 */
#ifndef GP_CLI_MANUAL_H
#define GP_CLI_MANUAL_H

#include "cli/cli.h"

/* All that the program is. */
struct manual {
    const char *summary;  /* one line */
    const char *examples; /* lines, each ended by '\n' */
    const struct command *const *commands;
    size_t n_commands;
    const struct command *const *programs; /* called by names of their own */
    size_t n_programs;
};

/* The man page graphpipe(1), in roff's man macros. */
void manual_write(struct text *text, const struct manual *manual);

/* What the shell is to source. False for a shell that is none of bash, zsh and fish. */
bool completion_write(struct text *text, const struct manual *manual, const char *shell);

#endif
