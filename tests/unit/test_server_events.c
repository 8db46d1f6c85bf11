/* What a server does of itself: by its timer, when it is asked to stop, and for what waits. Without
 * threads. */
#include "scene.h"
#include "served.h"

#define MIB ((uint64_t)1 << 20)

static void fire_timer(struct scene *f)
{
    f->server->timers.source.serve(still_worker(&f->server->poller),
                                   &f->server->timers.source);
    scene_serve(f);
}

static size_t idle_bytes(struct scene *f)
{
    return pool_count(f->server->pool).idle_bytes;
}

static void memory_is_kept_for_half_a_minute(void **state)
{
    struct pool_buffer buffer;
    (void)state;
    struct scene *f = scene_begin(NULL);
    assert_true(pool_take(f->server->pool, NULL, MIB, NULL, &buffer));
    assert_true(pool_touch(f->server->pool, &buffer, MIB));
    pool_give(f->server->pool, &buffer);
    scene_turn_to(29999);
    fire_timer(f);
    assert_int_equal(idle_bytes(f), MIB);
    scene_turn_to(30000);
    fire_timer(f);
    assert_int_equal(idle_bytes(f), 0);
    scene_end(f);
}

static void the_timer_ends_what_is_late(void **state)
{
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.head_timeout_ms = 100});
    struct visitor *visitor = scene_connect(f, 0, NULL);
    scene_turn_to(99);
    fire_timer(f);
    scene_hear_nothing(f, visitor);
    scene_turn_to(100);
    fire_timer(f);
    scene_hear(f, visitor, "");
    assert_true(visitor->is_ended);
    scene_end(f);
}

/* However often. */
static void a_stop_drains(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    scene_serve(f);
    assert_false(server_is_draining(f->server));
    gp_server_stop(f->server);
    gp_server_stop(f->server);
    scene_serve(f);
    assert_true(server_is_draining(f->server));
    gp_server_stop(f->server);
    scene_serve(f);
    scene_end(f);
}

/* The thread that polls looks after the queue. */
static void what_waits_too_long_is_taken_out_of_the_queue(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct poller *poller = &f->server->poller;
    struct slots *slots = &f->server->models.open->slots;
    struct visitor *first = scene_connect(f, 0, NULL);
    struct visitor *second = scene_connect(f, 1, NULL);
    scene_post(f, first, 8, "1", "");
    assert_true(still_serve_one(poller)); /* it has the slot */
    scene_post(f, second, 8, "1", "X-GraphPipe-Timeout-Ms: 10\r\n");
    assert_true(still_serve_one(poller));
    assert_int_equal(slots_n_waiting(slots), 1);
    scene_turn_to(11);
    assert_int_equal(poller->watch(poller->watch_context), 0);
    assert_int_equal(slots_n_waiting(slots), 0);
    scene_serve(f);
    scene_hear(f, second, "HTTP/1.1 504 Gateway Timeout\r\n");
    scene_hear(f, first, "HTTP/1.1 200 OK\r\n");
    scene_end(f);
}

/* As if each of two models had a run for a second. */
static void long_runs_are_counted(void **state)
{
    static const struct gp_model_options options = {.size_bytes = sizeof options,
                                                    .name = "other"};
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct poller *poller = &f->server->poller;
    struct model_entry *entry = served_entry(f->server, &options);
    struct slots *both[] = {&f->server->models.open->slots,
                            &served_version(f->server, entry, 1, 1)->slots};
    for (int i = 0; i < 2; i++) {
        atomic_store(&both[i]->n_taken, 1);
        atomic_store(&both[i]->all[0].began_ns, SCENE_NS - CLOCK_S);
    }
    assert_int_equal(poller->watch(poller->watch_context), 2);
    for (int i = 0; i < 2; i++) {
        atomic_store(&both[i]->n_taken, 0);
        atomic_store(&both[i]->all[0].began_ns, 0);
    }
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_kept_for_half_a_minute),
        cmocka_unit_test(the_timer_ends_what_is_late),
        cmocka_unit_test(a_stop_drains),
        cmocka_unit_test(what_waits_too_long_is_taken_out_of_the_queue),
        cmocka_unit_test(long_runs_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
