/* cli/model_host.h - a model that a subcommand runs itself: the options that say which it is, and what it
 * needs around it, with nothing that listens: a pool, a log on standard error, and a poller for its
 * threads. */
#ifndef GP_CLI_MODEL_HOST_H
#define GP_CLI_MODEL_HOST_H

#include "base/place.h"
#include "cli/engine_flags.h"
#include "model/model.h"
#include "net/poller.h"

struct model_flags {
    const char *engine;
    const char *engine_dir;
    struct option_list engine_options;
    struct engine_flags engine_flags;
    struct option_list inputs;
    struct option_list outputs;
    bool is_isolated;
};

/* Rows for a table; `member` is its struct model_flags. */
#define MODEL_FLAGS(type, member)                                                        \
    {.group = "The model", ENGINE_ROW, OPTION_AT(type, member.engine)},                  \
        {ENGINE_DIR_ROW, OPTION_AT(type, member.engine_dir)},                            \
        {ENGINE_OPTION_ROW, OPTION_AT(type, member.engine_options)},                     \
        {.name = "inputs",                                                               \
         .argument = "NAME,...",                                                         \
         .kind = OPTION_NAMES,                                                           \
         OPTION_AT(type, member.inputs),                                                 \
         .help = "the inputs that requests are for, as with serve"},                     \
        {.name = "outputs",                                                              \
         .argument = "NAME,...",                                                         \
         .kind = OPTION_NAMES,                                                           \
         OPTION_AT(type, member.outputs),                                                \
         .help = "the outputs that are computed (default: the model's)"},                \
        {.name = "isolate",                                                              \
         .kind = OPTION_FLAG,                                                            \
         OPTION_AT(type, member.is_isolated),                                            \
         .help = "run the engine in processes of its own"},                              \
        ENGINE_FLAGS(type, member.engine_flags)

/* Borrows from the flags, once their lists are joined (options_join). */
struct gp_model_options model_flags_options(const struct model_flags *flags,
                                            const char *path);

struct cli_host {
    struct model_host host;
    struct log log;
    struct poller poller;
    struct place place;
    atomic_bool is_ending;
};

/* Zeroed at first. If it fails, *err says why, and it is to be closed all the same. */
enum gp_status cli_host_open(struct cli_host *host, const char *engine_dir,
                             struct gp_error *err);
void cli_host_close(struct cli_host *host);

#endif
