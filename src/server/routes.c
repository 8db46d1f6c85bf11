/* POST to any path but the reserved ones is an inference; GET of such a path is the
 * metadata as JSON for people. The reserved ones: /control, /metrics, /v1, /v2, /ui.
 *
 * A route that changes the server's state is for this machine, and never for a web page or for
 * those behind a proxy. Either may look like a client of this machine: a browser runs on it, and
 * a proxy often does. They are told by the fields that they add, and by the name that they ask
 * for. */
#include "server/routes.h"

#include "base/clock.h"
#include "server/drain.h"
#include "server/format.h"
#include "server/host.h"
#include "server/infer.h"
#include "server/metrics_text.h"
#include "server/models_json.h"

#include <string.h>
#include <strings.h>

/* No model is at "/metrics", "/metrics/x" or "/metrics?x". */
static bool is_reserved(const char *target)
{
    static const char *const folders[] = {"/control", "/metrics", "/v1", "/v2", "/ui"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const size_t n = strlen(folders[i]);
        if (strncmp(target, folders[i], n) == 0 &&
            (!target[n] || strchr("/?", target[n])))
            return true;
    }
    return false;
}

static void answer_word(struct exchange *x, int status, const char *word)
{
    x->answer.status = status;
    x->format->write_word(x, word);
}

static enum served get_metrics(struct exchange *x)
{
    metrics_write(x->server, x->arena, &x->text);
    exchange_answer_text(x, "text/plain; version=0.0.4; charset=utf-8");
    return SERVED_ANSWER;
}

static enum served get_is_ready(struct exchange *x)
{
    struct gp_error why;
    if (server_is_draining(x->server))
        answer_word(x, 503, "draining");
    else if (models_are_ready(&x->server->models, &why))
        answer_word(x, 200, "ok");
    else
        answer_word(x, 503, why.message);
    return SERVED_ANSWER;
}

static enum served get_is_alive(struct exchange *x)
{
    answer_word(x, 200, "ok");
    return SERVED_ANSWER;
}

static enum served get_client_count(struct exchange *x)
{
    char count[16];
    (void)snprintf(count, sizeof count, "%u", connections_count(&x->server->connections));
    answer_word(x, 200, count);
    return SERVED_ANSWER;
}

static enum served shut_down(struct exchange *x)
{
    answer_word(x, 200, "shutdown");
    drain_begin(x->server, &x->inference.task);
    return SERVED_LATER;
}

/* What the loader is asked to do for a request, which is the loader's meanwhile. */
struct order {
    struct loader_command command; /* first */
    struct exchange *x;
};

static void end_order(struct loader_command *command)
{
    struct exchange *x = ((struct order *)command)->x;
    x->error = command->error;
    if (x->error.status == GP_OK)
        answer_word(x, 200, "ok");
    else
        exchange_answer_error(x);
    poller_ready(&x->server->poller, &x->inference.task);
}

/* The name in "/control/models/NAME/...", in the arena; NULL when memory is short. */
static char *name_in(struct exchange *x)
{
    const char *name = x->target + sizeof "/control/models/" - 1;
    const size_t size = strcspn(name, "/");
    char *copy = gp_arena_alloc(x->arena, size + 1);
    if (!copy) {
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the model's name");
        return NULL;
    }
    memcpy(copy, name, size);
    copy[size] = '\0';
    return copy;
}

static enum served order_loader(struct exchange *x, enum loader_ask ask)
{
    char *name = name_in(x);
    struct order *order = name ? gp_arena_alloc(x->arena, sizeof *order) : NULL;
    if (!order) {
        if (name)
            gp_error_set(&x->error, GP_NO_MEMORY, "no memory for an order to the loader");
        exchange_answer_error(x);
        return SERVED_ANSWER;
    }
    *order = (struct order){{.ask = ask, .name = name, .done = end_order}, x};
    loader_command(&x->server->loader, &order->command);
    return SERVED_LATER;
}

static enum served load_model(struct exchange *x)
{
    return order_loader(x, LOADER_LOAD);
}

static enum served unload_model(struct exchange *x)
{
    return order_loader(x, LOADER_UNLOAD);
}

static enum served get_model_is_ready(struct exchange *x)
{
    const char *name = name_in(x);
    struct model *model = name ? models_find(&x->server->models, name, &x->error) : NULL;
    if (model)
        answer_word(x, 200, "ok");
    else
        exchange_answer_error(x);
    if (model)
        model_drop(model);
    return SERVED_ANSWER;
}

#define ANY_METHOD "Allow: GET, HEAD, POST, OPTIONS\r\n"

/* OPTIONS of a model, or of the whole server: balancers see by it that it is there, browsers whether a
 * page may ask. The words of /control take it as any other method, since a balancer that asks for
 * one of them so wants to know it. */
static enum served get_options(struct exchange *x)
{
    x->answer.status = 204;
    x->answer.fields = x->is_for_page ? cors_preflight : ANY_METHOD;
    return SERVED_ANSWER;
}

static enum served get_models(struct exchange *x)
{
    models_write_json(x->server, &x->text);
    exchange_answer_text(x, "application/json");
    return SERVED_ANSWER;
}

/* In a path ":name" stands for any one part. */
struct route {
    const char *path;
    const char *allow; /* the methods, as 405 tells them */
    enum metrics_kind kind;
    bool changes_state; /* which may take its time */
    enum served (*serve)(struct exchange *x);
};

static const struct route routes[] = {
    {"/control/is_ready", ANY_METHOD, METRICS_CONTROL, false, get_is_ready},
    {"/control/is_alive", ANY_METHOD, METRICS_CONTROL, false, get_is_alive},
    {"/control/client_count", ANY_METHOD, METRICS_CONTROL, false, get_client_count},
    {"/control/shutdown", "Allow: POST\r\n", METRICS_CONTROL, true, shut_down},
    {"/control/models/:name/is_ready", ANY_METHOD, METRICS_CONTROL, false,
     get_model_is_ready},
    {"/control/models/:name/load", "Allow: POST\r\n", METRICS_CONTROL, true, load_model},
    {"/control/models/:name/unload", "Allow: POST\r\n", METRICS_CONTROL, true,
     unload_model},
    {"/metrics", "Allow: GET, HEAD\r\n", METRICS_SCRAPE, false, get_metrics},
};

static const struct route options_route = {"*", "Allow: OPTIONS\r\n", METRICS_OTHER,
                                           false, get_options};

/* GET of "/" where there are several models. */
static const struct route list_route = {"/", ANY_METHOD, METRICS_METADATA, false,
                                        get_models};

static bool is_path(const char *target, const char *path)
{
    while (*path) {
        if (*path == ':') {
            const size_t n = strcspn(target, "/?");
            if (!n)
                return false;
            target += n;
            path += strcspn(path, "/");
        } else if (*target++ != *path++) {
            return false;
        }
    }
    return !*target || *target == '?';
}

static bool is_list(const struct exchange *x)
{
    struct gp_server *server = x->server;
    return x->http.method != HTTP_METHOD_POST && is_path(x->target, "/") &&
           !models_is_lone(&server->models);
}

static const struct route *find_route(const char *target)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (is_path(target, routes[i].path))
            return &routes[i];
    return NULL;
}

static bool refuse_request(struct exchange *x, enum gp_status status, const char *message)
{
    gp_error_set(&x->error, status, "%s", message);
    return false;
}

static bool refuse_path(struct exchange *x)
{
    if (strncmp(x->target, "/control", sizeof "/control" - 1) == 0)
        return refuse_request(
            x, GP_NOT_FOUND,
            "no such route; there are /control/is_ready, /control/is_alive, "
            "/control/client_count, /control/shutdown, and "
            "/control/models/NAME/ with is_ready, load and unload");
    return refuse_request(x, GP_NOT_FOUND, "no such route: this path is reserved");
}

static bool check_method(struct exchange *x)
{
    if (strstr(x->route->allow, http_method_name(x->http.method)))
        return true;
    x->answer.fields = x->route->allow;
    gp_error_set(&x->error, GP_METHOD, "method not allowed; %s takes %.*s",
                 x->route->path, (int)strcspn(x->route->allow + sizeof "Allow:", "\r"),
                 x->route->allow + sizeof "Allow:");
    return false;
}

/* The names of --allow-host apply to every route. A client of a unix socket was let in by the
 * permissions of the socket's file. */
static bool check_host(struct exchange *x, const char *host, size_t size)
{
    const struct gp_server_options *o = &x->server->options;
    bool is_allowed = o->n_allow_hosts == 0 || x->guest->listener->unix_path;
    for (size_t i = 0; i < o->n_allow_hosts && !is_allowed; i++)
        is_allowed = host_is_named(host, size, o->allow_hosts[i]);
    if (!is_allowed)
        gp_error_set(
            &x->error, GP_MISDIRECTED,
            "this server does not answer for the host \"%.*s\"; --allow-host names "
            "those it answers for",
            (int)gp_text_cut(host, size, 100), host);
    return is_allowed;
}

/* A field that browsers add for pages, or proxies for their clients; NULL if there is none. A name
 * that ends in "-" stands for all that begin with it. */
static const struct http_span *find_trace(const struct exchange *x, const char *head)
{
    static const char *const traces[] = {"Origin",    "Referer", "Sec-Fetch-",
                                         "Forwarded", "Via",     "X-Forwarded-",
                                         "X-Real-IP"};
    for (uint32_t i = 0; i < x->http.n_fields; i++) {
        const struct http_span *name = &x->http.fields[i].name;
        for (size_t k = 0; k < sizeof traces / sizeof *traces; k++) {
            const size_t size = strlen(traces[k]);
            if (strncasecmp(head + name->start, traces[k], size) == 0 &&
                (name->size == size || traces[k][size - 1] == '-'))
                return name;
        }
    }
    return NULL;
}

/* A route that changes state; see above. */
static bool check_control(struct exchange *x, const char *head, const char *host,
                          size_t host_size)
{
    const struct listener *listener = x->guest->listener;
    const bool is_loopback = listener->is_local && !listener->unix_path;
    const struct http_span *trace = find_trace(x, head);
    if (trace)
        gp_error_set(&x->error, GP_FORBIDDEN,
                     "control is not for web pages or through proxies (the request has "
                     "a field \"%.*s\")",
                     (int)(trace->size < 64 ? trace->size : 64), head + trace->start);
    else if (!listener->is_local && !x->server->options.allow_remote_control)
        return refuse_request(x, GP_FORBIDDEN,
                              "control through a listener that is not loopback needs "
                              "--allow-remote-control");
    else if (x->http.is_http10 && is_loopback)
        return refuse_request(
            x, GP_FORBIDDEN,
            "control on a loopback address wants HTTP/1.1: in 1.0 the request may "
            "come from a proxy that does not say so");
    else if (!is_loopback || host_is_loopback(host, host_size))
        return true;
    else
        gp_error_set(&x->error, GP_FORBIDDEN,
                     "control on a loopback address is for the host localhost, 127.0.0.1 "
                     "or [::1], and not for \"%.*s\" (Host)",
                     (int)gp_text_cut(host, host_size, 100), host);
    return false;
}

void routes_find_page(struct exchange *x, const char *head)
{
    size_t size;
    if (!x->server->cors.n || is_reserved(x->target))
        return;
    const char *origin = http_field(&x->http, head, "Origin", &size);
    x->cors = cors_find(&x->server->cors, origin, size, &x->is_for_page);
}

/* To the model's own limit. */
static void shorten_deadline(struct exchange *x)
{
    const int64_t most_ns = x->arrived_ns + x->model->timeout_ms * CLOCK_MS;
    int64_t *deadline_ns = &x->inference.deadline_ns;
    if (x->model->timeout_ms && (!*deadline_ns || *deadline_ns > most_ns))
        *deadline_ns = most_ns;
}

/* POST is an inference, whatever else is accepted; GET is the metadata for people. */
static bool find_model(struct exchange *x)
{
    x->model = models_find(&x->server->models, x->target, &x->error);
    if (!x->model)
        return false;
    x->inference.model = x->model;
    x->inference.run.engine_run.memory = x->model->memory;
    shorten_deadline(x);
    if (x->http.method == HTTP_METHOD_POST)
        x->kind = METRICS_INFERENCE;
    else if (x->http.method == HTTP_METHOD_GET || x->http.method == HTTP_METHOD_HEAD)
        x->kind = METRICS_METADATA;
    if (x->http.method != HTTP_METHOD_POST)
        x->format = &format_json;
    else if (x->format != &format_graphpipe)
        x->format = &format_2018;
    x->protocol = x->format->protocol;
    return true;
}

bool routes_find(struct exchange *x, const char *head)
{
    const struct http_span *authority = &x->http.authority;
    const char *host = head + authority->start;
    if (!check_host(x, host, authority->size))
        return false;
    const bool is_options = x->http.method == HTTP_METHOD_OPTIONS;
    const bool is_preflight = is_options && x->is_for_page;
    if (is_preflight || (is_options && is_list(x)) || is_path(x->target, "*")) {
        x->route = &options_route;
    } else if (is_reserved(x->target)) {
        x->route = find_route(x->target);
        if (!x->route)
            return refuse_path(x);
    } else if (is_list(x)) {
        x->route = &list_route;
    } else {
        return find_model(x);
    }
    x->kind = x->route->kind;
    return check_method(x) &&
           (!x->route->changes_state || check_control(x, head, host, authority->size));
}

bool routes_may_wait(const struct exchange *x)
{
    return x->model || (x->route && x->route->changes_state);
}

enum served routes_serve(struct worker *worker, struct exchange *x)
{
    counters_add(&x->server->metrics.counters, worker->number, METRICS_RECEIVED_BYTES,
                 x->body_size);
    if (x->error.status != GP_OK) { /* refused when its head came */
        exchange_answer_error(x);
        return SERVED_ANSWER;
    }
    if (x->route)
        return x->route->serve(x);
    if (x->http.method == HTTP_METHOD_OPTIONS)
        return get_options(x);
    if (x->http.method == HTTP_METHOD_POST)
        return infer_begin(worker, x) ? SERVED_ANSWER : SERVED_LATER;
    x->format->write_metadata(x);
    return SERVED_ANSWER;
}
