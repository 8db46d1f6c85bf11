/* POST to any path but the reserved ones is an inference; GET of such a path is the
 * metadata as JSON for people. The reserved ones: /control, /metrics, /v1, /v2, /ui. */
#include "server/routes.h"

#include "server/infer.h"
#include "server/listen.h"
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

static enum answered answer_error(struct exchange *x, enum gp_status status,
                                  const char *message)
{
    gp_error_set(&x->error, status, "%s", message);
    exchange_answer_error(x);
    return ANSWERED;
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

/* Routes that change the server's state are for this machine, and never for a web
 * page. */
static bool may_control(struct exchange *x)
{
    const struct connection *c = x->connection;
    if (x->is_from_page)
        gp_error_set(&x->error, GP_FORBIDDEN,
                     "control is not for web pages (the request has an Origin or "
                     "Sec-Fetch-Site field)");
    else if (!c->listener->is_local && !x->server->options.allow_remote_control)
        gp_error_set(&x->error, GP_FORBIDDEN,
                     "control from other machines needs --allow-remote-control");
    else
        return true;
    exchange_answer_error(x);
    return false;
}

static enum answered control(struct exchange *x)
{
    const char *target = x->target;
    const bool is_draining = server_is_draining(x->server);
    if (is_path(target, "/control/is_ready")) {
        answer_word(x, is_draining ? 503 : 200, is_draining ? "draining" : "ok");
    } else if (is_path(target, "/control/is_alive")) {
        answer_word(x, 200, "ok");
    } else if (is_path(target, "/control/client_count")) {
        char count[16];
        (void)snprintf(count, sizeof count, "%u", server_n_connections(x->server));
        answer_word(x, 200, count);
    } else if (is_path(target, "/control/shutdown")) {
        if (!may_control(x))
            return ANSWERED;
        answer_word(x, 200, "shutdown");
        server_shutdown_for(x->server, x);
        return PAUSED;
    } else {
        return answer_error(
            x, GP_NOT_FOUND,
            "no such route; there are /control/is_ready, /control/is_alive, "
            "/control/client_count and /control/shutdown");
    }
    return ANSWERED;
}

static enum answered reserved(struct exchange *x)
{
    const bool is_get = x->http.method != HTTP_METHOD_POST;
    if (is_under(x->target, "/control"))
        return control(x);
    if (is_path(x->target, "/metrics") && is_get)
        return get_metrics(x);
    if (is_path(x->target, "/metrics")) {
        x->allow = "Allow: GET, HEAD\r\n";
        return answer_error(x, GP_METHOD, "/metrics is for GET and HEAD");
    }
    return answer_error(x, GP_NOT_FOUND, "no such route: this path is reserved");
}

static bool is_reserved(const char *target)
{
    static const char *const folders[] = {"/control", "/metrics", "/v1", "/v2", "/ui"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (is_under(target, folders[i]))
            return true;
    return false;
}

enum step routes_dispatch(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    c->state = CONNECTION_ANSWER;
    atomic_fetch_add_explicit(&c->server->metrics.received_bytes, x->body_size,
                              memory_order_relaxed);
    if (is_reserved(x->target))
        return reserved(x) == PAUSED ? STEP_GONE : STEP_NEXT;
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
        return receive_refuse(c);
    }
    if (!infer_begin(worker, x))
        return STEP_GONE;
    window_load(worker, c);
    return STEP_NEXT;
}
