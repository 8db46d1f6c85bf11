/* Makes and frees servers. */

#include "base/clock.h"
#include "base/fds.h"
#include "base/mem.h"
#include "cache/shared.h"
#include "cache/store.h"
#include "model/cached.h"
#include "model/model_name.h"
#include "server/accept.h"
#include "server/defaults.h"
#include "server/drain.h"
#include "server/signals.h"
#include "server/turn.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The least time that unused memory of the pool stays warm. */
#define POOL_IDLE_NS (30 * CLOCK_S)

enum { MIB = 1 << 20 };

static struct gp_server *server_of(struct source *source, size_t offset)
{
    return (struct gp_server *)(void *)((char *)source - offset);
}

static void timer_fired(struct worker *worker, struct source *source)
{
    (void)worker;
    struct gp_server *server =
        server_of(source, offsetof(struct gp_server, timers.source));
    timers_expire(&server->timers);
    pool_trim(server->pool, POOL_IDLE_NS);
}

static void stop_asked(struct worker *worker, struct source *source)
{
    (void)worker;
    drain_begin(server_of(source, offsetof(struct gp_server, stop)), NULL);
}

static void watch_model(struct model *model, void *arg)
{
    unsigned *n_long = arg;
    *n_long += slots_watch(&model->slots);
    cached_watch(model);
}

static unsigned watch_models(void *models)
{
    unsigned n_long = 0;
    models_each_busy(models, watch_model, &n_long);
    return n_long;
}

static enum gp_status open_listeners(struct gp_server *server,
                                     const struct gp_server_options *options,
                                     struct gp_error *err)
{
    static const char *const standard[] = {DEFAULT_LISTEN};
    const char *const *listen = options->n_listen ? options->listen : standard;
    const size_t n = options->n_listen ? options->n_listen : 1;
    enum gp_status status = GP_OK;
    for (size_t i = n; i-- > 0 && status == GP_OK;)
        status = listen_open(listen[i], &server->listeners, err);
    for (struct listener *l = server->listeners; l; l = l->next) {
        l->source.serve = accept_clients;
        l->owner = server;
    }
    return status;
}

/* Called before anything else is opened, so that nothing takes the number of a closed descriptor:
 * neither that of the log nor one that engines print to. */
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

static enum gp_status fail_pool(uint64_t size_bytes, int error, struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES], remedy[64] = "";
    /* an eighth of the address space surely fits into it */
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
    const uint64_t size_bytes = defaults_pool_bytes(server, words);
    server->pool = pool_create((size_t)size_bytes);
    if (!server->pool)
        (void)fail_pool(size_bytes, errno, err);
    return server->pool;
}

/* The part that both ways of making a server share, before the model is opened. */
static struct gp_server *create_parts(const struct gp_server_options *options,
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
            log_end(&server->log);
        }
        mem_free(server);
        return NULL;
    }
    server->created_ns = clock_now_ns();
    server->stop.serve = stop_asked;
    server->timers.source.serve = timer_fired;
    server->stop.fd = server->timers.source.fd = -1;
    pthread_mutex_init(&server->lock, NULL);
    pthread_mutex_init(&server->store_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    exchanges_init(&server->exchanges, server, server->pool);
    connections_init(&server->connections, &server->timers);
    models_init(&server->models);
    if (defaults_set(server, options, err) == GP_OK)
        return server;
    gp_server_destroy(server);
    return NULL;
}

/* More rows than threads that poll, so that two of them seldom have the same one. */
static enum gp_status open_metrics(struct gp_server *server, struct gp_error *err)
{
    server->models.n_counters = METRICS_N_OF_MODEL;
    server->models.n_counting = server->options.n_pollers * 8;
    if (metrics_init(&server->metrics, server->models.n_counting))
        return GP_OK;
    return gp_error_set(err, GP_NO_MEMORY, "no memory for the metrics");
}

static struct store *open_store(struct gp_server *server, struct gp_error *err)
{
    const struct gp_server_options *o = &server->options;
    const struct store_options options = {.dir = o->cache_dir,
                                          .size_bytes = o->cache_size_bytes,
                                          .ttl_s = o->cache_ttl_s,
                                          .log = &server->log};
    if (!o->cache_dir) {
        gp_error_set(err, GP_INVALID, "a cache needs a folder for its rows: --cache-dir");
        return NULL;
    }
    struct store *store = store_open(&options, err);
    if (!store)
        return NULL;
    const struct store_counts counts = store_count(store);
    log_line(&server->log, GP_LOG_INFO,
             "rows are cached in %s: %llu so far, %llu of %llu MiB", o->cache_dir,
             (unsigned long long)counts.n_rows,
             (unsigned long long)(counts.size_bytes / MIB),
             (unsigned long long)(o->cache_size_bytes / MIB));
    return store;
}

static struct store *need_store(void *context, struct gp_error *err)
{
    struct gp_server *server = context;
    pthread_mutex_lock(&server->store_lock);
    struct store *store = atomic_load(&server->store);
    if (!store) {
        store = open_store(server, err);
        atomic_store(&server->store, store);
    }
    pthread_mutex_unlock(&server->store_lock);
    return store;
}

static enum gp_status open_shared(struct gp_server *server, struct gp_error *err)
{
    const struct gp_server_options *o = &server->options;
    const struct shared_options options = {
        .url = o->cache_url, .ttl_s = o->cache_ttl_s, .log = &server->log};
    if (o->cache_url)
        server->shared = shared_open(&options, err);
    return !o->cache_url || server->shared ? GP_OK : err->status;
}

static enum gp_status create_threads(struct gp_server *server, struct gp_error *err)
{
    const struct model_host host = {
        .pool = server->pool,
        .log = &server->log,
        .poller = &server->poller,
        .engine_dir = server->options.engine_dir,
        .worker = server->options.worker,
        .n_cores = server->place.n_cores,
        .max_waiting = server->options.max_waiting,
        .hang_timeout_ms = server->options.hang_timeout_ms,
        .need_store = need_store,
        .store_context = server,
        .shared = server->shared,
    };
    struct poller *poller = &server->poller;
    char words[PLACE_WORDS_BYTES];
    poller->watch = watch_models;
    poller->watch_context = &server->models;
    server->timers.take_back = turn_take_back;
    server->connections.n_most = server->options.max_connections;
    server->stop.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum gp_status status = open_metrics(server, err);
    if (status == GP_OK)
        status = poller_init(poller, &server->log, server->options.n_pollers, err);
    if (status == GP_OK)
        status = timers_init(&server->timers, poller, err);
    if (status == GP_OK && !poller_add(poller, &server->stop, EPOLLIN))
        status = gp_error_set(err, GP_IO, "cannot watch for the end: %s",
                              place_explain(server->stop.fd < 0 ? EMFILE : errno, words));
    return status == GP_OK ? loader_init(&server->loader, &server->models, &host, err)
                           : status;
}

/* All are declared before any is opened, which may take long. */
static enum gp_status declare_models(struct gp_server *server,
                                     const struct gp_server_options *options,
                                     struct gp_error *err)
{
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < model_options_count(options) && status == GP_OK; i++) {
        const struct gp_model_options model = model_options_at(options, i);
        status = model_name_check(model.name ? model.name : "", err);
        if (status == GP_OK)
            status = loader_declare(&server->loader, &model, err);
    }
    return status;
}

static enum gp_status open_models(struct gp_server *server,
                                  const struct gp_server_options *options,
                                  struct gp_error *err)
{
    if (model_options_count(options) == 1 && !options->repository) {
        const struct gp_model_options first = model_options_at(options, 0);
        if (!options->n_models || !first.name) /* its name may be the model's own */
            return loader_open(&server->loader, &first, err);
    }
    enum gp_status status = declare_models(server, options, err);
    if (status == GP_OK)
        status = loader_open_declared(&server->loader, options->repository, err);
    if (status != GP_OK || !options->repository)
        return status;
    const struct gp_model_options defaults = model_options_defaults(options);
    return loader_open_repository(&server->loader, options->repository, &defaults, err);
}

static enum gp_status open_function(struct gp_server *server, gp_infer_fn *function,
                                    void *self, const struct gp_server_options *options,
                                    struct gp_error *err)
{
    struct gp_model_options model = model_options_at(options, 0);
    const struct gp_metadata *metadata = options->metadata;
    if (options->isolate)
        return gp_error_set(err, GP_INVALID,
                            "a function of this process cannot be isolated from it");
    return loader_open_function(&server->loader, function, self, &model, metadata, err);
}

static struct gp_server *create_server(gp_infer_fn *function, void *self,
                                       const struct gp_server_options *options,
                                       struct gp_error *err)
{
    const struct gp_server_options o = defaults_take(options);
    struct gp_error detail = {0};
    err = err ? err : &detail;
    struct gp_server *server = create_parts(&o, err);
    if (!server)
        return NULL;
    enum gp_status status = open_shared(server, err);
    if (status == GP_OK)
        status = create_threads(server, err);
    if (status == GP_OK && function)
        status = open_function(server, function, self, &o, err);
    else if (status == GP_OK)
        status = open_models(server, &o, err);
    if (status == GP_OK)
        status = models_set_default(&server->models, o.default_model, err);
    server->models.takes_any_path = o.takes_any_path;
    if (status == GP_OK)
        status = open_listeners(server, &o, err);
    if (status == GP_OK)
        return server;
    gp_server_destroy(server);
    return NULL;
}

struct gp_server *gp_server_create(const struct gp_server_options *options,
                                   struct gp_error *err)
{
    return create_server(NULL, NULL, options, err);
}

struct gp_server *gp_server_create_function(gp_infer_fn *function, void *self,
                                            const struct gp_server_options *options,
                                            struct gp_error *err)
{
    return create_server(function, self, options, err);
}

const char *gp_server_address(const struct gp_server *server, size_t index)
{
    const struct listener *listener = server->listeners;
    while (listener && index--)
        listener = listener->next;
    return listener ? listener->address : NULL;
}

void gp_server_stop(struct gp_server *server)
{
    const uint64_t one = 1;
    if (write(server->stop.fd, &one, sizeof one) < 0) {
        /* Already reported. */
    }
}

struct waiting_command {
    struct loader_command command; /* first */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_done;
};

static void end_wait(struct loader_command *command)
{
    struct waiting_command *waiting = (struct waiting_command *)command;
    pthread_mutex_lock(&waiting->lock);
    waiting->is_done = true;
    pthread_cond_signal(&waiting->changed);
    pthread_mutex_unlock(&waiting->lock);
}

static enum gp_status command_loader(struct gp_server *server,
                                     struct loader_command *command, struct gp_error *err)
{
    struct waiting_command waiting = {
        .command = *command,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    waiting.command.done = end_wait;
    loader_command(&server->loader, &waiting.command);
    pthread_mutex_lock(&waiting.lock);
    while (!waiting.is_done)
        pthread_cond_wait(&waiting.changed, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    *command = waiting.command;
    const struct gp_error *error = &command->error;
    return error->status == GP_OK
               ? GP_OK
               : gp_error_set(err, error->status, "%s", error->message);
}

enum gp_status gp_server_load(struct gp_server *server, const char *name,
                              struct gp_error *err)
{
    struct loader_command command = {.ask = LOADER_LOAD, .name = name};
    return command_loader(server, &command, err);
}

enum gp_status gp_server_unload(struct gp_server *server, const char *name,
                                struct gp_error *err)
{
    struct loader_command command = {.ask = LOADER_UNLOAD, .name = name};
    return command_loader(server, &command, err);
}

enum gp_status gp_server_reload(struct gp_server *server,
                                const struct gp_server_options *given,
                                struct gp_error *err)
{
    const struct gp_server_options options = defaults_take(given);
    struct loader_command command = {.ask = given ? LOADER_CONFIGURE : LOADER_RELOAD,
                                     .options = &options};
    if (defaults_check_limits(&options, err) != GP_OK)
        return GP_INVALID;
    const enum gp_status status = command_loader(server, &command, err);
    if (given && !command.is_refused)
        defaults_set_limits(server, &options);
    return status;
}

void gp_server_destroy(struct gp_server *server)
{
    if (!server)
        return;
    listen_close(server->listeners);
    models_finish(&server->models);
    loader_finish(&server->loader);
    store_close(atomic_load(&server->store));
    shared_close(server->shared);
    timers_finish(&server->timers);
    poller_finish(&server->poller);
    exchanges_finish(&server->exchanges);
    pool_destroy(server->pool);
    gp_arena_destroy(server->arena);
    log_end(&server->log);
    if (server->stop.fd >= 0)
        close(server->stop.fd);
    connections_finish(&server->connections);
    metrics_finish(&server->metrics);
    pthread_mutex_destroy(&server->lock);
    pthread_mutex_destroy(&server->store_lock);
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
    struct function_service service = {function, self, defaults_take(options)};
    struct gp_error err = {.message = "descriptor 0, 1 or 2 is closed"};
    enum gp_status status = GP_UNAVAILABLE;
    service.options.size_bytes = sizeof service.options;
    if (service.options.log_fd <= 0) {
        service.options.log_fd = STDERR_FILENO;
        service.options.log_level = GP_LOG_INFO;
    }
    const struct signals_server with = {.create = create_service, .arg = &service};
    if (fds_hold_standard()) /* the log may be one of them */
        status = signals_serve(&with, &err);
    if (status != GP_OK && log_has_room(STDERR_FILENO))
        fprintf(stderr, "%s\n", err.message);
    if (status == GP_DEADLINE)
        _exit(1);
    return status == GP_OK ? 0 : 1;
}
