/* Slots and the queue before them, without threads: who runs when, who waits, and who may not. Each
 * inference has a letter, small when it goes with a slot, large when it comes back without one. */
#include "fake_model.h"
#include "still_poller.h"
#include "turned_clock.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N = 12 };

#define BEGIN_NS (1000 * CLOCK_S)

struct letter {
    struct fake_inference fake; /* first */
    struct fixture *f;
    char letter;
};

struct fixture {
    struct poller poller;
    struct fake_model model;
    struct slots *slots;
    struct letter letters[N]; /* 'a' and so on */
    char seen[2 * N];
    size_t n_seen;
};

static void note(struct letter *letter, int what)
{
    struct fixture *f = letter->f;
    assert_true(f->n_seen < sizeof f->seen - 1);
    f->seen[f->n_seen++] = (char)what;
}

static void run_goes(struct worker *worker, struct task *task)
{
    struct run *run = (struct run *)(void *)task;
    struct letter *letter = (struct letter *)(void *)run->inference;
    (void)worker;
    note(letter, letter->letter);
}

static void comes_back(struct worker *worker, struct task *task)
{
    struct letter *letter = (struct letter *)(void *)task;
    (void)worker;
    note(letter, toupper(letter->letter));
}

static void begin(struct fixture *f, uint32_t n_slots, unsigned max_waiting)
{
    *f = (struct fixture){0};
    turned_clock_set(BEGIN_NS);
    still_begin(&f->poller);
    fake_model_begin(&f->model, &f->poller, n_slots, max_waiting);
    f->slots = &f->model.model.slots;
    for (int i = 0; i < N; i++) {
        struct letter *letter = &f->letters[i];
        fake_inference_begin(&letter->fake, &f->model);
        letter->f = f;
        letter->letter = (char)('a' + i);
        letter->fake.inference.task.go = comes_back;
        letter->fake.inference.run.task.go = run_goes;
    }
}

static void end(struct fixture *f)
{
    for (int i = 0; i < N; i++)
        fake_inference_end(&f->letters[i].fake);
    fake_model_end(&f->model);
    still_end(&f->poller);
    turned_clock_end();
}

static struct inference *inference(struct fixture *f, char letter)
{
    return &f->letters[letter - 'a'].fake.inference;
}

/* With a deadline so long after the beginning; 0: none. */
static bool enter_until(struct fixture *f, char letter, int64_t ms)
{
    fake_inference_renew(&f->letters[letter - 'a'].fake,
                         ms ? BEGIN_NS + ms * CLOCK_MS : 0);
    return slots_enter(f->slots, still_worker(&f->poller), &inference(f, letter)->run);
}

static void enter(struct fixture *f, const char *letters)
{
    for (; *letters; letters++)
        assert_true(enter_until(f, *letters, 0));
}

static void pass(struct fixture *f, const char *letters)
{
    for (; *letters; letters++)
        slots_pass(f->slots, still_worker(&f->poller), inference(f, *letters)->run.slot);
}

static void watch_at(struct fixture *f, int64_t ms)
{
    turned_clock_set(BEGIN_NS + ms * CLOCK_MS);
    slots_watch(f->slots);
}

/* What has happened since the last time. */
static void assert_seen(struct fixture *f, const char *letters)
{
    (void)still_serve(&f->poller);
    f->seen[f->n_seen] = '\0';
    f->n_seen = 0;
    assert_string_equal(f->seen, letters);
}

static void a_slot_has_one_run(void **state)
{
    static const char *const orders[] = {"abc", "acb", "bac", "bca", "cab", "cba"};
    struct fixture f;
    (void)state;
    begin(&f, 3, N);
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        bool is_taken[3] = {false};
        enter(&f, "abcd");
        assert_seen(&f, "abc");
        for (char letter = 'a'; letter <= 'c'; letter++) {
            const uint32_t slot = inference(&f, letter)->run.slot;
            assert_true(slot < 3);
            assert_false(is_taken[slot]);
            is_taken[slot] = true;
        }
        pass(&f, orders[i]);
        assert_seen(&f, "d");
        assert_int_equal(inference(&f, 'd')->run.slot,
                         inference(&f, orders[i][0])->run.slot);
        pass(&f, "d");
    }
    end(&f);
}

/* The watcher passes by a model whose slots are idle, so nothing may run or wait there. */
static void idle_is_without_a_run(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 2, N);
    assert_true(slots_are_idle(f.slots));
    enter(&f, "a");
    assert_false(slots_are_idle(f.slots));
    enter(&f, "bc");
    pass(&f, "ab");
    assert_seen(&f, "abc");
    assert_false(slots_are_idle(f.slots));
    pass(&f, "c");
    assert_true(slots_are_idle(f.slots));
    fake_inference_renew(&f.letters[0].fake, 0);
    assert_true(
        slots_enter_at(f.slots, still_worker(&f.poller), &inference(&f, 'a')->run, 1));
    assert_false(slots_are_idle(f.slots));
    pass(&f, "a");
    assert_seen(&f, "a");
    end(&f);
}

static void first_come_first_run(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1, N);
    enter(&f, "abcd");
    assert_seen(&f, "a");
    assert_int_equal(slots_n_waiting(f.slots), 3);
    pass(&f, "a");
    assert_seen(&f, "b");
    enter(&f, "e");
    pass(&f, "b");
    assert_seen(&f, "c");
    pass(&f, "c");
    assert_seen(&f, "d");
    pass(&f, "d");
    assert_seen(&f, "e");
    assert_int_equal(slots_n_waiting(f.slots), 0);
    pass(&f, "e");
    enter(&f, "a");
    assert_seen(&f, "a");
    pass(&f, "a");
    end(&f);
}

/* Wherever in the queue they were, nobody else is lost, nor whoever comes then. */
static void some_are_late_in_the_queue(void **state)
{
    static const struct {
        const char *late, *gone, *rest;
    } cases[] = {{"b", "aB", "cde"},  {"c", "aC", "bde"},  {"d", "aD", "bce"},
                 {"cd", "aDC", "be"}, {"bc", "aCB", "de"}, {"bcd", "aDCB", "e"}};
    struct fixture f;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&f, 1, N);
        enter(&f, "a");
        for (char letter = 'b'; letter <= 'd'; letter++)
            assert_true(enter_until(&f, letter, strchr(cases[i].late, letter) ? 10 : 0));
        watch_at(&f, 10);
        assert_seen(&f, cases[i].gone);
        enter(&f, "e");
        pass(&f, "a");
        assert_int_equal(slots_n_waiting(f.slots), strlen(cases[i].rest) - 1);
        for (const char *next = cases[i].rest; *next; next++) {
            const char one[] = {*next, '\0'};
            assert_seen(&f, one);
            pass(&f, one);
        }
        end(&f);
    }
}

/* An inference that is used again brings nobody along who waited with it. */
static void they_come_again(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1, N);
    enter(&f, "a");
    assert_true(enter_until(&f, 'b', 10));
    assert_true(enter_until(&f, 'c', 10));
    watch_at(&f, 10);
    assert_seen(&f, "aCB");
    enter(&f, "c");
    pass(&f, "ac");
    assert_seen(&f, "c");
    end(&f);
}

static void each_has_its_own_deadline(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1, N);
    enter(&f, "ab");
    assert_seen(&f, "a");
    assert_true(enter_until(&f, 'c', 50));
    assert_true(enter_until(&f, 'd', 30));
    assert_true(enter_until(&f, 'e', 40));
    watch_at(&f, 29);
    assert_seen(&f, "");
    watch_at(&f, 30);
    assert_seen(&f, "D");
    watch_at(&f, 39);
    assert_seen(&f, "");
    watch_at(&f, 45);
    assert_seen(&f, "E");
    watch_at(&f, 60);
    assert_seen(&f, "C");
    assert_int_equal(f.slots->queue.deadline_ns, 0); /* b has none */
    assert_int_equal(inference(&f, 'd')->error.status, GP_DEADLINE);
    assert_int_equal(inference(&f, 'd')->waited_ns, 30 * CLOCK_MS);
    assert_int_equal(inference(&f, 'c')->waited_ns, 60 * CLOCK_MS);
    watch_at(&f, 1000);
    pass(&f, "a");
    assert_seen(&f, "b");
    assert_int_equal(inference(&f, 'b')->waited_ns, 1000 * CLOCK_MS);
    pass(&f, "b");
    end(&f);
}

/* The earliest deadline leaves with its slot, and the next one is still kept. */
static void the_second_in_the_queue_has_a_deadline_too(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1, N);
    enter(&f, "a");
    assert_true(enter_until(&f, 'b', 10));
    assert_true(enter_until(&f, 'c', 20));
    pass(&f, "a");
    assert_seen(&f, "ab");
    watch_at(&f, 15);
    assert_seen(&f, "");
    assert_true(enter_until(&f, 'd', 90));
    watch_at(&f, 20);
    assert_seen(&f, "C");
    watch_at(&f, 89);
    assert_seen(&f, "");
    watch_at(&f, 90);
    assert_seen(&f, "D");
    pass(&f, "b");
    end(&f);
}

static void assert_refused(struct fixture *f, char letter, const char *words)
{
    const unsigned n_waiting = slots_n_waiting(f->slots);
    assert_false(enter_until(f, letter, 0));
    assert_int_equal(inference(f, letter)->error.status, GP_BUSY);
    assert_non_null(strstr(inference(f, letter)->error.message, words));
    assert_int_equal(slots_n_waiting(f->slots), n_waiting);
    assert_seen(f, "");
}

static void so_many_may_wait(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1, 2);
    enter(&f, "abc");
    assert_seen(&f, "a");
    assert_refused(&f, 'd', "2 requests wait already");
    pass(&f, "a");
    assert_seen(&f, "b");
    enter(&f, "d");
    assert_refused(&f, 'e', "2 requests wait already");
    pass(&f, "bc");
    assert_seen(&f, "cd");
    pass(&f, "d");
    end(&f);
}

/* A client that has its share of the places gets it back however a wait ends. */
static void places_are_given_back(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct fixture f;
        struct share_taker one = {0};
        begin(&f, 1, 4);
        enter(&f, "a");
        for (char letter = 'b'; letter <= 'e'; letter++)
            inference(&f, letter)->client = &one;
        for (char letter = 'b'; letter <= 'd'; letter++)
            assert_true(enter_until(&f, letter, 10));
        assert_seen(&f, "a");
        assert_int_equal(one.n_held, 3);
        assert_refused(&f, 'e', "this client's share of the 4 places");
        enter(&f, "g"); /* another's */
        assert_refused(&f, 'h', "4 requests wait already");
        if (how == 0)
            pass(&f, "abc"); /* with a slot */
        else if (how == 1)
            watch_at(&f, 10);
        else
            slots_cancel(f.slots);
        assert_int_equal(one.n_held, 0);
        assert_int_equal(slots_n_waiting(f.slots), how < 2 ? 1 : 0);
        assert_seen(&f, how == 0 ? "bcd" : how == 1 ? "DCB" : "GDCB");
        pass(&f, how < 2 ? "ag" : "a");
        assert_seen(&f, how < 2 ? "g" : "");
        end(&f);
    }
}

static void the_end_ends_all_waits(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1, N);
    enter(&f, "abc");
    slots_cancel(f.slots);
    assert_seen(&f, "aCB");
    assert_int_equal(inference(&f, 'b')->error.status, GP_UNAVAILABLE);
    enter(&f, "d"); /* the queue goes on for those who come late */
    pass(&f, "ad");
    assert_seen(&f, "d");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_has_one_run),
        cmocka_unit_test(idle_is_without_a_run),
        cmocka_unit_test(first_come_first_run),
        cmocka_unit_test(some_are_late_in_the_queue),
        cmocka_unit_test(they_come_again),
        cmocka_unit_test(each_has_its_own_deadline),
        cmocka_unit_test(the_second_in_the_queue_has_a_deadline_too),
        cmocka_unit_test(so_many_may_wait),
        cmocka_unit_test(places_are_given_back),
        cmocka_unit_test(the_end_ends_all_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
