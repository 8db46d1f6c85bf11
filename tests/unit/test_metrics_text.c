/* The text of /metrics, whole, with every counter at a number of its own; and of models that have
 * several versions. */
#include "server/metrics_text.h"

#include "base/process.h"

#include "scene.h"
#include "served.h"

#include <inttypes.h>

enum { KIB = 1024, MIB = 1024 * KIB };

/* Line by line. Those that begin as one of these are not the same twice. */
static void assert_text(const char *got, const char *wanted)
{
    static const char *const vary[] = {"process_cpu_seconds_total ",
                                       "process_resident_memory_bytes ",
                                       "process_virtual_memory_bytes "};
    while (*got || *wanted) {
        const size_t n = strcspn(got, "\n"), n_wanted = strcspn(wanted, "\n");
        size_t i = 0;
        while (i < 3 && strncmp(wanted, vary[i], strlen(vary[i])) != 0)
            i++;
        const size_t n_same = i < 3 ? strlen(vary[i]) : n_wanted;
        if ((i == 3 && n != n_wanted) || strncmp(got, wanted, n_same) != 0)
            fail_msg("\"%.*s\" instead of \"%.*s\"", (int)n, got, (int)n_wanted, wanted);
        got += n + (got[n] != '\0');
        wanted += n_wanted + (wanted[n_wanted] != '\0');
    }
}

static char *write_text(struct gp_server *server)
{
    struct text text = {0};
    struct gp_arena *arena = gp_arena_create();
    metrics_write(server, arena, &text);
    gp_arena_destroy(arena);
    assert_false(text.is_short);
    return text.data;
}

/* --- all counters of a server --- */

static void count_requests(struct gp_server *server)
{
    struct metrics *metrics = &server->metrics;
    struct counts *counts = server->models.open->counts;
    static const struct {
        enum metrics_kind kind;
        int status, n;
    } others[] = {{METRICS_OTHER, 404, 2},
                  {METRICS_CONTROL, 200, 3},
                  {METRICS_CONTROL, 500, 4},
                  {METRICS_SCRAPE, 200, 5},
                  {METRICS_METADATA, 405, 6}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        for (int k = 0; k < others[i].n; k++)
            metrics_request(metrics, 0, others[i].kind, others[i].status);
    metrics_inference(counts, 0, METRICS_GRAPHPIPE, 200, 100 * CLOCK_MS / 1000);
    metrics_inference(counts, 0, METRICS_GRAPHPIPE, 200, 3 * CLOCK_MS);
    metrics_inference(counts, 0, METRICS_2018, 503, 60 * CLOCK_S);
    metrics_inference(counts, 0, METRICS_JSON, 499, 200 * CLOCK_S);
    metrics_inference(counts, 0, METRICS_JSON, 499, 300 * CLOCK_S);
    metrics_inference_run(counts, 0, 20 * CLOCK_MS, 7);
    metrics_run(counts, 0, 40 * CLOCK_MS);
    metrics_inference_run(counts, 0, 1, 8);
    metrics_run(counts, 0, 9 * CLOCK_S);
    metrics_batch(counts, 0, 3, RUN_HAD_TO);
    metrics_batch(counts, 0, 8, RUN_WAS_FULL);
    metrics_batch(counts, 0, 2000, RUN_WAS_FULL);
    const unsigned indexes[] = {METRICS_BEGUN, METRICS_ENDED, METRICS_RECEIVED_BYTES,
                                METRICS_SENT_BYTES};
    for (unsigned i = 0; i < 4; i++)
        counters_add(&metrics->counters, 0, indexes[i], i ? 50 + i : 99);
    for (unsigned i = 0; i < 5; i++)
        counters_add(&counts->counters, 0, COUNTS_CHILD_RESTARTS + i, 61 + i);
}

static void count_refusals(struct gp_server *server)
{
    struct metrics *metrics = &server->metrics;
    for (unsigned i = 0; i < METRICS_N_REFUSALS; i++)
        atomic_store(&metrics->n_refused[i], 71 + i);
    atomic_store(&metrics->n_evicted, 75);
    atomic_store(&metrics->n_revoked, 76);
    atomic_store(&metrics->n_accepted, 77);
    atomic_store(&server->log.n_lost, 78);
    atomic_store(&metrics->has_bad_config, true);
    metrics->started_s = 1764482399.125;
}

/* --- and of its pool --- */

static int n_pins;

static int pin_once(void *memory, size_t size_bytes)
{
    (void)memory, (void)size_bytes;
    return n_pins++ == 0;
}

static void unpin(void *memory)
{
    (void)memory;
}

struct memory {
    struct pool_pair pair;
    struct pool_buffer pinned, unpinned, idle;
    struct pool_peer peer;
    struct pool_promise promise, too_much;
};

static void use_pool(struct pool *pool, struct memory *m)
{
    *m = (struct memory){.too_much.peer = &m->peer};
    n_pins = 0;
    assert_true(pool_open_pinned(pool, pin_once, unpin, &m->pair));
    assert_true(pool_take(pool, m->pair.inputs, 2 * MIB, NULL, &m->pinned));
    assert_true(pool_take(pool, m->pair.inputs, 3 * MIB, NULL, &m->unpinned));
    assert_true(pool_take(pool, NULL, 128 * KIB, NULL, &m->idle));
    assert_true(pool_touch(pool, &m->idle, 128 * KIB));
    pool_give(pool, &m->idle);
    assert_int_equal(pool_reserve(pool, &m->promise, MIB, 0), POOL_GRANTED);
    for (int i = 0; i < 5; i++)
        assert_int_equal(pool_reserve(pool, &m->too_much, 48 * MIB, 0), POOL_OVER_SHARE);
    for (int i = 0; i < 6; i++)
        assert_int_equal(pool_reserve(pool, &m->promise, 65 * MIB, 0), POOL_FULL);
}

static void leave_pool(struct pool *pool, struct memory *m)
{
    pool_unreserve(pool, &m->promise);
    pool_give(pool, &m->pinned);
    pool_give(pool, &m->unpinned);
    pool_close(pool, &m->pair);
}

/* --- what is wanted --- */

/* Values, each behind the name, with labels where there are any, and on a line of its own. */
struct family {
    const char *name, *kind, *help, *values;
};

static void want_families(struct text *text, const struct family *families, size_t n)
{
    for (const struct family *one = families; n; n--, one++) {
        text_printf(text, "# HELP %s %s\n# TYPE %s %s\n", one->name, one->help, one->name,
                    one->kind);
        for (const char *at = one->values; *at; at += strcspn(at, "\n") + 1)
            text_printf(text, "%s%.*s\n", one->name, (int)strcspn(at, "\n"), at);
    }
}

#define WANT_FAMILIES(text, families)                                                    \
    want_families(text, families, sizeof(families) / sizeof *(families))

#define ONE "model=\"one\",version=\"1\""

static const struct family wanted_of_server[] = {
    {"graphpipe_build_info", "gauge", "Always 1.", "{version=\"" GP_VERSION "\"} 1\n"},
    {"graphpipe_ready", "gauge", "1 if /control/is_ready answers 200.", " 1\n"},
    {"graphpipe_config_reload_failed", "gauge",
     "1 if the configuration was not taken over as a whole at the last SIGHUP.", " 1\n"},
    {"graphpipe_in_flight", "gauge", "Requests of all kinds, begun but not answered.",
     " 48\n"},
    {"graphpipe_received_bytes_total", "counter", "Bodies received.", " 52\n"},
    {"graphpipe_sent_bytes_total", "counter", "Answers sent, with their heads.", " 53\n"},
    {"graphpipe_accepted_connections_total", "counter", "Connections accepted.", " 77\n"},
    {"graphpipe_connections", "gauge", "Connections open.", " 3\n"},
    {"graphpipe_peers", "gauge", "Clients, told apart by their addresses.", " 2\n"},
    {"graphpipe_log_lines_lost_total", "counter",
     "Lines of the log that were not written: its reader is slow, or has gone.", " 78\n"},
};

static const struct family wanted_of_models[] = {
    {"graphpipe_model_ready", "gauge", "1 if a version of the model serves.",
     "{model=\"one\"} 1\n"},
    {"graphpipe_model_state", "gauge", "1 for the state that a version is in.",
     "{" ONE ",state=\"loading\"} 0\n{" ONE ",state=\"ready\"} 1\n{" ONE
     ",state=\"failed\"} 0\n{" ONE ",state=\"unloaded\"} 0\n"},
    {"graphpipe_model_load_failed", "gauge",
     "1 if the last load of a version failed; the one before may still serve.",
     "{" ONE "} 0\n"},
    {"graphpipe_model_load_seconds", "gauge",
     "How long it took to load the version that serves.", "{" ONE "} 12.000000345\n"},
    {"graphpipe_model_warm_up_seconds", "gauge",
     "How long its warm-up took after that, if it had one.", "{" ONE "} 0.678000000\n"},
    {"graphpipe_waiting", "gauge", "Inferences waiting for a slot.", "{" ONE "} 1\n"},
    {"graphpipe_slots", "gauge", "Runs that are possible at a time.", "{" ONE "} 1\n"},
    {"graphpipe_requests_total", "counter",
     "Inferences answered, by the protocol of the request and the HTTP status; 499: the "
     "client left.",
     "{" ONE ",protocol=\"graphpipe\",code=\"200\"} 2\n{" ONE
     ",protocol=\"2018\",code=\"503\"} 1\n{" ONE ",protocol=\"json\",code=\"499\"} 2\n"},
    {"graphpipe_rows_total", "counter",
     "Rows of inferences that succeeded: the first dimension of the first input.",
     "{" ONE "} 15\n"},
    {"graphpipe_other_requests_total", "counter",
     "Requests answered that are no inferences, by what they are for and the HTTP "
     "status.",
     "{kind=\"other\",code=\"404\"} 2\n{kind=\"control\",code=\"200\"} "
     "3\n{kind=\"control\",code=\"500\"} 4\n{kind=\"metrics\",code=\"200\"} "
     "5\n{kind=\"metadata\",code=\"405\"} 6\n"},
};

/* With the number of all up to each bound. */
static void want_histogram(struct text *text, const char *name, const char *help,
                           const char *numbers, const char *sum)
{
    static const char *const bounds[] = {"0.0001", "0.00025", "0.0005", "0.001", "0.0025",
                                         "0.005",  "0.01",    "0.025",  "0.05",  "0.1",
                                         "0.25",   "0.5",     "1",      "2.5",   "5",
                                         "10",     "25",      "50",     "100",   "+Inf"};
    text_printf(text, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (size_t i = 0; i < METRICS_N_BUCKETS; i++)
        text_printf(text, "%s_bucket{" ONE ",le=\"%s\"} %c\n", name, bounds[i],
                    numbers[i]);
    text_printf(text, "%s_count{" ONE "} %c\n%s_sum{" ONE "} %s\n", name,
                numbers[METRICS_N_BUCKETS - 1], name, sum);
}

static void want_times(struct text *text)
{
    want_histogram(text, "graphpipe_request_seconds",
                   "Inferences from the end of the head to the last byte of the answer.",
                   "11111222222222222235", "560.003100000");
    want_histogram(text, "graphpipe_wait_seconds",
                   "How long inferences waited for a slot.", "11111112222222222222",
                   "0.020000001");
    want_histogram(text, "graphpipe_run_seconds", "Runs of the engine.",
                   "00000000111111122222", "9.040000000");
}

/* In those of models that take batches only. */
static void want_batches(struct text *text)
{
    static const char numbers[] = "001222222223";
    static const struct family reasons[] = {
        {"graphpipe_batches_total", "counter",
         "Runs, by why they began with the rows that they had.",
         "{" ONE ",reason=\"slot\"} 0\n{" ONE ",reason=\"full\"} 2\n{" ONE
         ",reason=\"delay\"} 0\n{" ONE ",reason=\"deadline\"} 1\n"}};
    text_puts(text, "# HELP graphpipe_batch_rows Rows of a run, of all requests that ran "
                    "together (--max-batch).\n# TYPE graphpipe_batch_rows histogram\n");
    for (int i = 0; i < 11; i++)
        text_printf(text, "graphpipe_batch_rows_bucket{" ONE ",le=\"%d\"} %c\n", 1 << i,
                    numbers[i]);
    text_puts(text, "graphpipe_batch_rows_bucket{" ONE ",le=\"+Inf\"} 3\n"
                    "graphpipe_batch_rows_count{" ONE "} 3\n"
                    "graphpipe_batch_rows_sum{" ONE "} 2011\n");
    WANT_FAMILIES(text, reasons);
}

static const struct family wanted_of_process[] = {
    {"process_start_time_seconds", "gauge",
     "Start of the process, in seconds since 1970.", " 1764482399.12\n"},
};

static const struct family wanted_of_refusals[] = {
    {"graphpipe_refused_total", "counter",
     "Refused with 503, by what there was no room for, or no share.",
     "{what=\"connection\"} 71\n{what=\"head\"} 72\n{what=\"body\"} "
     "73\n{what=\"waiting\"} 74\n"},
    {"graphpipe_evicted_total", "counter",
     "Connections that had idled longest, closed to make room for others.", " 75\n"},
    {"graphpipe_revoked_total", "counter",
     "Requests that stalled, refused when others needed their memory.", " 76\n"},
    {"graphpipe_children", "gauge", "Processes of isolated engines, by state.",
     "{" ONE ",state=\"ready\"} 0\n{" ONE ",state=\"late\"} 0\n{" ONE
     ",state=\"starting\"} 0\n{" ONE ",state=\"backoff\"} 0\n"},
    {"graphpipe_child_restarts_total", "counter", "Processes started again.",
     "{" ONE "} 61\n"},
    {"graphpipe_child_ended_total", "counter", "Processes that ended, by reason.",
     "{" ONE ",reason=\"signal\"} 62\n{" ONE ",reason=\"exit\"} 63\n{" ONE
     ",reason=\"hang\"} 64\n{" ONE ",reason=\"protocol\"} 65\n"},
};

static void want_value(struct text *text, const char *name, const char *kind,
                       const char *help, uint64_t value)
{
    text_printf(text, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name,
                kind, name, value);
}

static void want_pool(struct text *text, const struct pool_counts *n)
{
    text_puts(text,
              "# HELP graphpipe_pool_bytes Memory of the pool, by what it is held for.\n"
              "# TYPE graphpipe_pool_bytes gauge\n");
    text_printf(text,
                "graphpipe_pool_bytes{state=\"used\"} %zu\n"
                "graphpipe_pool_bytes{state=\"reserved\"} %zu\n"
                "graphpipe_pool_bytes{state=\"idle\"} %zu\n",
                n->used_bytes, n->reserved_bytes, n->idle_bytes);
    want_value(text, "graphpipe_pool_budget_bytes", "gauge", "What the pool may hold.",
               64 * MIB);
    want_value(text, "graphpipe_pool_taken_total", "counter", "Buffers taken.", 3);
    want_value(text, "graphpipe_pool_refused_total", "counter",
               "Requests for more than was left.", 6);
    want_value(text, "graphpipe_pool_over_share_total", "counter",
               "Requests refused since their client held over a quarter.", 5);
    want_value(text, "graphpipe_pool_touched_bytes_total", "counter",
               "Pages put in place; constant under a steady load.", n->touched_bytes);
    want_value(text, "graphpipe_pool_pinned_bytes", "gauge",
               "Locked in place for a device.", n->pinned_bytes);
    want_value(text, "graphpipe_pool_unpinned_total", "counter",
               "Buffers taken that could not be pinned.", 1);
}

static void want_process(struct text *text, const struct process_usage *usage)
{
    static const struct family cpu[] = {
        {"process_cpu_seconds_total", "counter",
         "Time on processors, in user space and the kernel.", " *\n"}};
    WANT_FAMILIES(text, cpu);
    want_value(text, "process_resident_memory_bytes", "gauge",
               "Memory in place, with the pool.", 0);
    want_value(text, "process_virtual_memory_bytes", "gauge", "Address space.", 0);
    want_value(text, "process_open_fds", "gauge", "Descriptors open.", usage->n_fds);
    want_value(text, "process_max_fds", "gauge", "The limit on descriptors.",
               usage->max_fds);
    want_value(text, "graphpipe_threads", "gauge", "Threads of the process.",
               usage->n_threads);
}

static double number_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

/* What varies is about right. */
static void check_process(const char *text, const struct process_usage *usage)
{
    const double resident = number_of(text, "\nprocess_resident_memory_bytes ");
    const double virtual_ = number_of(text, "\nprocess_virtual_memory_bytes ");
    const double cpu_s = number_of(text, "\nprocess_cpu_seconds_total ");
    assert_true(resident > 0.5 * (double)usage->resident_bytes &&
                resident < 2.0 * (double)usage->resident_bytes);
    assert_true(virtual_ > 0.5 * (double)usage->virtual_bytes &&
                virtual_ < 2.0 * (double)usage->virtual_bytes);
    assert_true(usage->virtual_bytes > 4 * usage->resident_bytes);
    assert_true(cpu_s > 0 && cpu_s < usage->cpu_s + 1e-6);
}

static void assert_distinct(const struct pool_counts *n)
{
    const size_t all[] = {n->used_bytes,    n->reserved_bytes, n->idle_bytes,
                          n->touched_bytes, n->pinned_bytes,   0};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(all[i] != all[k]);
}

static void every_number_has_its_name(void **state)
{
    static const struct sockaddr_storage from = {.ss_family = AF_INET};
    struct memory memory;
    struct process_usage usage;
    struct text wanted = {0};
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "one"});
    struct gp_server *server = f->server;
    for (int i = 0; i < 3; i++)
        (void)scene_connect(f, i, i ? NULL : &from);
    count_requests(server);
    count_refusals(server);
    use_pool(server->pool, &memory);
    struct model *model = server->models.open;
    model->load_ns = 12 * CLOCK_S + 345;
    model->warm_up_ns = 678 * CLOCK_MS;
    model->slots.queue.n = 1;
    model->batch_rules.max_rows = 2;
    const struct pool_counts counts = pool_count(server->pool);
    assert_distinct(&counts);
    char *text = write_text(server);
    assert_true(process_usage(&usage));
    WANT_FAMILIES(&wanted, wanted_of_server);
    WANT_FAMILIES(&wanted, wanted_of_models);
    want_times(&wanted);
    want_batches(&wanted);
    WANT_FAMILIES(&wanted, wanted_of_refusals);
    want_pool(&wanted, &counts);
    WANT_FAMILIES(&wanted, wanted_of_process);
    want_process(&wanted, &usage);
    assert_text(text, wanted.data);
    check_process(text, &usage);
    free(text);
    text_finish(&wanted);
    model->slots.queue.n = 0;
    model->batch_rules.max_rows = 0;
    leave_pool(server->pool, &memory);
    scene_end(f);
}

/* What a server does not do has no lines, nor heads of lines. */
static void what_is_not_done_is_not_told(void **state)
{
    static const char *const absent[] = {"graphpipe_batch", "graphpipe_cache"};
    (void)state;
    struct scene *f = scene_begin(NULL);
    char *text = write_text(f->server);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_null(strstr(text, absent[i]));
    free(text);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_has_its_name),
        cmocka_unit_test(what_is_not_done_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
