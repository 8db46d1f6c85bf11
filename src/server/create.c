/* Making, running and freeing; drain.c has the way to the end. */
#include "server/server.h"

#include "base/clock.h"
#include "base/fds.h"
#include "base/mem.h"
#include "model/function.h"
#include "server/signals.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

/* How long unused memory of the pool stays warm, at least. */
#define POOL_IDLE_NS (30 * CLOCK_S)

enum { RESERVED_DESCRIPTORS = 64, MIB = 1 << 20 };

char *server_strdup(struct gp_server *server, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = gp_arena_alloc(server->arena, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static uint32_t or_default(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}

static uint32_t most_connections(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return 1 << 20;
    return limit.rlim_cur > (rlim_t)2 * RESERVED_DESCRIPTORS
               ? (uint32_t)(limit.rlim_cur - RESERVED_DESCRIPTORS)
               : (uint32_t)(limit.rlim_cur / 2);
}

/* Copies the names of --allow-host, which may be no URLs. */
static enum gp_status keep_hosts(struct gp_server *server, struct gp_error *err)
{
    struct gp_server_options *o = &server->options;
    const char **kept = gp_arena_alloc(server->arena, o->n_allow_hosts * sizeof *kept);
    for (size_t i = 0; kept && i < o->n_allow_hosts; i++) {
        const char *name = o->allow_hosts[i];
        if (!*name || strpbrk(name, "/@ ,"))
            return gp_error_set(err, GP_INVALID,
                                "--allow-host is \"%.*s\"; wanted the name of a host, as "
                                "clients write it in a URL: NAME, NAME:PORT or [IPV6]",
                                gp_cut(name, 100), name);
        kept[i] = server_strdup(server, name);
        if (!kept[i])
            kept = NULL;
    }
    o->allow_hosts = kept;
    return kept ? GP_OK : gp_error_set(err, GP_NO_MEMORY, "no memory for --allow-host");
}

static enum gp_status set_options(struct gp_server *server,
                                  const struct gp_server_options *given,
                                  struct gp_error *err)
{
    struct gp_server_options *o = &server->options;
    *o = *given;
    if (o->max_body_bytes > GP_MAX_MESSAGE_BYTES)
        return gp_error_set(err, GP_INVALID,
                            "the limit on bodies is %llu bytes; the format ends at %u",
                            (unsigned long long)o->max_body_bytes, GP_MAX_MESSAGE_BYTES);
    if (!o->max_body_bytes)
        o->max_body_bytes = 1u << 30;
    if (!o->min_rate_bytes)
        o->min_rate_bytes = 1000000;
    o->max_waiting = or_default(o->max_waiting, 1024);
    if (!o->max_connections || o->max_connections > most_connections())
        o->max_connections = most_connections();
    o->head_timeout_ms = or_default(o->head_timeout_ms, 10000);
    o->idle_timeout_ms = or_default(o->idle_timeout_ms, 75000);
    o->drain_timeout_ms = or_default(o->drain_timeout_ms, 30000);
    o->n_pollers = or_default(o->n_pollers, server->place.n_cores);
    o->hang_timeout_ms = or_default(o->hang_timeout_ms, 30000);
    return keep_hosts(server, err);
}

static void timer_fired(struct worker *worker, struct source *source)
{
    (void)source;
    timers_expire(&worker->server->timers);
    pool_trim(worker->server->pool, POOL_IDLE_NS);
}

static void stop_asked(struct worker *worker, struct source *source)
{
    (void)source;
    server_shutdown_for(worker->server, NULL);
}

static void watch(struct gp_server *server)
{
    model_watch(&server->model);
}

static enum gp_status open_listeners(struct gp_server *server,
                                     const struct gp_server_options *options,
                                     struct gp_error *err)
{
    static const char *const standard[] = {"127.0.0.1:9000"};
    const char *const *listen = options->n_listen ? options->listen : standard;
    const size_t n = options->n_listen ? options->n_listen : 1;
    enum gp_status status = GP_OK;
    for (size_t i = n; i-- > 0 && status == GP_OK;)
        status = listen_open(server, listen[i], &server->listeners, err);
    return status;
}

/* Before anything else is opened, so that nothing takes the number of a descriptor that is
 * closed: neither the log's nor one that engines print to. */
static bool begin_log(struct gp_server *server, const struct gp_server_options *o,
                      struct gp_error *err)
{
    if (log_begin(&server->log, o->log_fd, o->log_level, o->log_format, err) != GP_OK)
        return false;
    if (fds_hold_standard())
        return true;
    gp_error_set(err, GP_UNAVAILABLE,
                 "descriptor 0, 1 or 2 is closed, and /dev/null cannot be opened: %s",
                 strerror(errno));
    log_end(&server->log);
    return false;
}

static uint64_t pool_bytes(const struct gp_server *server, char words[PLACE_WORDS_BYTES])
{
    const uint64_t by_default = place_pool_bytes(&server->place, words);
    if (!server->options.pool_bytes)
        return by_default;
    (void)snprintf(words, PLACE_WORDS_BYTES, "--pool");
    return server->options.pool_bytes;
}

static enum gp_status fail_pool(uint64_t size_bytes, int error, struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES], remedy[64] = "";
    /* an eighth of the addresses is what surely finds a place in them */
    const uint64_t most_mib = place_addresses_left() / 8 / MIB;
    if (error == ENOMEM && most_mib && most_mib < size_bytes / MIB)
        (void)snprintf(remedy, sizeof remedy, ", or set --pool %lluMiB",
                       (unsigned long long)most_mib);
    return gp_error_set(err, GP_NO_MEMORY, "cannot make the pool of %llu MiB: %s%s",
                        (unsigned long long)(size_bytes / MIB),
                        place_explain(error, words), remedy);
}

static bool open_pool(struct gp_server *server, const struct gp_server_options *options,
                      struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    place_find(&server->place);
    server->options.pool_bytes = options->pool_bytes;
    const uint64_t size_bytes = pool_bytes(server, words);
    server->pool =
        (options->isolate ? pool_create_split : pool_create)((size_t)size_bytes);
    if (!server->pool)
        (void)fail_pool(size_bytes, errno, err);
    return server->pool;
}

/* What both ways of making a server share, before the model is opened. */
static struct gp_server *begin(const struct gp_server_options *options,
                               struct gp_error *err)
{
    struct gp_server *server = mem_zalloc(sizeof *server);
    if (server && !begin_log(server, options, err)) {
        mem_free(server);
        return NULL;
    }
    if (server)
        server->arena = gp_arena_create();
    if (!server || !server->arena || !open_pool(server, options, err)) {
        if (!server || !server->arena)
            gp_error_set(err, GP_NO_MEMORY, "no memory for a server");
        if (server) {
            gp_arena_destroy(server->arena);
            pool_destroy(server->pool);
            log_end(&server->log);
        }
        mem_free(server);
        return NULL;
    }
    server->created_ns = clock_now_ns();
    server->stop.serve = stop_asked;
    server->timers.source.serve = timer_fired;
    server->stop.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    server->timers.source.fd = -1;
    server->poller.epoll_fd = server->poller.end_fd = -1;
    pthread_mutex_init(&server->lock, NULL);
    server_keep_spares(server);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    exchanges_init(&server->exchanges);
    if (set_options(server, options, err) == GP_OK)
        return server;
    gp_server_destroy(server);
    return NULL;
}

/* The parts that need the model. */
static enum gp_status finish(struct gp_server *server,
                             const struct gp_server_options *options,
                             struct gp_error *err)
{
    const unsigned n_pollers = server->options.n_pollers;
    const unsigned n_workers = n_pollers + server->model.description.n_slots + 1;
    struct poller *poller = &server->poller;
    char words[PLACE_WORDS_BYTES];
    poller->watch = watch;
    enum gp_status status = poller_init(poller, server, n_pollers, n_workers, err);
    if (status == GP_OK)
        status = timers_init(&server->timers, poller, err);
    if (status == GP_OK && !poller_add(poller, &server->stop, EPOLLIN))
        status = gp_error_set(err, GP_IO, "cannot watch for the end: %s",
                              place_explain(server->stop.fd < 0 ? EMFILE : errno, words));
    if (status == GP_OK)
        status = open_listeners(server, options, err);
    server->options.listen = NULL;
    server->options.metadata = NULL;
    return status;
}

static enum gp_status open_function(struct gp_server *server, gp_infer_fn *function,
                                    void *self, const struct gp_server_options *options,
                                    struct gp_error *err)
{
    const uint32_t n_slots = or_default(options->n_slots, server->place.n_cores);
    if (options->isolate)
        return gp_error_set(err, GP_INVALID,
                            "a function of this process cannot be isolated from it");
    void *handle = function_create(function, self, n_slots, options->metadata);
    if (!handle)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the function");
    return model_attach(&server->model, server, &function_engine, handle, options, err);
}

/* Of the first layout, whatever is added to the struct later. */
#define OPTIONS_0_1_BYTES                                                                \
    (offsetof(struct gp_server_options, log_format) + sizeof(enum gp_log_format))

/* The caller's options, whatever version of the struct it has. */
static struct gp_server_options options_of(const struct gp_server_options *given)
{
    struct gp_server_options options = {0};
    if (given) {
        const size_t size = given->size_bytes ? given->size_bytes : OPTIONS_0_1_BYTES;
        memcpy(&options, given, size < sizeof options ? size : sizeof options);
    }
    return options;
}

static struct gp_server *create(gp_infer_fn *function, void *self,
                                const struct gp_server_options *options,
                                struct gp_error *err)
{
    struct gp_server_options o = options_of(options);
    struct gp_error detail = {0};
    err = err ? err : &detail;
    if (!function && model_choose(&o, err) != GP_OK)
        return NULL;
    struct gp_server *server = begin(&o, err);
    if (!server)
        return NULL;
    enum gp_status status = function ? open_function(server, function, self, &o, err)
                                     : model_open(&server->model, server, &o, err);
    if (status == GP_OK)
        status = finish(server, &o, err);
    if (status == GP_OK)
        return server;
    gp_server_destroy(server);
    return NULL;
}

struct gp_server *gp_server_create(const struct gp_server_options *options,
                                   struct gp_error *err)
{
    return create(NULL, NULL, options, err);
}

struct gp_server *gp_server_create_function(gp_infer_fn *function, void *self,
                                            const struct gp_server_options *options,
                                            struct gp_error *err)
{
    return create(function, self, options, err);
}

const char *gp_server_address(const struct gp_server *server, size_t index)
{
    const struct listener *listener = server->listeners;
    while (listener && index--)
        listener = listener->next;
    return listener ? listener->address : NULL;
}

/* "2 of 32 cores (cgroup quota), pool 256 MiB (half of memory.max)" */
static void log_place(struct gp_server *server)
{
    const struct place *place = &server->place;
    char cores[64], words[PLACE_WORDS_BYTES];
    const unsigned long long pool_mib = pool_bytes(server, words) / MIB;
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
static void log_start(struct gp_server *server)
{
    const struct model *model = &server->model;
    const struct gp_description *d = &model->description;
    struct text line = {0};
    char shape[96];
    text_printf(&line, "%s  %s %s  %s   ", model->metadata.name, model->engine->name,
                model->engine_version, d->summary ? d->summary : "");
    for (uint32_t i = 0; i < d->n_inputs; i++)
        text_printf(&line, "%s%s %s", i ? ", " : "", d->inputs[i].name,
                    gp_shape_format(d->inputs[i].dtype, d->inputs[i].shape,
                                    d->inputs[i].rank, shape, sizeof shape));
    for (uint32_t i = 0; i < d->n_outputs; i++)
        text_printf(&line, "%s%s %s", i ? ", " : " -> ", d->outputs[i].name,
                    gp_shape_format(d->outputs[i].dtype, d->outputs[i].shape,
                                    d->outputs[i].rank, shape, sizeof shape));
    text_printf(&line, "   ready in %lld ms",
                (long long)((clock_now_ns() - server->created_ns) / CLOCK_MS));
    if (!line.is_short)
        log_line(&server->log, GP_LOG_INFO, "%s", line.data);
    text_finish(&line);
    log_place(server);
    for (const struct listener *l = server->listeners; l; l = l->next)
        log_line(&server->log, GP_LOG_INFO, "listening on %s   (graphpipe inspect %s)",
                 l->address, l->address);
}

/* Once, however many listeners there are. */
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

struct worker *server_make_worker(struct gp_server *server)
{
    struct worker *worker = mem_zalloc(sizeof *worker);
    if (!worker)
        return NULL;
    worker->server = server;
    worker->poller = &server->poller;
    return worker;
}

void server_free_worker(struct worker *worker)
{
    log_lines_finish(&worker->lines);
    mem_free(worker);
}

static enum gp_status start(struct gp_server *server, struct gp_error *err)
{
    enum gp_status status = model_start(&server->model, err);
    if (status == GP_OK)
        status = poller_start(&server->poller, err);
    for (struct listener *l = server->listeners; l && status == GP_OK; l = l->next)
        if (!poller_add(&server->poller, &l->source, EPOLLIN))
            status = gp_error_set(err, GP_IO, "cannot watch %s", l->address);
    if (status == GP_OK) {
        log_start(server);
        warn_of_listeners(server);
    }
    return status;
}

enum gp_status gp_server_run(struct gp_server *server, struct gp_error *err)
{
    enum gp_status status = start(server, err);
    if (status == GP_OK)
        status = server_wait(server, err);
    if (status != GP_DEADLINE) { /* past the drain limit a thread may never come back */
        poller_stop(&server->poller);
        model_stop(&server->model);
        connection_close_all(server); /* where it did not start as a whole */
    } else {
        log_flush(&server->log); /* the end may be near */
    }
    return status;
}

void gp_server_stop(struct gp_server *server)
{
    const uint64_t one = 1;
    if (write(server->stop.fd, &one, sizeof one) < 0) {
        /* Told already. */
    }
}

void gp_server_destroy(struct gp_server *server)
{
    if (!server)
        return;
    listen_close(server->listeners);
    model_close(&server->model);
    if (server->poller.workers) {
        timers_finish(&server->timers);
        poller_finish(&server->poller);
    }
    exchanges_finish(&server->exchanges);
    pool_destroy(server->pool);
    gp_arena_destroy(server->arena);
    log_end(&server->log);
    close(server->stop.fd);
    while (server->n_spares)
        close(server->spares[--server->n_spares]);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
    mem_free(server);
}

struct function_service {
    gp_infer_fn *function;
    void *self;
    struct gp_server_options options;
};

static struct gp_server *create_service(const void *arg, struct gp_error *err)
{
    const struct function_service *service = arg;
    return gp_server_create_function(service->function, service->self, &service->options,
                                     err);
}

int gp_serve_function(gp_infer_fn *function, void *self,
                      const struct gp_server_options *options)
{
    struct function_service service = {function, self, options_of(options)};
    struct gp_error err = {.message = "descriptor 0, 1 or 2 is closed"};
    enum gp_status status = GP_UNAVAILABLE;
    service.options.size_bytes = sizeof service.options;
    if (service.options.log_fd <= 0) {
        service.options.log_fd = STDERR_FILENO;
        service.options.log_level = GP_LOG_INFO;
    }
    if (fds_hold_standard()) /* the log may be one of them */
        status = signals_serve(create_service, &service, &err);
    if (status != GP_OK && log_has_room(STDERR_FILENO))
        fprintf(stderr, "%s\n", err.message);
    if (status == GP_DEADLINE)
        _exit(1);
    return status == GP_OK ? 0 : 1;
}
