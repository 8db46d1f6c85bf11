/* The supervisor of an isolate's children, by a clock that the test turns: who is late is killed in
 * time and not before, who has ended starts again after a pause, and nobody waits for another. */
#include "supervised.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t count_ended(struct supervised *s, enum isolate_end end)
{
    return isolate_count(&s->isolate).ended[end];
}

static bool has_gone(pid_t process)
{
    return waitpid(process, NULL, WNOHANG) == -1 && errno == ECHILD;
}

/* --- late ------------------------------------------------------------------------------ */

static void one_that_hangs_is_killed_in_time(void **state)
{
    struct supervised s;
    (void)state;
    supervised_begin(&s);
    supervised_make_late(&s, 0);
    turned_clock_add(1);
    supervised_make_late(&s, 1);
    supervised_start(&s);
    assert_int_equal(isolate_count(&s.isolate).children[ISOLATE_LATE], 2);
    supervised_turn(&s, SUPERVISED_HANG_NS - 2);
    supervised_catch_up(&s);
    assert_int_equal(count_ended(&s, ISOLATE_HANG), 0);
    supervised_turn(&s, 1);
    supervised_await(&s, "the process of slot 0 ended: it did not come back");
    supervised_catch_up(&s);
    assert_int_equal(count_ended(&s, ISOLATE_HANG), 1);
    assert_true(has_gone(s.peers[0].process));
    supervised_end(&s);
}

/* By the real clock: it sleeps until then, and nobody wakes it. */
static void it_wakes_by_itself(void **state)
{
    struct supervised s;
    (void)state;
    supervised_begin(&s);
    turned_clock_end();
    s.isolate.hang_ns = 20 * CLOCK_MS;
    supervised_make_late(&s, 0);
    supervised_start(&s);
    supervised_await(&s, "the process of slot 0 ended: it did not come back");
    supervised_await(&s, "slot 0 does not start again"); /* at once, then after 100 ms */
    supervised_await(&s, "slot 0 does not start again");
    turned_clock_set(SUPERVISED_BEGIN_NS);
    supervised_end(&s);
}

/* Has the supervisor hold a body of the late child's run. */
static void leave_body(struct supervised *s, uint32_t slot)
{
    assert_true(pool_take(s->isolate.pool, s->isolate.memory.inputs, 4096, NULL,
                          &s->children[slot].body));
    s->children[slot].run_id = 7;
}

static void one_that_answers_late_is_usable(void **state)
{
    struct supervised s;
    (void)state;
    for (uint32_t slot = 0; slot < SUPERVISED; slot++) {
        supervised_begin(&s);
        leave_body(&s, slot);
        supervised_make_late(&s, slot);
        supervised_start(&s);
        if (slot == 1) {
            played_say_failed(&s.peers[slot], GP_ENGINE, "");
        } else {
            played_begin_done(&s.peers[slot], 0);
            played_say(&s.peers[slot]);
        }
        supervised_await_news(&s, ISOLATE_USABLE, slot);
        assert_int_equal(pool_count(s.isolate.pool).used_bytes, 0);
        assert_true(isolate_let_go(&s.isolate, slot));
        assert_int_equal(isolate_count(&s.isolate).children[ISOLATE_READY], 2);
        assert_int_equal(supervised_n_lines(&s), 0);
        supervised_end(&s);
    }
}

static void one_that_is_late_gets_no_memory(void **state)
{
    struct supervised s;
    struct gp_error err;
    (void)state;
    supervised_begin(&s);
    leave_body(&s, 0);
    supervised_make_late(&s, 0);
    supervised_start(&s);
    record_begin(&s.peers[0].out, RECORD_ALLOC, 7);
    record_put_u64(&s.peers[0].out, 4096);
    played_say(&s.peers[0]);
    struct record record = played_hear(&s.peers[0]);
    assert_int_equal(record.type, RECORD_FAILED);
    assert_int_equal(record.id, 7);
    assert_int_equal(record_failure(&record, &err), GP_CANCELLED);
    assert_string_equal(err.message, "the run is over");
    supervised_catch_up(&s); /* it is late still */
    played_begin_done(&s.peers[0], 0);
    played_say(&s.peers[0]);
    supervised_await_news(&s, ISOLATE_USABLE, 0);
    supervised_end(&s);
}

/* What a late child may not say, by number. */
static void say_nonsense(struct played_child *peer, int what)
{
    switch (what) {
    case 0: /* of another run */
        record_begin(&peer->out, RECORD_DONE, 8);
        break;
    case 1:
        record_begin(&peer->out, RECORD_OPENED, 7);
        break;
    case 2: /* an answer to what it has not read yet */
        peer->child->n_unsent = 1;
        text_add(&peer->child->out, "x", 1);
        played_begin_done(peer, 0);
        break;
    default: /* no record */
        assert_int_equal(write(peer->fd, "no record, as it seems", 22), 22);
        return;
    }
    played_say(peer);
}

static void one_that_makes_no_sense_is_ended(void **state)
{
    struct supervised s;
    (void)state;
    for (int what = 0; what < 4; what++) {
        supervised_begin(&s);
        leave_body(&s, 0);
        if (what == 2) { /* it has no room for more */
            static char block[4096];
            while (send(s.children[0].link.fd, block, sizeof block, MSG_DONTWAIT) > 0)
                ;
        }
        say_nonsense(&s.peers[0], what);
        supervised_make_late(&s, 0);
        supervised_start(&s);
        supervised_await(&s, "slot 0 ended: what it said makes no sense");
        assert_int_equal(count_ended(&s, ISOLATE_PROTOCOL), 1);
        assert_true(has_gone(s.peers[0].process));
        supervised_end(&s);
    }
}

/* What it is sent goes on while it is late. */
static void one_that_reads_late_gets_the_rest(void **state)
{
    static char words[900000];
    struct supervised s;
    (void)state;
    supervised_begin(&s);
    memset(words, 'x', sizeof words - 1);
    struct child *child = &s.children[0];
    record_begin(&child->out, RECORD_RUN, 7);
    record_put_text(&child->out, words);
    assert_true(record_end(&child->out));
    assert_true(isolate_send(child));
    assert_true(child->n_unsent > 0);
    supervised_make_late(&s, 0);
    supervised_start(&s);
    struct record record = played_hear(&s.peers[0]);
    assert_string_equal(record_text(&record), words);
    supervised_end(&s);
}

/* --- a turn for each ------------------------------------------------------------------- */

/* A child that says much is heard in parts, to the end, though nothing more comes. */
static void one_that_says_much_delays_no_other(void **state)
{
    enum { MUCH = 150, AT_A_TIME = 64 };
    struct supervised s;
    char words[32];
    (void)state;
    supervised_begin(&s);
    for (int i = 0; i < SUPERVISED; i++)
        leave_body(&s, (uint32_t)i);
    for (int i = 1; i <= MUCH; i++) {
        (void)snprintf(words, sizeof words, "much %d", i);
        played_say_log(&s.peers[0], GP_LOG_INFO, words);
    }
    played_begin_done(&s.peers[0], 0);
    played_say(&s.peers[0]);
    played_say_log(&s.peers[1], GP_LOG_INFO, "the other");
    for (uint32_t i = 0; i < SUPERVISED; i++)
        supervised_make_late(&s, i);
    supervised_start(&s);
    supervised_await_news(&s, ISOLATE_USABLE, 0);
    assert_int_equal(supervised_n_lines(&s), MUCH + 1);
    (void)snprintf(words, sizeof words, "much %d\nthe other\n", AT_A_TIME);
    assert_non_null(strstr(s.lines, words));
    supervised_end(&s);
}

/* The run that was left may have received more than it heard. */
static void what_had_come_before_is_heard(void **state)
{
    struct supervised s;
    struct record record;
    (void)state;
    supervised_begin(&s);
    leave_body(&s, 0);
    played_say_log(&s.peers[0], GP_LOG_INFO, "heard in the run");
    played_begin_done(&s.peers[0], 0);
    played_say(&s.peers[0]);
    assert_int_equal(record_receive(&s.children[0].link, &record), RECORD_WHOLE);
    supervised_start(&s);
    supervised_make_late(&s, 0);
    supervised_await_news(&s, ISOLATE_USABLE, 0);
    supervised_end(&s);
}

static void what_children_print_is_logged(void **state)
{
    char lines[2 * 201];
    struct supervised s;
    int fd[SUPERVISED];
    (void)state;
    supervised_begin(&s);
    for (int i = 0; i < SUPERVISED; i++)
        assert_true(output_open(&s.children[i], &fd[i]));
    supervised_start(&s);
    assert_int_equal(write(fd[1], "idle\n", 5), 5);
    supervised_await(&s, "slot 1: idle");
    memset(lines, '\n', sizeof lines); /* 201 of them, which are read at once */
    for (size_t i = 0; i < sizeof lines; i += 2)
        lines[i] = 'x';
    assert_int_equal(write(fd[0], lines, sizeof lines), sizeof lines);
    supervised_catch_up(&s);
    assert_int_equal(supervised_n_lines(&s), 1 + 200);
    supervised_turn(&s, CLOCK_S); /* though nothing is printed */
    supervised_await(&s, "slot 0 prints too much: 1 lines were left out");
    for (int i = 0; i < SUPERVISED; i++)
        close(fd[i]);
    supervised_end(&s);
}

/* --- the end --------------------------------------------------------------------------- */

/* Nobody waits, by a clock that stands still, for one that is late; the others may close their
 * models. */
static void at_the_end_the_idle_ones_are_asked(void **state)
{
    struct supervised s;
    char byte;
    (void)state;
    supervised_begin(&s);
    leave_body(&s, 1);
    supervised_make_late(&s, 1);
    supervised_start(&s);
    supervised_ask_to_end(&s);
    assert_int_equal(read(s.peers[0].fd, &byte, 1), 0);
    assert_int_equal(kill(s.peers[0].process, SIGKILL), 0); /* has closed, and exits */
    supervised_join(&s);
    for (int i = 0; i < SUPERVISED; i++) {
        assert_int_equal(s.children[i].pid, 0);
        assert_true(has_gone(s.peers[i].process));
    }
    assert_int_equal(count_ended(&s, ISOLATE_HANG), 0);
    supervised_end(&s);
}

static void at_the_end_patience_has_a_limit(void **state)
{
    struct supervised s;
    (void)state;
    supervised_begin(&s);
    supervised_start(&s);
    turned_clock_add_at_each_look(CLOCK_S / 2);
    supervised_ask_to_end(&s);
    supervised_join(&s);
    assert_int_equal(count_ended(&s, ISOLATE_HANG), 2);
    assert_true(has_gone(s.peers[0].process) && has_gone(s.peers[1].process));
    supervised_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_hangs_is_killed_in_time),
        cmocka_unit_test(it_wakes_by_itself),
        cmocka_unit_test(one_that_answers_late_is_usable),
        cmocka_unit_test(one_that_is_late_gets_no_memory),
        cmocka_unit_test(one_that_makes_no_sense_is_ended),
        cmocka_unit_test(one_that_reads_late_gets_the_rest),
        cmocka_unit_test(one_that_says_much_delays_no_other),
        cmocka_unit_test(what_had_come_before_is_heard),
        cmocka_unit_test(what_children_print_is_logged),
        cmocka_unit_test(at_the_end_the_idle_ones_are_asked),
        cmocka_unit_test(at_the_end_patience_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
