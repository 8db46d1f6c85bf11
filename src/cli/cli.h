/* cli/cli.h - what the subcommands are made of and share.
 *
 * A subcommand is a row: its words for --help, its options, and a function that runs with
 * the parsed values. main.c does the rest, so a subcommand's file holds only what is its
 * own. The programs of 2018 are rows too, found by the name that the program was called
 * by.
 */
#ifndef GP_CLI_CLI_H
#define GP_CLI_CLI_H

#include "cli/options.h"

#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct command {
    const char *name;
    const char *summary;  /* one line, for the list of commands */
    const char *usage;    /* what follows the name in the usage line */
    const char *about;    /* a short paragraph */
    const char *examples; /* lines, each ended by '\n' */
    const struct option *options;
    size_t n_options;
    size_t values_size; /* of the struct that the options fill */
    size_t min_words;
    size_t max_words;
    int (*run)(struct options *options); /* gives the exit status */
};

extern const struct command serve_command;
extern const struct command infer_command;
extern const struct command bench_command;
extern const struct command inspect_command;
extern const struct command decode_command;
extern const struct command engines_command;
extern const struct command check_config_command;
extern const struct command legacy_onnx_command;
extern const struct command legacy_tf_command;
extern const struct command legacy_echo_command;

/* "graphpipe: ..." on standard error; returns CLI_FAILED. */
int cli_fail(const char *format, ...) GP_PRINTF(1, 2);

/* The same for a command line that makes no sense; returns CLI_USAGE. */
int cli_misuse(const char *format, ...) GP_PRINTF(1, 2);

/* "error: ..." on standard error, for what is wrong with what was looked at; returns
 * CLI_FAILED. */
int cli_broken(const char *format, ...) GP_PRINTF(1, 2);

/* "graphpipe: warning: ..." on standard error. */
void cli_warn(const char *format, ...) GP_PRINTF(1, 2);

/* Writes what `text` holds to standard output, what cannot be seen but its line breaks
 * escaped, and empties it. False when memory was short; main.c reports that, and a standard output that cannot
 * be written. */
bool cli_flush(struct text *text);

/* An address as gp_client_create takes it: "http://" is put in front of a bare HOST:PORT.
 */
const char *cli_address(struct gp_arena *arena, const char *word);

/* How many characters the bytes are, which is how many columns most of them take. */
size_t cli_width(const char *bytes, size_t size_bytes);

/* A line of "key  value" columns: pads `text` with blanks up to column `width` of the
 * line that began at byte `line_start`, two at least. */
void cli_pad(struct text *text, size_t line_start, size_t width);

#endif
