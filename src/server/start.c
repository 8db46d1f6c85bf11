/* Runs a server, and logs a description of it at the start. */
#include "base/clock.h"
#include "server/defaults.h"
#include "server/drain.h"
#include "server/turn.h"
#include "wire/shape.h"

#include <stdio.h>
#include <sys/epoll.h>

enum { MIB = 1 << 20 };

/* "2 of 32 cores (cgroup quota), pool 256 MiB (half of memory.max)" */
static void log_place(struct gp_server *server)
{
    const struct place *place = &server->place;
    char cores[64], words[PLACE_WORDS_BYTES];
    const unsigned long long pool_mib = defaults_pool_bytes(server, words) / MIB;
    const bool is_large = pool_mib >= 10ull * 1024;
    if (place->cores_from)
        (void)snprintf(cores, sizeof cores, "%u of %u cores (%s)", place->n_cores,
                       place->n_machine_cores, place->cores_from);
    else
        (void)snprintf(cores, sizeof cores, "%u core%s", place->n_cores,
                       place->n_cores == 1 ? "" : "s");
    log_line(&server->log, GP_LOG_INFO, "%s, pool %llu %s (%s)", cores,
             is_large ? pool_mib / 1024 : pool_mib, is_large ? "GiB" : "MiB", words);
    if (pool_mib > place->memory_bytes / MIB)
        log_line(&server->log, GP_LOG_WARNING,
                 "the pool of %llu MiB is more than %s, %llu MiB: set a smaller --pool",
                 pool_mib, place->memory_from,
                 (unsigned long long)place->memory_bytes / MIB);
}

/* "mobilenet  onnx 1.32.0  cpu  2 threads   image float32[-1,3] -> probabilities
 * float32[-1,9]" */
static void log_model(struct model *model, void *arg)
{
    struct gp_server *server = arg;
    const struct gp_description *d = &model->description;
    struct text line = {0};
    text_printf(&line, "%s  %s %s  %s   ", model->metadata.name, model->engine->name,
                model->engine_version, d->summary ? d->summary : "");
    shape_write_ios(&line, d->inputs, d->n_inputs);
    if (d->n_outputs) {
        text_puts(&line, " -> ");
        shape_write_ios(&line, d->outputs, d->n_outputs);
    }
    if (model->batch_rules.max_rows > 1)
        text_printf(&line, "   batches of up to %llu rows",
                    (unsigned long long)model->batch_rules.max_rows);
    text_printf(&line, "   ready in %lld ms",
                (long long)((clock_now_ns() - server->created_ns) / CLOCK_MS));
    if (model->warm_up_ns)
        text_printf(&line, ", %lld of them for its warm-up",
                    (long long)(model->warm_up_ns / CLOCK_MS));
    if (!line.is_short)
        log_line(&server->log, GP_LOG_INFO, "%s", line.data);
    text_finish(&line);
}

static void log_start(struct gp_server *server)
{
    models_each(&server->models, log_model, server);
    log_place(server);
    for (const struct listener *l = server->listeners; l; l = l->next)
        log_line(&server->log, GP_LOG_INFO, "listening on %s   (graphpipe inspect %s)",
                 l->address, l->address);
}

/* Warns once, however many listeners there are. */
static void warn_of_listeners(struct gp_server *server)
{
    const struct listener *l = server->listeners;
    while (l && l->is_local)
        l = l->next;
    if (!l || server->options.n_allow_hosts)
        return;
    log_line(
        &server->log, GP_LOG_WARNING,
        "%s is open to other machines, without a password and in the clear: whoever "
        "reaches it may use the model and read /metrics%s; put a proxy with TLS and "
        "access control in front, and name the hosts to answer for with --allow-host",
        l->address,
        server->options.allow_remote_control ? ", and shut the server down" : "");
}

static enum gp_status start_server(struct gp_server *server, struct gp_error *err)
{
    enum gp_status status = poller_start(&server->poller, err);
    if (status == GP_OK)
        status = loader_start(&server->loader, err);
    for (struct listener *l = server->listeners; l && status == GP_OK; l = l->next)
        if (!poller_add(&server->poller, &l->source, EPOLLIN))
            status = gp_error_set(err, GP_IO, "cannot watch %s", l->address);
    if (status == GP_OK) {
        log_start(server);
        warn_of_listeners(server);
    }
    return status;
}

static void stop_threads(struct model *model, void *arg)
{
    (void)arg;
    slots_stop_threads(&model->slots);
}

enum gp_status gp_server_run(struct gp_server *server, struct gp_error *err)
{
    enum gp_status status = start_server(server, err);
    if (status == GP_OK)
        status = drain_wait(server, err);
    if (status != GP_DEADLINE) { /* past the drain limit a thread may never come back */
        poller_stop(&server->poller);
        loader_stop(&server->loader);
        models_each(&server->models, stop_threads, NULL);
        turn_close_all(server); /* if it did not start completely */
    } else {
        log_flush(&server->log); /* the end may be near */
    }
    return status;
}
