/* The metrics of models with several versions, in each state, and of a server that is not ready. */
#include "server/metrics_text.h"

#include "engine/isolate_child.h"
#include "server/drain.h"

#include "scene.h"
#include "served.h"

/* The values of a family, or of a name in it, are these lines. */
static void assert_family(struct gp_server *server, const char *name, const char *wanted)
{
    struct text text = {0}, lines = {0};
    struct gp_arena *arena = gp_arena_create();
    struct counts *counts = server->models.entries[0]->counts;
    const unsigned n_users = atomic_load(&counts->n_users);
    metrics_write(server, arena, &text);
    gp_arena_destroy(arena);
    assert_non_null(text.data);
    assert_int_equal(atomic_load(&counts->n_users), n_users);
    text_puts(&lines, "");
    for (const char *at = text.data; *at; at += strcspn(at, "\n") + 1)
        if (strncmp(at, name, strlen(name)) == 0)
            text_add(&lines, at, strcspn(at, "\n") + 1);
    assert_string_equal(lines.data ? lines.data : "", wanted);
    text_finish(&text);
    text_finish(&lines);
}

#define TWO "{model=\"two\",version=\""

/* The second model has versions 4, which fails to load anew but serves, 3, which loads, and 2, which
 * failed; there was a 1. */
static struct scene *begin(void)
{
    static const struct gp_model_options options = {.size_bytes = sizeof options,
                                                    .name = "two"};
    const struct gp_error why = {GP_IO, "why"};
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "one"});
    struct gp_server *server = f->server;
    struct model_entry *entry = served_entry(server, &options);
    struct model *model = served_version(server, entry, 4, 3);
    model->load_ns = 1;
    models_set_state(&server->models, entry->versions, MODEL_FAILED, &why);
    served_state(server, entry, 3, MODEL_LOADING, NULL);
    served_state(server, entry, 2, MODEL_FAILED, "why");
    served_state(server, entry, 1, MODEL_UNLOADED, NULL);
    metrics_inference_run(entry->versions->counts, 0, 0, 44);
    metrics_inference_run(entry->versions->next->next->next->counts, 0, 0, 11);
    models_retire(&server->models, entry, entry->versions->next->next->next);
    return f;
}

static void versions_have_their_states(void **state)
{
    (void)state;
    struct scene *f = begin();
    assert_family(f->server, "graphpipe_model_state{model=\"two\"",
                  "graphpipe_model_state" TWO "2\",state=\"loading\"} 0\n"
                  "graphpipe_model_state" TWO "2\",state=\"ready\"} 0\n"
                  "graphpipe_model_state" TWO "2\",state=\"failed\"} 1\n"
                  "graphpipe_model_state" TWO "2\",state=\"unloaded\"} 0\n"
                  "graphpipe_model_state" TWO "3\",state=\"loading\"} 1\n"
                  "graphpipe_model_state" TWO "3\",state=\"ready\"} 0\n"
                  "graphpipe_model_state" TWO "3\",state=\"failed\"} 0\n"
                  "graphpipe_model_state" TWO "3\",state=\"unloaded\"} 0\n"
                  "graphpipe_model_state" TWO "4\",state=\"loading\"} 0\n"
                  "graphpipe_model_state" TWO "4\",state=\"ready\"} 1\n"
                  "graphpipe_model_state" TWO "4\",state=\"failed\"} 0\n"
                  "graphpipe_model_state" TWO "4\",state=\"unloaded\"} 0\n");
    assert_family(f->server, "graphpipe_model_load_failed{model=\"two\"",
                  "graphpipe_model_load_failed" TWO "2\"} 1\n"
                  "graphpipe_model_load_failed" TWO "3\"} 0\n"
                  "graphpipe_model_load_failed" TWO "4\"} 1\n");
    assert_family(f->server, "graphpipe_model_load_seconds{model=\"two\"",
                  "graphpipe_model_load_seconds" TWO "4\"} 0.000000001\n");
    assert_family(f->server, "graphpipe_model_warm_up_seconds{", "");
    scene_end(f);
}

/* Its counts go on when the version comes back. */
static void a_version_that_has_gone_keeps_its_counts(void **state)
{
    (void)state;
    struct scene *f = begin();
    assert_family(f->server, "graphpipe_rows_total{",
                  "graphpipe_rows_total{model=\"one\",version=\"1\"} 0\n"
                  "graphpipe_rows_total" TWO "1\"} 11\n"
                  "graphpipe_rows_total" TWO "2\"} 0\n"
                  "graphpipe_rows_total" TWO "3\"} 0\n"
                  "graphpipe_rows_total" TWO "4\"} 44\n");
    scene_end(f);
}

/* The one before still has runs. */
static void while_one_takes_over_both_count(void **state)
{
    (void)state;
    struct scene *f = begin();
    struct gp_server *server = f->server;
    struct model_entry *entry = models_entry(&server->models, "two");
    struct model *before = entry->versions->model;
    struct model *after = served_version(server, entry, 4, 5);
    before->slots.queue.n = 7;
    after->slots.queue.n = 2;
    assert_family(server, "graphpipe_slots{",
                  "graphpipe_slots{model=\"one\",version=\"1\"} 1\n"
                  "graphpipe_slots" TWO "1\"} 0\n"
                  "graphpipe_slots" TWO "2\"} 0\n"
                  "graphpipe_slots" TWO "3\"} 0\n"
                  "graphpipe_slots" TWO "4\"} 8\n");
    assert_family(server, "graphpipe_waiting" TWO "4",
                  "graphpipe_waiting" TWO "4\"} 9\n");
    before->slots.queue.n = after->slots.queue.n = 0;
    scene_end(f);
}

static void children_are_told_where_there_are_some(void **state)
{
    (void)state;
    struct scene *f = begin();
    struct model_entry *entry = models_entry(&f->server->models, "two");
    assert_family(f->server, "graphpipe_child", "");
    counters_add(&entry->versions->counts->counters, 0, COUNTS_CHILD_ENDED + 2, 1);
    assert_family(f->server, "graphpipe_children{",
                  "graphpipe_children" TWO "4\",state=\"ready\"} 0\n"
                  "graphpipe_children" TWO "4\",state=\"late\"} 0\n"
                  "graphpipe_children" TWO "4\",state=\"starting\"} 0\n"
                  "graphpipe_children" TWO "4\",state=\"backoff\"} 0\n");
    assert_family(f->server, "graphpipe_child_restarts_total{",
                  "graphpipe_child_restarts_total" TWO "4\"} 0\n");
    assert_family(f->server, "graphpipe_child_ended_total{",
                  "graphpipe_child_ended_total" TWO "4\",reason=\"signal\"} 0\n"
                  "graphpipe_child_ended_total" TWO "4\",reason=\"exit\"} 0\n"
                  "graphpipe_child_ended_total" TWO "4\",reason=\"hang\"} 1\n"
                  "graphpipe_child_ended_total" TWO "4\",reason=\"protocol\"} 0\n");
    scene_end(f);
}

/* An isolate without processes: so many children are in each state, and some have ended. */
static void begin_isolate(struct isolate *isolate, struct child *children, uint32_t n)
{
    *isolate = (struct isolate){
        .children = children,
        .n_children = n,
        .counts = {.ended = {n, n + 1, n + 2, n + 3}, .n_restarts = n + 4}};
    pthread_mutex_init(&isolate->lock, NULL);
}

/* Those of the models that are open are added to what is kept of others. */
static void children_of_all_models_are_added(void **state)
{
    struct child before_children[] = {{.state = ISOLATE_READY},
                                      {.state = ISOLATE_LATE},
                                      {.state = ISOLATE_LATE},
                                      {.state = ISOLATE_BACKOFF}};
    struct child after_children[] = {{.state = ISOLATE_READY},
                                     {.state = ISOLATE_STARTING},
                                     {.state = ISOLATE_BACKOFF},
                                     {.state = ISOLATE_BACKOFF},
                                     {.state = ISOLATE_BACKOFF}};
    struct isolate isolates[2];
    (void)state;
    struct scene *f = begin();
    struct model_entry *entry = models_entry(&f->server->models, "two");
    struct model *before = entry->versions->model;
    struct model *after = served_version(f->server, entry, 4, 5);
    counters_add(&entry->versions->counts->counters, 0, COUNTS_CHILD_RESTARTS, 100);
    for (unsigned i = 0; i < 4; i++)
        counters_add(&entry->versions->counts->counters, 0, COUNTS_CHILD_ENDED + i,
                     100 * (i + 1));
    begin_isolate(&isolates[0], before_children, 4);
    begin_isolate(&isolates[1], after_children, 5);
    before->isolate = &isolates[0];
    after->isolate = &isolates[1];
    assert_family(f->server, "graphpipe_children{",
                  "graphpipe_children" TWO "4\",state=\"ready\"} 2\n"
                  "graphpipe_children" TWO "4\",state=\"late\"} 2\n"
                  "graphpipe_children" TWO "4\",state=\"starting\"} 1\n"
                  "graphpipe_children" TWO "4\",state=\"backoff\"} 4\n");
    assert_family(f->server, "graphpipe_child_restarts_total{",
                  "graphpipe_child_restarts_total" TWO "4\"} 117\n");
    assert_family(f->server, "graphpipe_child_ended_total{",
                  "graphpipe_child_ended_total" TWO "4\",reason=\"signal\"} 109\n"
                  "graphpipe_child_ended_total" TWO "4\",reason=\"exit\"} 211\n"
                  "graphpipe_child_ended_total" TWO "4\",reason=\"hang\"} 313\n"
                  "graphpipe_child_ended_total" TWO "4\",reason=\"protocol\"} 415\n");
    before->isolate = after->isolate = NULL;
    for (int i = 0; i < 2; i++)
        pthread_mutex_destroy(&isolates[i].lock);
    scene_end(f);
}

static void names_are_quoted(void **state)
{
    static const struct gp_model_options options = {.size_bytes = sizeof options,
                                                    .name = "a\"b"};
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "one"});
    struct model_entry *entry = served_entry(f->server, &options);
    served_state(f->server, entry, UINT64_MAX, MODEL_LOADING, NULL);
    assert_family(f->server, "graphpipe_model_ready{",
                  "graphpipe_model_ready{model=\"a\\\"b\"} 0\n"
                  "graphpipe_model_ready{model=\"one\"} 1\n");
    assert_family(
        f->server, "graphpipe_waiting{model=\"a",
        "graphpipe_waiting{model=\"a\\\"b\",version=\"18446744073709551615\"} 0\n");
    scene_end(f);
}

static void a_server_is_ready_as_its_route_says(void **state)
{
    static const struct gp_model_options options = {.size_bytes = sizeof options,
                                                    .name = "two"};
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "one"});
    assert_family(f->server, "graphpipe_ready ", "graphpipe_ready 1\n");
    struct model_entry *entry = served_entry(f->server, &options);
    assert_family(f->server, "graphpipe_ready ", "graphpipe_ready 0\n");
    assert_family(f->server, "graphpipe_model_ready{",
                  "graphpipe_model_ready{model=\"one\"} 1\n"
                  "graphpipe_model_ready{model=\"two\"} 0\n");
    (void)served_version(f->server, entry, 1, 1);
    assert_family(f->server, "graphpipe_ready ", "graphpipe_ready 1\n");
    drain_begin(f->server, NULL);
    assert_family(f->server, "graphpipe_ready ", "graphpipe_ready 0\n");
    scene_end(f);
}

/* The threads that count do not wait for the one that sums. */
static void fewer_than_none_are_in_flight_as_none(void **state)
{
    (void)state;
    struct scene *f = begin();
    counters_add(&f->server->metrics.counters, 0, METRICS_ENDED, 1);
    assert_family(f->server, "graphpipe_in_flight ", "graphpipe_in_flight 0\n");
    counters_add(&f->server->metrics.counters, 0, METRICS_BEGUN, 1);
    assert_family(f->server, "graphpipe_in_flight ", "graphpipe_in_flight 0\n");
    counters_add(&f->server->metrics.counters, 0, METRICS_BEGUN, 1);
    assert_family(f->server, "graphpipe_in_flight ", "graphpipe_in_flight 1\n");
    scene_end(f);
}

static void what_is_not_known_is_left_out(void **state)
{
    (void)state;
    struct scene *f = begin();
    f->server->metrics.started_s = 0;
    assert_family(f->server, "process_start_time_seconds", "");
    assert_family(f->server, "graphpipe_config_reload_failed ",
                  "graphpipe_config_reload_failed 0\n");
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_have_their_states),
        cmocka_unit_test(a_version_that_has_gone_keeps_its_counts),
        cmocka_unit_test(while_one_takes_over_both_count),
        cmocka_unit_test(children_are_told_where_there_are_some),
        cmocka_unit_test(children_of_all_models_are_added),
        cmocka_unit_test(names_are_quoted),
        cmocka_unit_test(a_server_is_ready_as_its_route_says),
        cmocka_unit_test(fewer_than_none_are_in_flight_as_none),
        cmocka_unit_test(what_is_not_known_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
