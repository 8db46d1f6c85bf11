/* What the server's own paths answer, and what is refused once a head is complete: paths and methods
 * that are none, hosts, and control that does not come from this machine. */
#include "server/routes.h"

#include "server/drain.h"

#include "scene.h"

#include <stdio.h>

static const struct listener loopback = {.is_local = true}, remote = {.is_local = false};

/* The server has a lone model of that name. */
static struct scene *begin(void)
{
    return scene_begin(&(struct gp_server_options){.model_name = "lone"});
}

/* What comes back through that listener; NULL: the scene's, a unix socket. */
static const char *ask(struct scene *f, const struct listener *through, const char *line,
                       const char *fields)
{
    char request[1024];
    struct visitor *visitor = scene_connect(f, 0, NULL);
    if (through)
        visitor->c->guest.listener = through;
    (void)snprintf(request, sizeof request, "%s HTTP/1.1\r\n%s\r\n", line, fields);
    scene_say(f, visitor, request);
    scene_hear(f, visitor, "HTTP/1.1 ");
    scene_leave(f, visitor);
    return visitor->received;
}

/* Between the status line and the body there are the fields. */
static void assert_answer(const char *what, const char *answer, const char *status,
                          const char *fields, const char *body)
{
    const char *end = strstr(answer, "\r\n\r\n");
    const size_t n = strlen("HTTP/1.1 ");
    if (strncmp(answer + n, status, strlen(status)) != 0 ||
        answer[n + strlen(status)] != '\r' || !end || strcmp(end + 4, body) != 0 ||
        !strstr(answer, fields))
        fail_msg("%s: %s instead of %s, %s, %s", what, answer, status, fields, body);
}

/* --- what there is --- */

struct answer_case {
    const char *line, *fields, *status, *answer_fields, *body;
};

#define TEXT "\r\nContent-Type: text/plain; charset=utf-8\r\n"
#define JSON "\r\nContent-Type: application/json\r\n"
#define HOST "Host: x\r\n"
#define WANTS_JSON HOST "Accept: application/json\r\n"

static void assert_answers(struct scene *f, const struct answer_case *cases, size_t n)
{
    for (const struct answer_case *c = cases; c < cases + n; c++)
        assert_answer(c->line, ask(f, NULL, c->line, c->fields), c->status,
                      c->answer_fields, c->body);
}

#define ASSERT_ANSWERS(scene, cases)                                                     \
    assert_answers((scene), (cases), sizeof(cases) / sizeof *(cases))

static void routes_answer(void **state)
{
    static const struct answer_case cases[] = {
        {"GET /control/is_ready", HOST, "200 OK", TEXT, "ok\n"},
        {"GET /control/is_ready?why", HOST, "200 OK", TEXT, "ok\n"},
        {"POST /control/is_ready", HOST, "200 OK", TEXT, "ok\n"},
        {"GET /control/is_ready", WANTS_JSON, "200 OK", JSON, "{\"status\":\"ok\"}\n"},
        {"HEAD /control/is_ready", HOST, "200 OK", "\r\nContent-Length: 3\r\n", ""},
        {"GET /control/is_alive", HOST, "200 OK", TEXT, "ok\n"},
        {"GET /control/client_count", HOST, "200 OK", TEXT, "2\n"},
        {"GET /control/models/lone/is_ready", HOST, "200 OK", TEXT, "ok\n"},
        {"GET /control/models/lone/is_ready?", HOST, "200 OK", TEXT, "ok\n"},
        {"GET /control/models/two/is_ready", HOST, "404 Not Found", TEXT,
         "no model is named \"two\"; there are: lone\n"},
        {"HEAD /metrics", HOST, "200 OK",
         "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n", ""},
    };
    (void)state;
    struct scene *f = begin();
    (void)scene_connect(f, 1, NULL); /* another client */
    ASSERT_ANSWERS(f, cases);
    assert_non_null(strstr(ask(f, NULL, "GET /metrics", HOST),
                           "\r\n\r\n# HELP graphpipe_build_info "));
    scene_end(f);
}

#define ROUTES                                                                           \
    "no such route; there are /control/is_ready, /control/is_alive, "                    \
    "/control/client_count, /control/shutdown, and /control/models/NAME/ with "          \
    "is_ready, load and unload\n"
#define RESERVED "no such route: this path is reserved\n"
#define NONE(name) "no model is named \"" name "\"; there are: lone\n"

static void other_paths_are_no_routes(void **state)
{
    static const struct answer_case cases[] = {
        {"GET /control", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /control/", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /control/is_read", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /control/is_ready2", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /control/is_ready/", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /control/models//is_ready", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /control/models/?/is_ready", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /control/models/a/b/is_ready", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /control/models/lone", HOST, "404 Not Found", TEXT, ROUTES},
        {"GET /metrics/x", HOST, "404 Not Found", TEXT, RESERVED},
        {"GET /v1", HOST, "404 Not Found", TEXT, RESERVED},
        {"POST /v2?x", HOST, "404 Not Found", TEXT, RESERVED},
        {"GET /ui/", HOST, "404 Not Found", TEXT, RESERVED},
        {"GET /ui", WANTS_JSON, "404 Not Found", JSON,
         "{\"error\":\"no such route: this path is reserved\",\"status\":\"not found\"}"
         "\n"},
        {"GET /v11", HOST, "404 Not Found", TEXT, NONE("v11")},
        {"GET /controls", HOST, "404 Not Found", TEXT, NONE("controls")},
        {"GET /metric", HOST, "404 Not Found", TEXT, NONE("metric")},
    };
    (void)state;
    struct scene *f = begin();
    ASSERT_ANSWERS(f, cases);
    scene_end(f);
}

static void other_methods_are_refused(void **state)
{
    static const struct answer_case cases[] = {
        {"GET /control/shutdown", HOST, "405 Method Not Allowed", "\r\nAllow: POST\r\n",
         "method not allowed; /control/shutdown takes POST\n"},
        {"HEAD /control/models/lone/load", HOST, "405 Method Not Allowed",
         "\r\nAllow: POST\r\n", ""},
        {"GET /control/models/lone/unload", HOST, "405 Method Not Allowed",
         "\r\nAllow: POST\r\n",
         "method not allowed; /control/models/:name/unload takes POST\n"},
        {"POST /metrics", HOST, "405 Method Not Allowed", "\r\nAllow: GET, HEAD\r\n",
         "method not allowed; /metrics takes GET, HEAD\n"},
        {"PUT /control/is_alive", HOST, "405 Method Not Allowed",
         "\r\nAllow: GET, HEAD, POST, OPTIONS\r\n",
         "method not allowed; /control/is_alive takes GET, HEAD, POST, OPTIONS\n"},
        {"PUT /", HOST, "405 Method Not Allowed",
         "\r\nAllow: GET, HEAD, POST, OPTIONS\r\n",
         "method not allowed; wanted GET, HEAD, POST or OPTIONS\n"},
        {"OPTIONS /control/shutdown", HOST, "405 Method Not Allowed",
         "\r\nAllow: POST\r\n", "method not allowed; /control/shutdown takes POST\n"},
    };
    (void)state;
    struct scene *f = begin();
    ASSERT_ANSWERS(f, cases);
    assert_false(server_is_draining(f->server));
    scene_end(f);
}

/* --- whether it is ready --- */

static void a_model_that_loads_is_not_ready(void **state)
{
    static const struct answer_case cases[] = {
        {"GET /control/is_ready", HOST, "503 Service Unavailable",
         "\r\nRetry-After: 1\r\n", "model \"other\" is not ready: it is loading\n"},
        {"GET /control/models/other/is_ready", HOST, "503 Service Unavailable",
         "\r\nRetry-After: 1\r\n", "model \"other\" is not ready: it is loading\n"},
        {"GET /control/models/lone/is_ready", HOST, "200 OK", TEXT, "ok\n"},
        {"GET /control/is_alive", HOST, "200 OK", TEXT, "ok\n"},
    };
    const struct gp_model_options other = {.size_bytes = sizeof other, .name = "other"};
    struct gp_error err;
    (void)state;
    struct scene *f = begin();
    struct model_entry *entry = models_add(&f->server->models, &other, &err);
    assert_non_null(entry);
    assert_non_null(models_version(&f->server->models, entry, 1));
    ASSERT_ANSWERS(f, cases);
    scene_end(f);
}

static void a_server_that_drains_is_not_ready(void **state)
{
    (void)state;
    struct scene *f = begin();
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "GET /control/is_ready HTTP/1.1\r\n");
    drain_begin(f->server, NULL);
    scene_say(f, client, "Host: x\r\n\r\n");
    scene_hear(f, client, "HTTP/1.1 503 Service Unavailable\r\n");
    assert_non_null(strstr(client->received, "\r\n\r\ndraining\n"));
    scene_end(f);
}

/* Whoever asks for the end is told when only they are left. */
static void shutdown_drains(void **state)
{
    (void)state;
    struct scene *f = begin();
    struct visitor *first = scene_connect(f, 0, NULL);
    struct visitor *other = scene_connect(f, 1, NULL);
    scene_say(f, other, "GET / HTTP/1.1\r\n");
    scene_say(f, first, "POST /control/shutdown HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(server_is_draining(f->server));
    scene_hear_nothing(f, first);
    scene_leave(f, other);
    scene_hear(f, first, "HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(first->received, "\r\n\r\nshutdown\n"));
    scene_end(f);
}

/* --- hosts --- */

static void hosts_that_are_not_allowed_are_refused(void **state)
{
    static const char *const allowed[] = {"one.example", "two.example:80"};
    static const struct {
        const struct listener *through;
        const char *host;
        bool is_allowed;
    } cases[] = {
        {&remote, "one.example", true},         {&remote, "one.example:8080", true},
        {&remote, "two.example:80", true},      {&remote, "two.example:81", false},
        {&loopback, "three.example", false},    {&loopback, "localhost", false},
        {&loopback, "one.example.evil", false}, {NULL, "three.example", true},
    };
    (void)state;
    struct scene *f = scene_begin(
        &(struct gp_server_options){.allow_hosts = allowed, .n_allow_hosts = 2});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char field[64], body[256];
        (void)snprintf(field, sizeof field, "Host: %s\r\n", cases[i].host);
        (void)snprintf(body, sizeof body,
                       "this server does not answer for the host \"%s\"; --allow-host "
                       "names those it answers for\n",
                       cases[i].host);
        assert_answer(cases[i].host,
                      ask(f, cases[i].through, "GET /control/is_alive", field),
                      cases[i].is_allowed ? "200 OK" : "421 Misdirected Request", TEXT,
                      cases[i].is_allowed ? "ok\n" : body);
    }
    scene_end(f);
}

static void every_host_is_allowed_by_default(void **state)
{
    (void)state;
    struct scene *f = begin();
    assert_answer("any", ask(f, &remote, "GET /control/is_alive", "Host: any\r\n"),
                  "200 OK", TEXT, "ok\n");
    scene_end(f);
}

/* --- who may control --- */

#define LOCAL "Host: localhost:9000\r\n"
#define FORBIDDEN(field)                                                                 \
    "control is not for web pages or through proxies (the request has a field "          \
    "\"" field "\")\n"

/* Control is refused with these words, or NULL: it drains. Nothing else is. */
static void assert_control(const struct gp_server_options *options,
                           const struct listener *through, const char *fields,
                           const char *refusal)
{
    struct scene *f = scene_begin(options);
    assert_answer(fields, ask(f, through, "GET /control/is_alive", fields), "200 OK",
                  TEXT, "ok\n");
    assert_answer(fields, ask(f, through, "POST /control/shutdown", fields),
                  refusal ? "403 Forbidden" : "200 OK", TEXT,
                  refusal ? refusal : "shutdown\n");
    assert_true(server_is_draining(f->server) == !refusal);
    scene_end(f);
}

static void control_is_not_for_pages_nor_proxies(void **state)
{
    static const struct {
        const char *fields, *refusal;
    } cases[] = {
        {LOCAL "Origin: null\r\n", FORBIDDEN("Origin")},
        {LOCAL "referer: http://x/\r\n", FORBIDDEN("referer")},
        {LOCAL "Sec-Fetch-Site: none\r\n", FORBIDDEN("Sec-Fetch-Site")},
        {LOCAL "Forwarded: for=1.2.3.4\r\n", FORBIDDEN("Forwarded")},
        {"Via: 1.1 x\r\n" LOCAL, FORBIDDEN("Via")},
        {LOCAL "X-Forwarded-For: 1.2.3.4\r\n", FORBIDDEN("X-Forwarded-For")},
        {LOCAL "X-Real-IP: 1.2.3.4\r\n", FORBIDDEN("X-Real-IP")},
        {LOCAL "Accept: */*\r\nUser-Agent: x\r\nVia: 1.1 x\r\n", FORBIDDEN("Via")},
        {LOCAL "X-Forwarded-012345678901234567890123456789012345678901234567890123: 1"
               "\r\n",
         FORBIDDEN("X-Forwarded-0123456789012345678901234567890123456789012345678901")},
        {LOCAL "Origins: x\r\nVi: x\r\nSec-Fetch: x\r\nX-Real: x\r\nAVia: x\r\n", NULL},
    };
    static const struct listener *const through[] = {&loopback, NULL, &remote};
    const struct gp_server_options options = {.allow_remote_control = 1};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_control(&options, through[i % 3], cases[i].fields, cases[i].refusal);
}

static void control_comes_from_this_machine(void **state)
{
    static const struct gp_server_options by_default,
        remotely = {.allow_remote_control = 1};
    static const struct {
        const struct gp_server_options *options;
        const struct listener *through;
        const char *fields, *refusal;
    } cases[] = {
        {&by_default, &loopback, "Host: [::1]:9000\r\n", NULL},
        {&by_default, &loopback, "Host: 127.0.0.1\r\n", NULL},
        {&by_default, &loopback, "Host: evil.example\r\n",
         "control on a loopback address is for the host localhost, 127.0.0.1 or [::1], "
         "and "
         "not for \"evil.example\" (Host)\n"},
        {&by_default, NULL, "Host: evil.example\r\n", NULL},
        {&by_default, &remote, LOCAL,
         "control through a listener that is not loopback needs "
         "--allow-remote-control\n"},
        {&remotely, &remote, "Host: any.example\r\n", NULL},
        {&remotely, &loopback, "Host: evil.example\r\n",
         "control on a loopback address is for the host localhost, 127.0.0.1 or [::1], "
         "and "
         "not for \"evil.example\" (Host)\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_control(cases[i].options, cases[i].through, cases[i].fields,
                       cases[i].refusal);
}

/* What changes nothing is for everybody. */
static void only_what_changes_something_is_control(void **state)
{
    static const struct {
        const char *line;
        bool is_control;
    } cases[] = {
        {"GET /control/is_ready", false},
        {"GET /control/is_alive", false},
        {"GET /control/client_count", false},
        {"GET /control/models/lone/is_ready", false},
        {"GET /metrics", false},
        {"GET /", false},
        {"POST /control/models/lone/load", true},
        {"POST /control/models/lone/unload", true},
        {"POST /control/shutdown", true},
    };
    (void)state;
    struct scene *f = begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *answer = ask(f, &remote, cases[i].line, HOST "Via: 1.1 x\r\n");
        const char *wanted = cases[i].is_control ? "403 Forbidden\r\n" : "200 OK\r\n";
        if (strncmp(answer + strlen("HTTP/1.1 "), wanted, strlen(wanted)) != 0)
            fail_msg("%s: %s", cases[i].line, answer);
    }
    scene_end(f);
}

/* Before 1.1 a proxy did not have to say that it is one. */
static void control_on_loopback_wants_http_11(void **state)
{
    static const struct {
        const struct listener *through;
        const char *status, *body;
    } cases[] = {{&loopback, "403 Forbidden",
                  "control on a loopback address wants HTTP/1.1: in 1.0 the request may "
                  "come from a proxy that does not say so\n"},
                 {NULL, "200 OK", "shutdown\n"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct scene *f = begin();
        struct visitor *visitor = scene_connect(f, 0, NULL);
        if (cases[i].through)
            visitor->c->guest.listener = cases[i].through;
        scene_say(f, visitor, "POST /control/shutdown HTTP/1.0\r\n" LOCAL "\r\n");
        scene_hear(f, visitor, "HTTP/1.");
        assert_answer("1.0", visitor->received, cases[i].status, TEXT, cases[i].body);
        scene_end(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_answer),
        cmocka_unit_test(other_paths_are_no_routes),
        cmocka_unit_test(other_methods_are_refused),
        cmocka_unit_test(a_model_that_loads_is_not_ready),
        cmocka_unit_test(a_server_that_drains_is_not_ready),
        cmocka_unit_test(shutdown_drains),
        cmocka_unit_test(hosts_that_are_not_allowed_are_refused),
        cmocka_unit_test(every_host_is_allowed_by_default),
        cmocka_unit_test(control_is_not_for_pages_nor_proxies),
        cmocka_unit_test(control_comes_from_this_machine),
        cmocka_unit_test(only_what_changes_something_is_control),
        cmocka_unit_test(control_on_loopback_wants_http_11),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
