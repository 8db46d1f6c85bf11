/* cli/serve.h - the settings of "graphpipe serve", and what it shares with the programs
 * of 2018. */
#ifndef GP_CLI_SERVE_H
#define GP_CLI_SERVE_H

#include "cli/engine_flags.h"
#include "cli/fetch.h"
#include "cli/options.h"

#include <graphpipe/server.h>

struct serve_values {
    struct option_list models;
    const char *repository;
    struct option_list versions;
    const char *default_model;
    const char *warm_up;
    struct option_list inputs;
    struct option_list outputs;
    struct fetch fetch; /* has the cache_dir */
    uint64_t cache_size_bytes;
    const char *cache_url;

    const char *engine;
    const char *engine_dir;
    struct option_list engine_options;
    struct engine_flags engine_flags;
    uint32_t n_instances;
    uint32_t n_threads;
    uint32_t max_batch;
    uint32_t cache_ttl_ms;
    struct option_list batch_sizes;
    uint32_t max_delay_us;
    bool is_cached;
    bool is_isolated;
    uint32_t hang_timeout_ms;

    struct option_list listen;
    const char *host; /* for those who do not say listen */
    uint32_t port;
    bool allow_remote_control;
    struct option_list allow_hosts;
    struct option_list cors_origins;

    uint64_t max_body_bytes;
    uint64_t pool_bytes;
    uint32_t max_waiting;
    uint32_t max_connections;
    uint32_t timeout_ms;
    uint32_t head_timeout_ms;
    uint32_t idle_timeout_ms;
    uint32_t drain_timeout_ms;
    uint64_t min_rate_bytes;
    uint32_t n_pollers;

    bool is_verbose;
    bool is_quiet;
    bool print_config;
    uint32_t log_format;
    const char *config;
};

struct config;

/* A row without braces and offset. */
#define CACHE_DIR_ROW                                                                    \
    .name = "cache-dir", .env = "GP_CACHE_DIR", .argument = "DIR", .kind = OPTION_TEXT,  \
    .help = "where rows are kept, in DIR/rows, and models that URLs name\n"              \
            "(default: $XDG_CACHE_HOME/graphpipe or ~/.cache/graphpipe)"

enum { SERVE_N_OPTIONS = 49 };
extern const struct option serve_options[SERVE_N_OPTIONS];

/* gp_server_create with models that URLs name, which are fetched before. */
struct gp_server *serve_create(const struct gp_server_options *options,
                               const struct fetch *fetch, struct gp_error *err);

/* gp_server_reload, likewise. */
enum gp_status serve_reload(struct gp_server *server,
                            const struct gp_server_options *options,
                            const struct fetch *fetch, struct gp_error *err);

/* A command line that named a configuration file, and what came of both. */
struct serve_start {
    const struct options *given;
    const struct config *config;
};

/* Reads the file again and has the server follow it; false, and logged, if it cannot. */
bool serve_reread(const struct serve_start *start, struct gp_server *server);

/* Serves until a signal or /control/shutdown ends it; gives the exit status. `start` is for
 * SIGHUP; NULL: there is no file. */
int serve_until_stopped(const struct gp_server_options *options,
                        const struct fetch *fetch, const struct serve_start *start);

#endif
