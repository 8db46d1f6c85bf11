/* One inference from its entry to its owner, without threads: it comes back once, its slot goes on
 * before it does, and what stops it is told to it alone. */
#include "fake_model.h"
#include "still_poller.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BEGIN_NS (1000 * CLOCK_S)

/* What the engine does in a run, and what it saw. */
struct script {
    struct fixture *f;
    int64_t takes_ns;
    bool is_watched; /* while it runs */
    bool is_ended;   /* the server ends meanwhile */
    bool fails;
    int n_runs;
    int n_cancels;
    int n_engaged; /* threads that were */
    uint32_t n_free_cores;
    bool writes_outputs;
};

struct fixture {
    struct poller poller;
    struct fake_model model;
    struct fake_inference a, b;
    struct script script;
    unsigned n_free_at_end; /* slots, when the owner of one had it back */
};

static void count_cancel(void *script)
{
    ((struct script *)script)->n_cancels++;
}

static enum gp_status run_script(void *handle, uint32_t slot, const struct gp_call *call,
                                 struct gp_outputs *outputs, struct gp_error *err)
{
    struct script *script = handle;
    struct fixture *f = script->f;
    (void)slot, (void)outputs;
    script->n_runs++;
    script->n_engaged = atomic_load(&f->poller.n_engaged);
    script->n_free_cores = call->n_free_cores;
    script->writes_outputs =
        fake_inference_of(call)->inference.run.engine_run.writes_outputs;
    assert_int_equal(gp_call_on_cancel(call, count_cancel, script), GP_OK);
    turned_clock_add(script->takes_ns);
    if (script->is_watched)
        slots_watch(&f->model.model.slots);
    if (script->is_ended)
        slots_cancel(&f->model.model.slots);
    if (script->n_cancels) /* told once, however often */
        engine_run_cancel(&fake_inference_of(call)->inference.run.engine_run);
    return script->fails ? gp_error_set(err, GP_ENGINE, "it does not add up") : GP_OK;
}

static void come_back(struct worker *worker, struct task *task)
{
    struct fake_inference *fake = (struct fake_inference *)(void *)task;
    const struct slots *slots = &fake->inference.model->slots;
    (void)worker;
    atomic_fetch_add(&fake->n_back, 1);
    assert_null(slots->all[0].running);
    assert_true(slots->first_free == 0 || slots->queue.n == 0);
    struct fixture *f = ((struct script *)fake->inference.model->handle)->f;
    f->n_free_at_end += slots->first_free == 0;
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){.script = {.f = f}};
    turned_clock_set(BEGIN_NS);
    still_begin(&f->poller);
    fake_model_begin(&f->model, &f->poller, 1, 8);
    fake_model_run_with(&f->model, run_script, &f->script);
    fake_inference_begin(&f->a, &f->model);
    fake_inference_begin(&f->b, &f->model);
    f->a.inference.task.go = f->b.inference.task.go = come_back;
}

static void end(struct fixture *f)
{
    fake_inference_end(&f->a);
    fake_inference_end(&f->b);
    fake_model_end(&f->model);
    assert_int_equal(atomic_load(&f->poller.n_engaged), 0);
    assert_int_equal(atomic_load(&f->poller.n_polling), 1);
    still_end(&f->poller);
    turned_clock_end();
}

static void enter(struct fixture *f, struct fake_inference *fake, int64_t deadline_ms)
{
    fake_inference_renew(fake, deadline_ms ? clock_now_ns() + deadline_ms * CLOCK_MS : 0);
    assert_true(run_enter(still_worker(&f->poller), &fake->inference));
}

static void assert_ended(const struct fake_inference *fake, enum gp_status status,
                         const char *words)
{
    assert_int_equal(fake->n_back, 1);
    assert_int_equal(fake->inference.error.status, status);
    if (status != GP_OK)
        assert_non_null(strstr(fake->inference.error.message, words));
}

/* Enters alone, and is carried to its end. */
static void run_alone(struct fixture *f, int64_t deadline_ms, enum gp_status status,
                      const char *words)
{
    enter(f, &f->a, deadline_ms);
    (void)still_serve(&f->poller);
    assert_ended(&f->a, status, words);
}

static void its_slot_goes_on_first(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    f.script.takes_ns = 5 * CLOCK_MS;
    enter(&f, &f.a, 0);
    assert_int_equal(f.script.n_runs,
                     0); /* not before the present event has been served */
    enter(&f, &f.b, 0);
    assert_int_equal(slots_n_waiting(&f.model.model.slots), 1);
    (void)still_serve(&f.poller);
    assert_ended(&f.a, GP_OK, NULL);
    assert_ended(&f.b, GP_OK, NULL);
    assert_int_equal(f.n_free_at_end, 1);           /* b's: a's went to b */
    assert_null(f.model.model.slots.all[0].to_run); /* it has no thread of its own */
    assert_int_equal(f.script.n_runs, 2);
    assert_int_equal(f.script.n_engaged, 1);
    assert_int_equal(f.a.inference.ran_ns, 5 * CLOCK_MS);
    assert_int_equal(f.a.inference.queued_ns, 0);
    assert_int_equal(f.b.inference.waited_ns, 5 * CLOCK_MS);
    engine_run_cancel(&f.a.inference.run.engine_run);
    assert_int_equal(f.script.n_cancels, 0); /* its engine has returned */
    end(&f);
}

static void one_that_is_late_does_not_run(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    enter(&f, &f.a, 10);
    turned_clock_add(10 * CLOCK_MS); /* other events took so long */
    (void)still_serve(&f.poller);
    assert_ended(&f.a, GP_DEADLINE, "the deadline was over after 10 ms");
    assert_int_equal(f.script.n_runs, 0);
    end(&f);
}

/* Only who waited for a millisecond is asked: that costs a system call. */
static void one_whose_client_left_does_not_run(void **state)
{
    static const int64_t waits_ns[] = {CLOCK_MS, CLOCK_MS - 1};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        const bool is_asked = waits_ns[i] == CLOCK_MS;
        begin(&f);
        f.script.takes_ns = waits_ns[i];
        enter(&f, &f.a, 0);
        enter(&f, &f.b, 0);
        atomic_store(&f.a.is_left, true);
        atomic_store(&f.b.is_left, true);
        (void)still_serve(&f.poller);
        assert_ended(&f.a, GP_OK, NULL);
        assert_int_equal(f.a.n_asked, 0);
        assert_ended(&f.b, is_asked ? GP_CANCELLED : GP_OK,
                     "the client left while its request waited");
        assert_int_equal(f.b.n_asked, is_asked);
        assert_int_equal(f.script.n_runs, is_asked ? 1 : 2);
        end(&f);
    }
}

/* The engine may have given up at the same moment for reasons of its own: what stopped it counts.
 * A result that came all the same is one, but not when it is too late. */
static void why_it_was_stopped_is_told(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    f.script = (struct script){
        .f = &f, .takes_ns = 50 * CLOCK_MS, .is_watched = true, .fails = true};
    run_alone(&f, 0, GP_ENGINE, "it does not add up");
    run_alone(&f, 51, GP_ENGINE, "it does not add up");
    assert_int_equal(f.script.n_cancels, 0);
    run_alone(&f, 50, GP_DEADLINE, "after 50 ms");
    assert_int_equal(f.script.n_cancels, 1);
    enter(&f, &f.a, 0);
    atomic_store(&f.a.is_left, true);
    (void)still_serve(&f.poller);
    assert_ended(&f.a, GP_CANCELLED, "its client left");
    assert_int_equal(f.script.n_cancels, 2);
    f.script.is_ended = true;
    run_alone(&f, 0, GP_UNAVAILABLE, "the server ended");
    assert_int_equal(f.script.n_cancels, 3);
    f.script.fails = false;
    run_alone(&f, 0, GP_OK, NULL);
    run_alone(&f, 50, GP_DEADLINE, "after 50 ms");
    end(&f);
}

static void a_stop_is_not_the_next_ones(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    f.script = (struct script){
        .f = &f, .takes_ns = 50 * CLOCK_MS, .is_watched = true, .fails = true};
    run_alone(&f, 50, GP_DEADLINE, "");
    f.script = (struct script){.f = &f, .fails = true};
    run_alone(&f, 0, GP_ENGINE, "it does not add up"); /* not "its client left" */
    f.script.is_ended = true;
    run_alone(&f, 0, GP_UNAVAILABLE, "");
    f.script = (struct script){.f = &f};
    run_alone(&f, 0, GP_OK, NULL);
    assert_int_equal(f.script.n_cancels, 0);
    end(&f);
}

static void share_and_come_back(struct worker *worker, struct task *task)
{
    worker_share(worker); /* as before a long answer */
    come_back(worker, task);
}

/* A slot with a thread of its own is run on by no other, whatever that thread shares. */
static void a_run_stays_with_its_slots_thread(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    struct slot *slot = &f.model.model.slots.all[0];
    struct worker *own = slot->worker = worker_create(&f.poller);
    assert_non_null(own);
    f.a.inference.task.go = share_and_come_back;
    enter(&f, &f.a, 0);
    enter(&f, &f.b, 0);
    assert_int_equal(still_serve(&f.poller), 0);
    assert_int_equal(f.script.n_runs, 0);
    assert_ptr_equal(slot->to_run, &f.a.inference.run);
    worker_carry(own, &slot->to_run->task);
    assert_ended(&f.a, GP_OK, NULL);
    assert_int_equal(still_serve(&f.poller), 0);
    assert_int_equal(f.script.n_runs, 1);
    assert_ptr_equal(slot->to_run, &f.b.inference.run);
    worker_carry(own, &slot->to_run->task);
    assert_ended(&f.b, GP_OK, NULL);
    slot->worker = NULL;
    worker_destroy(own);
    end(&f);
}

/* --- what the watcher does to the slot that a run is on --- */

/* Runs for as long as the watcher needs to look at it so many ms after the beginning. */
static enum slot_stop stop_of(struct fixture *f, const int64_t *looks_ms, int n_looks)
{
    struct slots *slots = &f->model.model.slots;
    slots_run_begin(slots, &f->a.inference.run);
    for (int i = 0; i < n_looks; i++) {
        turned_clock_set(BEGIN_NS + looks_ms[i] * CLOCK_MS);
        slots_watch(slots);
    }
    return slots_run_end(slots, &f->a.inference.run);
}

#define STOP_OF(f, ...)                                                                  \
    stop_of(f, (const int64_t[]){__VA_ARGS__},                                           \
            sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t))

static bool is_cancelled(const struct fake_inference *fake)
{
    return fake->inference.run.engine_run.is_cancelled;
}

static void the_watcher_stops_runs(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    fake_inference_renew(&f.a, 0);
    assert_int_equal(STOP_OF(&f, 100, 200), SLOT_GOES_ON);
    assert_int_equal(f.a.inference.ran_ns, 200 * CLOCK_MS);
    assert_int_equal(f.a.n_asked, 2);

    fake_inference_renew(&f.a, BEGIN_NS + 300 * CLOCK_MS);
    assert_int_equal(STOP_OF(&f, 299), SLOT_GOES_ON);
    assert_false(is_cancelled(&f.a));
    assert_int_equal(STOP_OF(&f, 300), SLOT_LATE);
    assert_true(is_cancelled(&f.a));

    turned_clock_set(BEGIN_NS); /* a young one is not asked for its client */
    fake_inference_renew(&f.a, 0);
    atomic_store(&f.a.is_left, true);
    assert_int_equal(STOP_OF(&f, 20), SLOT_GOES_ON);
    assert_int_equal(f.a.n_asked, 0);
    assert_int_equal(STOP_OF(&f, 21, 41, 60, 80), SLOT_LEFT);
    assert_int_equal(f.a.n_asked, 1); /* nor one that has been told to stop */
    assert_true(is_cancelled(&f.a));
    end(&f);
}

static void only_what_runs_is_stopped_and_once(void **state)
{
    struct fixture f;
    struct slots *slots = &f.model.model.slots;
    (void)state;
    begin(&f);
    fake_inference_renew(&f.a, BEGIN_NS + CLOCK_MS);
    assert_int_equal(STOP_OF(&f, 0), SLOT_GOES_ON);
    turned_clock_set(BEGIN_NS + CLOCK_MS);
    slots_watch(slots);
    slots_cancel(slots);
    assert_false(is_cancelled(&f.a));
    slots_run_begin(slots, &f.a.inference.run);
    slots_watch(slots);
    slots_cancel(slots);
    assert_int_equal(slots_run_end(slots, &f.a.inference.run), SLOT_LATE);
    assert_true(is_cancelled(&f.a));

    fake_inference_renew(&f.a, 0);
    slots_run_begin(slots, &f.a.inference.run);
    slots_cancel(slots);
    assert_int_equal(slots_run_end(slots, &f.a.inference.run), SLOT_ENDING);
    end(&f);
}

/* All but those on which others run, and never less than its own. */
static void a_run_is_told_of_free_cores(void **state)
{
    static const struct {
        int n_others;
        uint32_t n_free;
    } cases[] = {{0, 4}, {1, 3}, {3, 1}, {4, 1}, {9, 1}};
    struct fixture f;
    (void)state;
    begin(&f);
    f.model.host.n_cores = 4;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        atomic_fetch_add(&f.poller.n_engaged, cases[i].n_others);
        run_alone(&f, 0, GP_OK, NULL);
        assert_int_equal(f.script.n_free_cores, cases[i].n_free);
        atomic_fetch_sub(&f.poller.n_engaged, cases[i].n_others);
    }
    end(&f);
}

static void an_engine_may_write_all_of_its_outputs(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    run_alone(&f, 0, GP_OK, NULL);
    assert_false(f.script.writes_outputs);
    f.model.model.description.flags = GP_WRITES_OUTPUTS | GP_ANY_INPUTS;
    run_alone(&f, 0, GP_OK, NULL);
    assert_true(f.script.writes_outputs);
    end(&f);
}

/* For whom the watcher may have to wake others: those that are no short runs, on threads that poll. */
static void long_runs_are_counted(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    struct slots *slots = &f.model.model.slots;
    fake_inference_renew(&f.a, 0);
    assert_int_equal(slots_watch(slots), 0);
    slots_run_begin(slots, &f.a.inference.run);
    turned_clock_set(BEGIN_NS + CLOCK_MS);
    assert_int_equal(slots_watch(slots), 0);
    turned_clock_add(1);
    assert_int_equal(slots_watch(slots), 1);
    struct worker *own = slots->all[0].worker = worker_create(&f.poller);
    assert_int_equal(slots_watch(slots), 0);
    slots->all[0].worker = NULL;
    worker_destroy(own);
    (void)slots_run_end(slots, &f.a.inference.run);
    assert_int_equal(slots_watch(slots), 0);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_slot_goes_on_first),
        cmocka_unit_test(one_that_is_late_does_not_run),
        cmocka_unit_test(one_whose_client_left_does_not_run),
        cmocka_unit_test(why_it_was_stopped_is_told),
        cmocka_unit_test(a_stop_is_not_the_next_ones),
        cmocka_unit_test(a_run_stays_with_its_slots_thread),
        cmocka_unit_test(the_watcher_stops_runs),
        cmocka_unit_test(only_what_runs_is_stopped_and_once),
        cmocka_unit_test(a_run_is_told_of_free_cores),
        cmocka_unit_test(an_engine_may_write_all_of_its_outputs),
        cmocka_unit_test(long_runs_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
