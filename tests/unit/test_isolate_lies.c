/* A child that lies about where its outputs lie, or says what is none of its business, is ended, and
 * its run fails. */
#include "played_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Each lie, by its number. */
enum lie {
    BEYOND_THE_ARENA,
    NOT_HANDED_OUT,
    INSIDE_A_BUFFER,
    LARGER_THAN_ITS_BUFFER,
    THE_SAME_TWICE,
    THE_INPUT,
    STRINGS_BEFORE_THEIR_BUFFER,
    STRINGS_BEHIND_THEIR_BUFFER,
    STRINGS_THAT_WRAP,
    STRINGS_IN_THE_RECORD,
    ONE_OF_TWO,
    TOO_MANY,
    FEWER_THAN_SAID,
    ANOTHER_RUN,
    NO_CHILDS_RECORD,
    ANOTHER_RUNS_ALLOC,
    ALLOC_WITHOUT_SIZE,
    FAILURE_WITHOUT_MESSAGE,
    N_LIES
};

static void put_strings(struct played_run *f, uint64_t place, uint64_t offset,
                        uint64_t size)
{
    const struct record_string text = {offset, size};
    memcpy(played_at_place(&f->peer, place), &text, sizeof text);
    played_begin_done(&f->peer, 1);
    played_put_output(&f->peer, GP_STRING, 1, place);
}

static void lie_of_strings(struct played_run *f, enum lie lie, uint64_t place)
{
    switch (lie) {
    case STRINGS_BEFORE_THEIR_BUFFER:
        put_strings(f, place, place - 1, 1);
        break;
    case STRINGS_BEHIND_THEIR_BUFFER:
        put_strings(f, place, place + 8191, 2);
        break;
    case STRINGS_THAT_WRAP:
        put_strings(f, place, place + 16, UINT64_MAX - 8);
        break;
    default:
        played_begin_done(&f->peer, 1);
        played_put_output(&f->peer, GP_STRING, 1, RECORD_INLINE);
    }
}

static void lie_of_places(struct played_run *f, enum lie lie, uint64_t place)
{
    played_begin_done(&f->peer, lie == THE_SAME_TWICE ? 2 : 1);
    switch (lie) {
    case BEYOND_THE_ARENA:
        played_put_output(&f->peer, GP_UINT8, 100, UINT64_C(1) << 60);
        break;
    case NOT_HANDED_OUT:
        played_put_output(&f->peer, GP_UINT8, 100, place + 8192);
        break;
    case INSIDE_A_BUFFER:
        played_put_output(&f->peer, GP_UINT8, 100, place + 1);
        break;
    case LARGER_THAN_ITS_BUFFER:
        played_put_output(&f->peer, GP_UINT8, 8193, place);
        break;
    case THE_SAME_TWICE:
        played_put_output(&f->peer, GP_UINT8, 100, place);
        played_put_output(&f->peer, GP_UINT8, 100, place);
        break;
    default: /* THE_INPUT, which lies in the other arena */
        played_put_output(&f->peer, GP_UINT8, 100, f->got_offset[0]);
    }
}

static void lie_of_records(struct played_run *f, enum lie lie)
{
    switch (lie) {
    case TOO_MANY:
        played_begin_done(&f->peer, GP_MAX_TENSORS + 1);
        break;
    case ONE_OF_TWO:
        played_begin_done(&f->peer, 1);
        played_put_output(&f->peer, GP_UINT8, 5, RECORD_INLINE);
        break;
    case FEWER_THAN_SAID:
        played_begin_done(&f->peer, 2);
        played_put_output(&f->peer, GP_UINT8, 5, RECORD_INLINE);
        break;
    case ANOTHER_RUN:
        record_begin(&f->peer.out, RECORD_DONE, f->child.run_id + 1);
        record_put_u32(&f->peer.out, 0);
        break;
    case NO_CHILDS_RECORD:
        record_begin(&f->peer.out, RECORD_PLACE, f->child.run_id);
        record_put_u64(&f->peer.out, 0);
        break;
    case ANOTHER_RUNS_ALLOC:
        record_begin(&f->peer.out, RECORD_ALLOC, f->child.run_id - 1);
        record_put_u64(&f->peer.out, 1);
        break;
    case ALLOC_WITHOUT_SIZE:
        record_begin(&f->peer.out, RECORD_ALLOC, f->child.run_id);
        break;
    default:
        record_begin(&f->peer.out, RECORD_FAILED, f->child.run_id);
        record_put_u32(&f->peer.out, GP_INVALID);
    }
}

static void play_lie(struct played_run *f)
{
    const enum lie lie = (enum lie)f->which;
    played_run_hear(f);
    const uint64_t place = played_get_place(&f->peer, 8192);
    if (lie >= ONE_OF_TWO)
        lie_of_records(f, lie);
    else if (lie >= STRINGS_BEFORE_THEIR_BUFFER)
        lie_of_strings(f, lie, place);
    else
        lie_of_places(f, lie, place);
    played_say(&f->peer);
}

static void test_lies_end_the_child(void **state)
{
    for (int lie = 0; lie < N_LIES; lie++) {
        if (lie) {
            played_run_tear_down(state);
            played_run_set_up(state);
        }
        struct played_run *f = *state;
        f->which = lie;
        f->n_outputs = lie == ONE_OF_TWO ? 2 : 0;
        played_run(f, play_lie, 0);
        if (f->status != GP_UNAVAILABLE || !strstr(f->err.message, "makes no sense"))
            fail_msg("lie %d: %d %s", lie, f->status, f->err.message);
        assert_int_equal(f->child.pid, 0);
        assert_int_equal(f->run.n_outputs, 0);
        assert_int_equal(f->isolate.counts.ended[ISOLATE_PROTOCOL], 1);
    }
}

static void play_garbage(struct played_run *f)
{
    played_run_hear(f);
    assert_int_equal(write(f->peer.fd, "no record, as it seems", 22), 22);
}

static void test_garbage_ends_the_child(void **state)
{
    struct played_run *f = *state;
    played_run(f, play_garbage, 0);
    assert_int_equal(f->status, GP_UNAVAILABLE);
    assert_string_equal(f->err.message,
                        "the process of slot 0 ended (what it said makes no sense) "
                        "during the run; it starts again");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAYED_RUN_TEST(test_lies_end_the_child),
        PLAYED_RUN_TEST(test_garbage_ends_the_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
