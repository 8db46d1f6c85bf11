/* How children start, and start again: the first one describes the model, one that cannot start tries
 * again after a pause that doubles, and the server is told what it must know and nothing else. */
#include "supervised.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

/* How long the supervisor waits at most, by its last call; the linker puts the function in the place of
 * the C library's. */
static atomic_int supervisor_timeout_ms;

int __real_poll(struct pollfd *, nfds_t, int);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    if (n == 2 * SUPERVISED + 1)
        atomic_store(&supervisor_timeout_ms, timeout_ms);
    return __real_poll(fds, n, timeout_ms);
}

static int64_t start_of(struct supervised *s, uint32_t slot)
{
    pthread_mutex_lock(&s->isolate.lock);
    const int64_t start_ns = s->children[slot].start_ns;
    pthread_mutex_unlock(&s->isolate.lock);
    return start_ns;
}

/* --- again ----------------------------------------------------------------------------- */

static void the_pause_before_a_start_doubles(void **state)
{
    static const int64_t pauses_ms[] = {100,  200,  400,   800,   1600,
                                        3200, 6400, 10000, 10000, 10000};
    struct supervised s;
    (void)state;
    supervised_begin(&s);
    supervised_make_late(&s, 1);
    supervised_start(&s);
    supervised_lose(&s, 0);
    supervised_await(&s, "the process of slot 0 ended: signal 9: Killed");
    for (size_t i = 0; i < sizeof pauses_ms / sizeof *pauses_ms; i++) {
        const int64_t pause_ns = pauses_ms[i] * CLOCK_MS;
        supervised_await(&s, "slot 0 does not start again: cannot start the process of "
                             "slot 0, /nowhere/graphpipe: No such file or directory");
        const unsigned n_lines = supervised_n_lines(&s);
        assert_int_equal(start_of(&s, 0), clock_now_ns() + pause_ns);
        supervised_turn(&s, pause_ns - 1);
        supervised_catch_up(&s);
        assert_int_equal(supervised_n_lines(&s), n_lines);
        supervised_turn(&s, 1);
    }
    supervised_end(&s);
}

/* Without its thread: what it would do, and when. */
static int64_t pause_after(struct supervised *s, int64_t ready_ns, int64_t backoff_ns)
{
    struct child *child = &s->children[0];
    child->ready_ns = ready_ns;
    child->backoff_ns = backoff_ns;
    supervisor_take(child);
    return child->start_ns - clock_now_ns();
}

static void good_service_is_remembered(void **state)
{
    const int64_t good_ns = 60 * CLOCK_S, pause_ns = 5 * CLOCK_S;
    const int64_t now = SUPERVISED_BEGIN_NS;
    struct supervised s;
    (void)state;
    supervised_begin(&s);
    assert_int_equal(pause_after(&s, now - good_ns, pause_ns), pause_ns);
    assert_int_equal(s.children[0].backoff_ns, 2 * pause_ns);
    assert_int_equal(pause_after(&s, 0, pause_ns), pause_ns); /* it never was ready */
    assert_int_equal(pause_after(&s, now - good_ns - 1, pause_ns), 0);
    assert_int_equal(s.children[0].backoff_ns, 100 * CLOCK_MS);
    supervised_start(&s);
    supervised_end(&s);
}

static void only_those_that_were_ready_start_again(void **state)
{
    struct supervised s;
    (void)state;
    supervised_begin(&s);
    s.children[1].ready_ns = SUPERVISED_BEGIN_NS - 1;
    supervised_start(&s);
    for (uint32_t i = 0; i < SUPERVISED; i++) {
        supervised_lose(&s, i);
        supervised_await(&s, "does not start again");
        assert_int_equal(isolate_count(&s.isolate).n_restarts, i);
    }
    supervised_end(&s);
}

/* --- what is told ---------------------------------------------------------------------- */

static void an_idle_one_is_lost_once(void **state)
{
    struct supervised s;
    uint32_t slot;
    (void)state;
    supervised_begin(&s);
    supervised_make_late(&s, 1);
    supervised_start(&s);
    isolate_look(&s.isolate, 0);
    assert_true(isolate_let_go(&s.isolate, 0));
    kill(s.peers[0].process, SIGUSR1);
    played_leave(&s.peers[0]);
    supervised_await_news(&s, ISOLATE_LOST, 0);
    assert_int_equal(isolate_next(&s.isolate, &slot), ISOLATE_NONE);
    for (int i = 0; i < 3; i++)
        supervised_catch_up(&s);
    assert_int_equal(supervised_n_told(&s), 1);
    assert_int_equal(isolate_next(&s.isolate, &slot), ISOLATE_NONE);
    isolate_look(&s.isolate, 0);
    supervised_await(&s, "the process of slot 0 ended: signal 10: ");
    assert_int_equal(isolate_count(&s.isolate).ended[ISOLATE_SIGNAL], 1);
    assert_false(isolate_let_go(&s.isolate, 0));
    supervised_await(&s, "slot 0 does not start again");
    supervised_end(&s);
}

static void all_down_is_told_when_all_are(void **state)
{
    struct supervised s;
    struct gp_error err;
    uint32_t slot;
    (void)state;
    for (uint32_t first = 0; first < SUPERVISED; first++) {
        supervised_begin(&s);
        supervised_make_late(&s, 1 - first);
        supervised_start(&s);
        supervised_lose(&s, first);
        supervised_await(&s, "does not start again");
        supervised_catch_up(&s);
        assert_int_equal(isolate_next(&s.isolate, &slot), ISOLATE_NONE);
        assert_true(isolate_is_alive(&s.isolate, &err));
        played_leave(&s.peers[1 - first]);
        supervised_await_news(&s, ISOLATE_DOWN, 0);
        assert_int_equal(isolate_next(&s.isolate, &slot), ISOLATE_NONE);
        assert_int_equal(isolate_count(&s.isolate).children[ISOLATE_BACKOFF], 2);
        supervised_end(&s);
    }
}

/* The supervisor has not come to it. */
static void one_that_is_due_is_alive(void **state)
{
    struct supervised s;
    struct gp_error err;
    (void)state;
    supervised_begin(&s);
    for (uint32_t i = 0; i < SUPERVISED; i++) {
        s.children[i].backoff_ns = (i + 1) * CLOCK_S;
        supervised_lose(&s, i);
    }
    turned_clock_add(CLOCK_S - 1);
    assert_false(isolate_is_alive(&s.isolate, &err));
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_string_equal(err.message, "all processes of the engine have ended and wait to "
                                     "start again; try again later: signal 9: Killed");
    for (int i = 0; i < 2; i++) {
        turned_clock_add(1);
        assert_true(isolate_is_alive(&s.isolate, &err));
    }
    supervised_start(&s);
    supervised_end(&s);
}

/* --- opening --------------------------------------------------------------------------- */

static void begin_starting(struct supervised *s)
{
    supervised_begin(s);
    s->isolate.is_open = false;
    for (int i = 0; i < SUPERVISED; i++) {
        s->children[i].is_supervised = true;
        s->children[i].state = ISOLATE_STARTING;
    }
}

/* What an idle server costs nothing by: it is woken by the children, or when something is due. */
static void it_sleeps_until_something_is_due(void **state)
{
    static const struct {
        enum isolate_state of_child;
        int timeout_ms;
    } cases[] = {{ISOLATE_READY, -1},
                 {ISOLATE_STARTING, -1},
                 {ISOLATE_LATE, SUPERVISED_HANG_NS / CLOCK_MS},
                 {ISOLATE_BACKOFF, 7000}};
    struct supervised s;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        supervised_begin(&s);
        struct child *child = &s.children[1];
        child->kill_ns = child->start_ns = SUPERVISED_BEGIN_NS - 1; /* earlier ones */
        child->backoff_ns = 7 * CLOCK_S;
        if (cases[i].of_child == ISOLATE_LATE)
            supervised_make_late(&s, 1);
        else if (cases[i].of_child == ISOLATE_BACKOFF)
            supervised_lose(&s, 1);
        else
            child->state = cases[i].of_child;
        child->is_supervised = cases[i].of_child != ISOLATE_READY;
        supervised_start(&s);
        supervised_catch_up(&s);
        assert_int_equal(atomic_load(&supervisor_timeout_ms), cases[i].timeout_ms);
        supervised_end(&s);
    }
}

static void say_opened(struct played_child *peer, const char *name)
{
    const struct gp_description d = {.flags = GP_ANY_INPUTS | GP_SLOT_THREAD,
                                     .summary = name};
    record_begin(&peer->out, RECORD_OPENED, 0);
    record_put_text(&peer->out, name);
    record_put_text(&peer->out, "1.2");
    record_put_description(&peer->out, &d);
    played_say(peer);
}

static void await_one_ready(struct isolate *isolate)
{
    while (isolate_count(isolate).children[ISOLATE_READY] != 1)
        poll(NULL, 0, 1);
}

static void await_open(struct isolate *isolate)
{
    pthread_mutex_lock(&isolate->lock);
    while (!isolate->is_open && !isolate->has_failed)
        pthread_cond_wait(&isolate->changed, &isolate->lock);
    pthread_mutex_unlock(&isolate->lock);
}

static void the_first_one_describes_the_model(void **state)
{
    struct supervised s;
    uint32_t slot;
    (void)state;
    begin_starting(&s);
    supervised_start(&s);
    played_say_log(&s.peers[1], GP_LOG_INFO, "opening");
    supervised_await(&s, "opening");
    say_opened(&s.peers[1], "first");
    await_one_ready(&s.isolate);
    assert_false(s.isolate.is_open);
    say_opened(&s.peers[0], "second");
    await_open(&s.isolate);
    assert_false(s.isolate.has_failed);
    assert_string_equal(s.isolate.engine.name, "first");
    assert_string_equal(s.isolate.engine.version, "1.2");
    assert_string_equal(s.isolate.description.summary, "first");
    assert_int_equal(s.isolate.description.n_slots, 2);
    assert_int_equal(s.isolate.description.flags,
                     GP_ANY_INPUTS); /* no thread is needed */
    assert_int_equal(s.children[0].ready_ns, SUPERVISED_BEGIN_NS);
    assert_int_equal(isolate_next(&s.isolate, &slot), ISOLATE_NONE);
    supervised_end(&s);
}

/* It is handed over, without the news that an earlier process has gone. */
static void one_that_has_started_again_is_usable(void **state)
{
    struct supervised s;
    uint32_t slot;
    (void)state;
    begin_starting(&s);
    s.isolate.is_open = s.children[0].is_lost_news = true;
    supervised_start(&s);
    say_opened(&s.peers[0], "");
    await_one_ready(&s.isolate);
    supervised_await_news(&s, ISOLATE_USABLE, 0);
    assert_int_equal(isolate_next(&s.isolate, &slot), ISOLATE_NONE);
    assert_true(isolate_let_go(&s.isolate, 0));
    supervised_end(&s);
}

/* How a start can fail, by number, and what is told. */
static const char *const failures[] = {
    "no such model",
    "the process of slot 0 describes no model",
    "the process of slot 0 describes no model",
    ("the process of slot 0 ended (signal 10: User defined signal 1) when it opened the "
     "model"),
    "the process of slot 0 ended (signal 9: Killed) when it opened the model",
};

enum { N_FAILURES = sizeof failures / sizeof *failures };

static void fail_to_start(struct played_child *peer, int how)
{
    switch (how) {
    case 0:
        played_say_failed(peer, GP_NOT_FOUND, "no such model");
        break;
    case 1:
        played_begin_done(peer, 0);
        played_say(peer);
        break;
    case 2: /* what it says is cut */
        record_begin(&peer->out, RECORD_OPENED, 0);
        record_put_text(&peer->out, "name");
        played_say(peer);
        break;
    case 3:
        kill(peer->process, SIGUSR1);
        played_leave(peer);
        break;
    default:
        assert_int_equal(send(peer->fd, "no record, as it seems", 22, 0), 22);
    }
}

static void one_that_cannot_open_its_model_fails_all(void **state)
{
    struct supervised s;
    (void)state;
    for (int how = 0; how < N_FAILURES; how++) {
        begin_starting(&s);
        supervised_start(&s);
        fail_to_start(&s.peers[0], how);
        await_open(&s.isolate);
        assert_true(s.isolate.has_failed);
        assert_string_equal(s.isolate.failure.message, failures[how]);
        assert_int_equal(s.isolate.failure.status, how == 0  ? GP_NOT_FOUND
                                                   : how < 3 ? GP_ENGINE
                                                             : GP_UNAVAILABLE);
        assert_int_equal(start_of(&s, 0), INT64_MAX);
        assert_int_equal(supervised_n_lines(&s), 0); /* who opens it is told */
        assert_int_equal(waitpid(s.peers[0].process, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
        supervised_end(&s);
    }
}

static void one_that_cannot_open_it_again_is_logged(void **state)
{
    struct supervised s;
    (void)state;
    begin_starting(&s);
    s.isolate.is_open = true;
    s.isolate.script = "engine.py";
    supervised_start(&s);
    played_leave(&s.peers[1]);
    supervised_await(&s,
                     "slot 1 does not start again: the process of slot 1 ended (signal "
                     "9: Killed) when /nowhere/graphpipe opened the model");
    supervised_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pause_before_a_start_doubles),
        cmocka_unit_test(good_service_is_remembered),
        cmocka_unit_test(only_those_that_were_ready_start_again),
        cmocka_unit_test(an_idle_one_is_lost_once),
        cmocka_unit_test(all_down_is_told_when_all_are),
        cmocka_unit_test(one_that_is_due_is_alive),
        cmocka_unit_test(it_sleeps_until_something_is_due),
        cmocka_unit_test(the_first_one_describes_the_model),
        cmocka_unit_test(one_that_has_started_again_is_usable),
        cmocka_unit_test(one_that_cannot_open_its_model_fails_all),
        cmocka_unit_test(one_that_cannot_open_it_again_is_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
