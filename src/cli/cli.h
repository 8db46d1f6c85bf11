/* cli/cli.h - what the subcommands are made of and share.
 *
 * A subcommand is a row: its words for --help, its options, and a function that runs with
 * the parsed values. main.c does the rest, so a subcommand's file holds only what is
 * specific to it. The programs of 2018 are rows too, found by the name of the program. */
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
    size_t values_size; /* of the struct that the options fill in */
    size_t min_words;
    size_t max_words;
    int (*run)(struct options *options); /* returns the exit status */
};

extern const struct command serve_command;
extern const struct command infer_command;
extern const struct command bench_command;
extern const struct command inspect_command;
extern const struct command decode_command;
extern const struct command engines_command;
extern const struct command check_config_command;
extern const struct command check_rows_command;
extern const struct command tune_command;
extern const struct command cache_command;
extern const struct command legacy_onnx_command;
extern const struct command legacy_tf_command;
extern const struct command legacy_echo_command;
extern const struct command legacy_batcher_command;

/* "graphpipe: ..." on standard error; returns CLI_FAILED. */
int cli_fail(const char *format, ...) GP_PRINTF(1, 2);

/* The same for a command line that makes no sense; returns CLI_USAGE. */
int cli_misuse(const char *format, ...) GP_PRINTF(1, 2);

/* "error: ..." on standard error, about the object of a command; returns CLI_FAILED. */
int cli_broken(const char *format, ...) GP_PRINTF(1, 2);

/* "graphpipe: warning: ..." on standard error. */
void cli_warn(const char *format, ...) GP_PRINTF(1, 2);

/* Writes `text` to standard output, escaping invisible characters except line breaks, and
 * empties it. False when memory was short; main.c reports if standard output cannot be
 * written. */
bool cli_flush(struct text *text);

/* An address as gp_client_create takes it: adds "http://" to a bare HOST:PORT, and this
 * machine's address to ":PORT". */
const char *cli_address(struct gp_arena *arena, const char *word);

/* How many characters the bytes are, which is how many columns most of them take. */
size_t cli_width(const char *bytes, size_t size_bytes);

/* For lines of "key  value" columns: pads `text` with at least two blanks up to column
 * `width` of the line that began at byte `line_start`. */
void cli_pad(struct text *text, size_t line_start, size_t width);

#endif
