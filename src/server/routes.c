/* POST to any path but the reserved ones is an inference; GET of such a path is the
 * metadata as JSON for people. The reserved ones: /control, /metrics, /v1, /v2, /ui.
 *
 * A route that changes the server's state is for this machine, and never for a web page or for
 * those behind a proxy. Either may look like a client of this machine: a browser runs on it, and
 * a proxy often does. They are told by the fields that they add, and by the name that they ask
 * for. */
#include "server/routes.h"

#include "net/listen.h"
#include "server/host.h"
#include "server/infer.h"
#include "server/server.h"

#include <string.h>
#include <strings.h>

enum answered { ANSWERED, PAUSED };

/* True for "/metrics", "/metrics/x" and "/metrics?x" under "/metrics". */
static bool is_under(const char *target, const char *folder)
{
    const size_t n = strlen(folder);
    return strncmp(target, folder, n) == 0 && (!target[n] || strchr("/?", target[n]));
}

static bool is_path(const char *target, const char *path)
{
    const size_t n = strlen(path);
    return strncmp(target, path, n) == 0 && (!target[n] || target[n] == '?');
}

/* "ok" as text, or {"status":"ok"} where JSON is accepted. */
static void answer_word(struct exchange *x, int status, const char *word)
{
    if (x->accepts_json)
        text_printf(&x->text, "{\"status\":\"%s\"}\n", word);
    else
        text_printf(&x->text, "%s\n", word);
    exchange_answer_text(x, status, x->accepts_json ? "application/json" : NULL);
}

static void put_ios(struct text *text, const struct gp_io *ios, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        text_puts(text, i ? ",\n    {\"name\": " : "\n    {\"name\": ");
        text_json_puts(text, ios[i].name);
        text_printf(text, ", \"type\": \"%s\", \"shape\": [",
                    gp_dtype_name(ios[i].dtype));
        for (uint32_t k = 0; k < ios[i].rank; k++)
            text_printf(text, k ? ", %lld" : "%lld", (long long)ios[i].shape[k]);
        text_puts(text, "]");
        if (ios[i].flags & GP_IO_OPTIONAL)
            text_puts(text, ", \"optional\": true");
        if (ios[i].description && ios[i].description[0]) {
            text_puts(text, ", \"description\": ");
            text_json_puts(text, ios[i].description);
        }
        text_puts(text, "}");
    }
}

static void get_metadata(struct exchange *x)
{
    const struct gp_metadata *m = &x->server->model.metadata;
    struct text *text = &x->text;
    const char *const names[] = {"name", "version", "server", "description"};
    const char *const values[] = {m->name, m->version, m->server, m->description};
    for (int i = 0; i < 4; i++) {
        text_printf(text, "%s  \"%s\": ", i ? ",\n" : "{\n", names[i]);
        text_json_puts(text, values[i] ? values[i] : "");
    }
    text_puts(text, ",\n  \"inputs\": [");
    put_ios(text, m->inputs, m->n_inputs);
    text_puts(text, "\n  ],\n  \"outputs\": [");
    put_ios(text, m->outputs, m->n_outputs);
    text_puts(text, "\n  ]\n}\n");
    exchange_answer_text(x, 200, "application/json");
}

static enum answered get_metrics(struct exchange *x)
{
    struct gp_server *server = x->server;
    pthread_mutex_lock(&server->model.lock);
    const unsigned n_waiting = server->model.n_waiting;
    pthread_mutex_unlock(&server->model.lock);
    struct isolate_counts children;
    struct isolate *isolate = server->model.isolate;
    if (isolate)
        children = isolate_count(isolate);
    const struct metrics_gauges gauges = {
        .n_connections = server_n_connections(server),
        .n_peers = server_n_peers(server),
        .n_waiting = n_waiting,
        .n_slots = server->model.description.n_slots,
        .pool = pool_count(server->pool),
        .is_ready = !server_is_draining(server),
        .n_lines_lost = atomic_load(&server->log.n_lost),
        .children = isolate ? &children : NULL,
    };
    metrics_write(&server->metrics, &gauges, &x->text);
    exchange_answer_text(x, 200, "text/plain; version=0.0.4; charset=utf-8");
    return ANSWERED;
}

static enum answered get_is_ready(struct exchange *x)
{
    const bool is_draining = server_is_draining(x->server);
    answer_word(x, is_draining ? 503 : 200, is_draining ? "draining" : "ok");
    return ANSWERED;
}

static enum answered get_is_alive(struct exchange *x)
{
    answer_word(x, 200, "ok");
    return ANSWERED;
}

static enum answered get_client_count(struct exchange *x)
{
    char count[16];
    (void)snprintf(count, sizeof count, "%u", server_n_connections(x->server));
    answer_word(x, 200, count);
    return ANSWERED;
}

static enum answered shut_down(struct exchange *x)
{
    answer_word(x, 200, "shutdown");
    server_shutdown_for(x->server, x);
    return PAUSED;
}

#define ANY_METHOD "Allow: GET, HEAD, POST\r\n"

struct route {
    const char *path;
    const char *allow; /* the methods, as 405 tells them */
    bool changes_state;
    enum answered (*serve)(struct exchange *x);
};

static const struct route routes[] = {
    {"/control/is_ready", ANY_METHOD, false, get_is_ready},
    {"/control/is_alive", ANY_METHOD, false, get_is_alive},
    {"/control/client_count", ANY_METHOD, false, get_client_count},
    {"/control/shutdown", "Allow: POST\r\n", true, shut_down},
    {"/metrics", "Allow: GET, HEAD\r\n", false, get_metrics},
};

static const struct route *find_route(const char *target)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (is_path(target, routes[i].path))
            return &routes[i];
    return NULL;
}

static bool refuse(struct exchange *x, enum gp_status status, const char *message)
{
    gp_error_set(&x->error, status, "%s", message);
    return false;
}

/* False for what lies where routes are, and is none. */
static bool check_path(struct exchange *x)
{
    static const char *const folders[] = {"/metrics", "/v1", "/v2", "/ui"};
    if (is_under(x->target, "/control"))
        return refuse(x, GP_NOT_FOUND,
                      "no such route; there are /control/is_ready, /control/is_alive, "
                      "/control/client_count and /control/shutdown");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (is_under(x->target, folders[i]))
            return refuse(x, GP_NOT_FOUND, "no such route: this path is reserved");
    return true;
}

static bool check_method(struct exchange *x)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "?"};
    if (strstr(x->route->allow, names[x->http.method]))
        return true;
    x->allow = x->route->allow;
    gp_error_set(&x->error, GP_METHOD, "method not allowed; %s takes %.*s",
                 x->route->path, (int)strcspn(x->allow + sizeof "Allow:", "\r"),
                 x->allow + sizeof "Allow:");
    return false;
}

/* The names that --allow-host gives hold for every route. What comes by a unix socket was let in
 * by the socket's file. */
static bool check_host(struct exchange *x, const char *host, size_t size)
{
    const struct gp_server_options *o = &x->server->options;
    bool is_allowed = o->n_allow_hosts == 0 || x->connection->listener->unix_path;
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

/* A field that browsers add for pages, or proxies for their clients; NULL: there is none. One
 * that ends in "-" stands for all that begin so. */
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
    const struct listener *listener = x->connection->listener;
    const bool is_loopback = listener->is_local && !listener->unix_path;
    const struct http_span *trace = find_trace(x, head);
    if (trace)
        gp_error_set(&x->error, GP_FORBIDDEN,
                     "control is not for web pages or through proxies (the request has "
                     "a field \"%.*s\")",
                     (int)(trace->size < 64 ? trace->size : 64), head + trace->start);
    else if (!listener->is_local && !x->server->options.allow_remote_control)
        return refuse(x, GP_FORBIDDEN,
                      "control through a listener that is not loopback needs "
                      "--allow-remote-control");
    else if (x->http.is_http10 && is_loopback)
        return refuse(
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

bool routes_find(struct exchange *x, const char *head)
{
    const struct http_span *authority = &x->http.authority;
    const char *host = head + authority->start;
    if (!check_host(x, host, authority->size))
        return false;
    x->route = find_route(x->target);
    if (!x->route)
        return check_path(x);
    return check_method(x) &&
           (!x->route->changes_state || check_control(x, head, host, authority->size));
}

enum step routes_dispatch(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    c->state = CONNECTION_ANSWER;
    atomic_fetch_add_explicit(&c->server->metrics.received_bytes, x->body_size,
                              memory_order_relaxed);
    if (x->error.status != GP_OK) { /* refused when its head came */
        exchange_answer_error(x);
        return STEP_NEXT;
    }
    if (x->route)
        return x->route->serve(x) == PAUSED ? STEP_GONE : STEP_NEXT;
    if (x->http.method != HTTP_METHOD_POST) {
        get_metadata(x);
        return STEP_NEXT;
    }
    /* Once infer_begin is called the exchange may be another thread's, so what it needs is
     * set before, and the window is kept with the connection. */
    x->accepts_json = false;
    if (!window_save(worker, c)) {
        gp_error_set(&x->error, GP_NO_MEMORY,
                     "no memory for the requests behind this one");
        server_count_refusal(c->server, METRICS_REFUSED_HEAD, &c->from, x->error.message);
        return receive_refuse(c);
    }
    if (!infer_begin(worker, x))
        return STEP_GONE;
    window_load(worker, c);
    return STEP_NEXT;
}
