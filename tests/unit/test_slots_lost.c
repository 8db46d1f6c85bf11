/* Slots whose children end, without processes: the test plays the supervisor, by the members that it
 * would set. Nobody gets a slot that has no child, and nobody waits for one for ever. */
#include "engine/isolate_child.h"
#include "fake_model.h"
#include "still_poller.h"
#include "turned_clock.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_SLOTS = 3, N = 6 };

#define BEGIN_NS (1000 * CLOCK_S)

static const pid_t no_process = INT_MAX;

struct fixture {
    struct poller poller;
    struct fake_model model;
    struct slots *slots;
    struct isolate isolate;
    struct child children[N_SLOTS];
    struct fake_inference fakes[N];
    const struct fake_inference *went[N]; /* with a slot, in order */
    unsigned n_went;
};

static void run_goes(struct worker *worker, struct task *task)
{
    struct run *run = (struct run *)(void *)task;
    struct fixture *f = run->inference->model->handle;
    (void)worker;
    assert_true(f->n_went < N);
    f->went[f->n_went++] = (struct fake_inference *)(void *)run->inference;
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){0};
    turned_clock_set(BEGIN_NS);
    still_begin(&f->poller);
    fake_model_begin(&f->model, &f->poller, N_SLOTS, N);
    f->model.model.handle = f;
    f->slots = &f->model.model.slots;
    f->slots->isolate = &f->isolate;
    f->isolate.children = f->children;
    f->isolate.n_children = N_SLOTS;
    f->isolate.supervisor_fd = eventfd(0, EFD_NONBLOCK);
    pthread_mutex_init(&f->isolate.lock, NULL);
    for (uint32_t i = 0; i < N_SLOTS; i++)
        f->children[i] = (struct child){
            .isolate = &f->isolate, .slot = i, .pid = no_process, .link.fd = -1};
    for (int i = 0; i < N; i++) {
        fake_inference_begin(&f->fakes[i], &f->model);
        f->fakes[i].inference.run.task.go = run_goes;
    }
}

static void end(struct fixture *f)
{
    uint32_t slot;
    assert_int_equal(isolate_next(&f->isolate, &slot), ISOLATE_NONE);
    for (int i = 0; i < N; i++)
        fake_inference_end(&f->fakes[i]);
    assert_int_equal(atomic_load(&f->poller.n_engaged), 0);
    fake_model_end(&f->model);
    still_end(&f->poller);
    close(f->isolate.supervisor_fd);
    pthread_mutex_destroy(&f->isolate.lock);
    turned_clock_end();
}

static bool enter(struct fixture *f, int i, int64_t deadline_ms)
{
    fake_inference_renew(&f->fakes[i],
                         deadline_ms ? BEGIN_NS + deadline_ms * CLOCK_MS : 0);
    return slots_enter(f->slots, still_worker(&f->poller), &f->fakes[i].inference.run);
}

static uint32_t slot_of(const struct fixture *f, int i)
{
    return f->fakes[i].inference.run.slot;
}

static void pass(struct fixture *f, int i)
{
    slots_pass(f->slots, still_worker(&f->poller), slot_of(f, i));
}

/* That inference, and no other, has gone with a slot since the last time; -1: none has. */
static void assert_went(struct fixture *f, int i)
{
    (void)still_serve(&f->poller);
    assert_int_equal(f->n_went, i < 0 ? 0 : 1);
    if (i >= 0)
        assert_ptr_equal(f->went[0], &f->fakes[i]);
    f->n_went = 0;
}

static void enter_and_go(struct fixture *f, int i)
{
    assert_true(enter(f, i, 0));
    assert_went(f, i);
}

/* What the child of the slot does, and what the supervisor says of it. */

static void child_ends(struct fixture *f, uint32_t slot)
{
    f->children[slot].pid = 0;
    (void)strcpy(f->children[slot].ended.message, "signal 9");
}

static void child_starts(struct fixture *f, uint32_t slot)
{
    assert_true(f->children[slot].is_supervised);
    f->children[slot].pid = no_process;
    f->children[slot].state = ISOLATE_READY;
    f->children[slot].is_supervised = false;
    f->children[slot].is_usable_news = true;
}

static void take_news(struct fixture *f)
{
    slots_take_news(f->slots);
}

static void a_lost_slot_is_nobodys(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    for (int i = 0; i < N_SLOTS; i++)
        enter_and_go(&f, i);
    assert_true(enter(&f, 3, 0));
    assert_true(enter(&f, 4, 10));
    child_ends(&f, slot_of(&f, 1));
    pass(&f, 1);
    assert_went(&f, -1);
    assert_true(f.children[slot_of(&f, 1)].is_supervised);
    /* the watcher looks after those who wait, though nothing may run */
    assert_int_equal(atomic_load(&f.poller.n_engaged), 1);
    assert_int_equal(atomic_load(&f.poller.watcher_pace), WATCHER_FAST);
    turned_clock_set(BEGIN_NS + 10 * CLOCK_MS);
    slots_watch(f.slots);
    assert_went(&f, -1);
    assert_int_equal(f.fakes[4].n_back, 1);
    assert_int_equal(f.fakes[4].inference.error.status, GP_DEADLINE);
    child_starts(&f, slot_of(&f, 1));
    take_news(&f);
    assert_went(&f, 3);
    assert_int_equal(slot_of(&f, 3), slot_of(&f, 1));
    assert_int_equal(atomic_load(&f.poller.n_engaged), 0);
    for (int i = 0; i < N_SLOTS; i++)
        pass(&f, i == 1 ? 3 : i);
    end(&f);
}

/* One that is past its deadline still has the slot. */
static void a_late_child_keeps_its_slot(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    enter_and_go(&f, 0);
    f.children[slot_of(&f, 0)].is_late = true;
    pass(&f, 0);
    enter_and_go(&f, 1);
    enter_and_go(&f, 2);
    assert_true(enter(&f, 3, 0));
    assert_went(&f, -1);
    f.children[slot_of(&f, 0)].is_late = false;
    child_starts(&f, slot_of(&f, 0));
    take_news(&f);
    assert_went(&f, 3);
    for (int i = 1; i < 4; i++)
        pass(&f, i);
    end(&f);
}

/* A child that ended while nothing ran on it: whoever comes next does not get its slot, wherever in
 * the list of free ones it is. */
static void a_free_slot_is_lost(void **state)
{
    (void)state;
    for (uint32_t lost = 0; lost < N_SLOTS; lost++) {
        struct fixture f;
        begin(&f);
        child_ends(&f, lost);
        f.children[lost].is_lost_news = true;
        take_news(&f);
        enter_and_go(&f, 0);
        enter_and_go(&f, 1);
        assert_int_not_equal(slot_of(&f, 0), lost);
        assert_int_not_equal(slot_of(&f, 1), lost);
        assert_true(enter(&f, 2, 0));
        assert_went(&f, -1);
        child_starts(&f, lost);
        take_news(&f);
        assert_went(&f, 2);
        assert_int_equal(slot_of(&f, 2), lost);
        for (int i = 0; i < N_SLOTS; i++)
            pass(&f, i);
        end(&f);
    }
}

/* Whoever runs on it finds out, and a child that was started again meanwhile is not lost. */
static void old_news_take_no_slot(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    enter_and_go(&f, 0);
    f.children[slot_of(&f, 0)].is_lost_news = true;
    take_news(&f);
    assert_false(f.children[slot_of(&f, 0)].is_supervised);
    pass(&f, 0);
    f.children[1].is_lost_news = true;
    take_news(&f);
    take_news(&f); /* there are none left */
    for (int i = 0; i < N_SLOTS; i++)
        enter_and_go(&f, i);
    for (int i = 0; i < N_SLOTS; i++)
        pass(&f, i);
    end(&f);
}

static void all_are_down(struct fixture *f, int64_t start_ns)
{
    for (uint32_t i = 0; i < N_SLOTS; i++) {
        f->children[i].state = ISOLATE_BACKOFF;
        f->children[i].start_ns = start_ns;
    }
    (void)strcpy(f->isolate.failure.message, "no such model");
    f->isolate.is_down_news = true;
}

static void nobody_waits_while_all_are_down(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    for (int i = 0; i < N_SLOTS; i++) {
        enter_and_go(&f, i);
        child_ends(&f, slot_of(&f, i));
        pass(&f, i);
    }
    assert_true(enter(&f, 3, 0));
    all_are_down(&f, BEGIN_NS); /* but they start at once */
    take_news(&f);
    assert_went(&f, -1);
    assert_int_equal(f.fakes[3].n_back, 0);
    all_are_down(&f, BEGIN_NS + CLOCK_S);
    take_news(&f);
    assert_went(&f, -1);
    assert_int_equal(f.fakes[3].n_back, 1);
    assert_int_equal(f.fakes[3].inference.error.status, GP_UNAVAILABLE);
    assert_non_null(strstr(f.fakes[3].inference.error.message, "no such model"));
    assert_false(enter(&f, 4, 0));
    assert_int_equal(f.fakes[4].inference.error.status, GP_UNAVAILABLE);
    turned_clock_set(BEGIN_NS + CLOCK_S); /* they are about to start */
    assert_true(enter(&f, 5, 0));
    for (uint32_t i = 0; i < N_SLOTS; i++) {
        child_starts(&f, i);
        take_news(&f);
    }
    assert_went(&f, 5);
    pass(&f, 5);
    end(&f);
}

/* Its model is closed before there are news of it: then nobody expects any. */
static void the_end_does_not_wait_for_a_lost_slot(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    for (int i = 0; i < 2; i++) {
        enter_and_go(&f, i);
        child_ends(&f, slot_of(&f, i));
        pass(&f, i);
    }
    assert_int_equal(atomic_load(&f.poller.n_engaged), 2);
    slots_finish(f.slots);
    assert_int_equal(atomic_load(&f.poller.n_engaged), 0);
    *f.slots = (struct slots){.poller = &f.poller};
    assert_int_equal(slots_init(f.slots, N_SLOTS, NULL), GP_OK);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_slot_is_nobodys),
        cmocka_unit_test(a_late_child_keeps_its_slot),
        cmocka_unit_test(a_free_slot_is_lost),
        cmocka_unit_test(old_news_take_no_slot),
        cmocka_unit_test(nobody_waits_while_all_are_down),
        cmocka_unit_test(the_end_does_not_wait_for_a_lost_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
