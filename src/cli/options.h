/* cli/options.h - the options of a subcommand: one table says all there is to know of
 * them.
 *
 * Parsing, --help, --print-config and the configuration file's reader and schema read the
 * same rows, so that they cannot disagree. A value comes from the command line, else from
 * the environment, else from the configuration file, else from the row's default, and lands
 * in the subcommand's own struct at the row's offset. Values point into argv, the
 * environment or the arena, and are never freed one by one.
 */
#ifndef GP_CLI_OPTIONS_H
#define GP_CLI_OPTIONS_H

#include "base/text.h"

#include <graphpipe/message.h>
#include <graphpipe/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The type of the field at the offset is in brackets. */
enum option_kind {
    OPTION_FLAG, /* [bool] takes no value */
    OPTION_TEXT, /* [const char *] the last one counts */
    OPTION_LIST, /* [struct option_list] repeatable; comma separated in the environment */
    OPTION_NAMES,    /* [struct option_list] comma separated everywhere, repeatable */
    OPTION_COUNT,    /* [uint32_t] */
    OPTION_SIZE,     /* [uint64_t] bytes: "64M", "1GiB", "500kB" */
    OPTION_DURATION, /* [uint32_t] milliseconds: "500ms", "10s", "2m", "1h" */
    OPTION_SHORT_DURATION, /* [uint32_t] microseconds: "200us", "5ms", "1s" */
    OPTION_CHOICE /* [uint32_t] which of the words of the argument's name, "text|json" */
};

struct option_list {
    const char **items;
    size_t n;
    size_t capacity;
};

struct option {
    const char *name;     /* long, without the dashes */
    const char *env;      /* environment variable; NULL: none */
    const char *argument; /* what --help calls the value; NULL for a flag */
    const char *help;     /* one line, or several with '\n' between */
    const char *fallback; /* the default, as it would be written; NULL: zero */
    const char *group;    /* a heading that begins here in --help; NULL: goes on */
    const char *word;     /* that may stand for a count, which is UINT32_MAX then */
    const char *into;     /* the list that options_join adds it to, as "name=value" */
    uint64_t min, max;    /* of numbers; max 0: what the field holds */
    size_t offset;        /* of the field in the subcommand's struct */
    enum option_kind kind;
    char letter;       /* 0: none */
    bool is_pairs;     /* of a list: its items are KEY=VALUE, in a file an object */
    bool is_flag_only; /* no key of the configuration file */
    bool is_of_model;  /* a key of a model in the configuration file, too */
    bool is_reread;    /* SIGHUP sets it anew, as it does what is of a model */
};

/* Ends a row: where its value goes. */
#define OPTION_AT(type, field) .offset = offsetof(struct type, field)

/* A later one comes before an earlier one. */
enum option_source {
    OPTION_DEFAULT,
    OPTION_FILE,
    OPTION_ENVIRONMENT,
    OPTION_COMMAND_LINE
};

enum { OPTIONS_MAX = 64 };

/* One command line. The caller fills the first group; the parser the second. */
struct options {
    const struct option *table;
    size_t n;
    void *values; /* the subcommand's struct, zeroed */
    struct gp_arena *arena;

    struct option_list words;           /* what is no option */
    unsigned char sources[OPTIONS_MAX]; /* enum option_source, by row */
    const char *file;                   /* that gave what is OPTION_FILE */
    unsigned lines[OPTIONS_MAX];        /* in that file, by row */
    bool wants_help;
};

enum { OPTION_LABEL_BYTES = 192 };

/* Reads defaults, environment and argv (without the program's name; ended by NULL). "--"
 * ends the options; "_" in a long name is "-", as the programs of 2018 took both. The
 * message of an error names the option, what it wants and what came. */
enum gp_status options_parse(struct options *options, char *const *argv,
                             struct gp_error *err);

/* The row of that name; NULL: there is none. */
const struct option *options_find(const struct options *options, const char *name);

/* The defaults alone, which options_parse begins with. */
enum gp_status options_take_defaults(struct options *options, struct gp_error *err);

/* Takes a value for the row from a source, replacing what an earlier source gave. `label` is
 * how a message calls the option. */
enum gp_status options_take(struct options *options, const struct option *option,
                            enum option_source source, const char *label,
                            const char *value, struct gp_error *err);

/* Of two over one table: takes over what `from` has, unless `to` has it from the file and `from`
 * from no later source. */
void options_inherit(struct options *to, const struct options *from);

/* What messages call the option, by where its value comes from. */
void options_label(char label[OPTION_LABEL_BYTES], const struct options *options,
                   const char *name);

/* After parsing: adds to lists what goes `into` them. GP_INVALID when a list says otherwise. */
enum gp_status options_join(struct options *options, struct gp_error *err);

/* Reads one value into the row's field; `label` is how a message calls the option. */
enum gp_status option_read(const struct option *option, const char *label,
                           const char *value, bool may_split, void *values,
                           struct gp_arena *arena, struct gp_error *err);

/* "a size such as 64M or 1GiB, from 1 to 1GiB" */
void option_wanted(struct text *text, const struct option *option);

/* Writes the value at the row's field as it could be given again. */
void option_write(struct text *text, const struct option *option, const void *values);

bool option_list_add(struct option_list *list, struct gp_arena *arena, const char *item);

/* The table as lines for --help, with its headings. */
void options_help(struct text *text, const struct option *table, size_t n);

/* "name = value  # where from" for each row; with `is_of_model` for those that a model has. */
void options_print(struct text *text, const struct options *options, bool is_of_model);

/* Where the option's value comes from. */
enum option_source options_source(const struct options *options, const char *name);

/* For "did you mean": the word that was given, and the nearest of those offered, NULL while
 * none is near. */
struct nearest {
    const char *word;
    const char *best;
    size_t n_edits; /* that make one of the other */
};
void nearest_offer(struct nearest *nearest, const char *word);

#endif
