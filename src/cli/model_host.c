#include "cli/model_host.h"

#include "server/defaults.h"

#include <unistd.h>

struct gp_model_options model_flags_options(const struct model_flags *flags,
                                            const char *path)
{
    return (struct gp_model_options){.size_bytes = sizeof(struct gp_model_options),
                                     .path = path,
                                     .engine = flags->engine,
                                     .engine_options = flags->engine_options.items,
                                     .n_engine_options = flags->engine_options.n,
                                     .inputs = flags->inputs.items,
                                     .outputs = flags->outputs.items,
                                     .n_inputs = flags->inputs.n,
                                     .n_outputs = flags->outputs.n,
                                     .isolate = flags->is_isolated};
}

enum gp_status cli_host_open(struct cli_host *host, const char *engine_dir,
                             struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    place_find(&host->place);
    host->host = (struct model_host){
        .pool = pool_create(place_pool_bytes(&host->place, words)),
        .log = &host->log,
        .poller = &host->poller,
        .engine_dir = engine_dir,
        .n_cores = host->place.n_cores,
        .max_waiting = 1,
        .hang_timeout_ms = DEFAULT_HANG_TIMEOUT_S * 1000,
        .is_ending = &host->is_ending,
    };
    if (!host->host.pool)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the pool");
    const enum gp_status status =
        log_begin(&host->log, STDERR_FILENO, GP_LOG_WARNING, GP_LOG_TEXT, err);
    return status == GP_OK ? poller_init(&host->poller, &host->log, 1, err) : status;
}

void cli_host_close(struct cli_host *host)
{
    poller_finish(&host->poller);
    log_end(&host->log);
    pool_destroy(host->host.pool);
}
