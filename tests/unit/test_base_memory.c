/* What everything else stands on, when memory, pages or threads are refused: it is told, nothing is left of
 * what failed, and nothing is counted that there is not. */
#include "base/arena.h"
#include "base/counters.h"
#include "base/log_thread.h"
#include "base/names.h"
#include "base/parallel.h"
#include "base/pool_range.h"
#include "base/text.h"
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

/* From the call after `from` others on, all of that kind fail on this thread; n: only so many. */
static void fail_calls(unsigned calls, unsigned from, unsigned n, int error)
{
    fault_begin(&(struct fault){.calls = calls, .from = from, .n = n, .error = error});
}

/* --- the pool --- */

/* Kernels before 5.14 do not know the call: pages are then put in place one by one, as many as with it. */
static void pages_are_put_in_place_without_the_call_for_it(void **state)
{
    struct pool_range range;
    unsigned char is_there[16];
    (void)state;
    assert_true(pool_range_map(&range, 16 * PAGE_BYTES));
    pool_range_choose_pages(&range, range.size_bytes);
    fail_calls(FAULT_POPULATE, 0, 0, EINVAL);
    assert_true(pool_range_touch(range.base + 2 * PAGE_BYTES, 5 * PAGE_BYTES));
    assert_int_equal(fault_end(), 1);
    assert_int_equal(mincore(range.base, range.size_bytes, is_there), 0);
    for (int i = 0; i < 16; i++)
        assert_int_equal(is_there[i] & 1, i >= 2 && i < 7);
    pool_range_unmap(&range);
}

static void pages_that_there_are_not(void **state)
{
    struct pool *pool = pool_create(64 * MIB);
    struct pool_buffer buffer;
    (void)state;
    assert_true(pool_take(pool, NULL, MIB, NULL, &buffer));
    fail_calls(FAULT_POPULATE, 0, 0, ENOMEM);
    assert_false(pool_touch(pool, &buffer, 1));
    assert_false(pool_touch_zeroed(pool, &buffer, 1));
    assert_int_equal(fault_end(), 2);
    assert_int_equal(buffer.touched_bytes, 0);
    assert_int_equal(pool_count(pool).touched_bytes, 0);
    assert_true(pool_touch_zeroed(pool, &buffer, 1)); /* there are some again */
    assert_int_equal(buffer.touched_bytes, MIB);
    pool_give(pool, &buffer);
    pool_destroy(pool);
}

static enum gp_status make_pool(void *arg, struct gp_error *err)
{
    struct pool *pool = pool_create(64 * MIB);
    (void)arg;
    if (!pool) {
        assert_int_equal(errno, ENOMEM);
        return gp_error_set(err, GP_NO_MEMORY, "no pool");
    }
    pool_destroy(pool);
    return GP_OK;
}

/* Both arenas or none, whichever of them fails. */
static enum gp_status open_pair(void *arg, struct gp_error *err)
{
    struct pool_pair pair;
    if (!pool_open(arg, &pair)) {
        assert_int_equal(errno, ENOMEM);
        assert_true(!pair.inputs && !pair.outputs);
        return gp_error_set(err, GP_NO_MEMORY, "no pair");
    }
    assert_true(pair.inputs && pair.outputs);
    pool_close(arg, &pair);
    return GP_OK;
}

static int pin_nothing(void *memory, size_t size_bytes)
{
    (void)memory, (void)size_bytes;
    return 0;
}

static void unpin_nothing(void *memory)
{
    (void)memory;
}

static enum gp_status open_pinned(void *arg, struct gp_error *err)
{
    struct pool_pair pair;
    if (!pool_open_pinned(arg, pin_nothing, unpin_nothing, &pair)) {
        assert_int_equal(errno, ENOMEM);
        assert_true(!pair.inputs && !pair.outputs);
        return gp_error_set(err, GP_NO_MEMORY, "no pair");
    }
    assert_ptr_equal(pair.inputs, pair.outputs);
    pool_close(arg, &pair);
    return GP_OK;
}

static void pools_without_memory(void **state)
{
    (void)state;
    fault_each_allocation(make_pool, NULL);
    struct pool *pool = pool_create(64 * MIB);
    assert_non_null(pool);
    fault_each_allocation(open_pair, pool);
    fault_each_allocation(open_pinned, pool);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    pool_destroy(pool);
}

/* Kernels before 6.3 do not know the flag; what is refused for another reason is not tried again. */
static void a_file_that_is_refused(void **state)
{
    struct pool_range range;
    (void)state;
    const long n_live = fault_n_live_here();
    fail_calls(FAULT_MEMFD_CREATE, 0, 1, EINVAL);
    assert_true(pool_range_map(&range, MIB));
    assert_int_equal(fault_end(), 1);
    assert_true(range.fd >= 0);
    assert_true(fcntl(range.fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fcntl(range.fd, F_GET_SEALS) & (F_SEAL_GROW | F_SEAL_SHRINK),
                     F_SEAL_GROW | F_SEAL_SHRINK);
    pool_range_unmap(&range);
    fail_calls(FAULT_MEMFD_CREATE, 0, 1, ENFILE);
    assert_false(pool_range_map(&range, MIB));
    assert_int_equal(errno, ENFILE);
    assert_int_equal(fault_end(), 1);
    assert_int_equal(range.fd, -1);
    assert_null(range.base);
    assert_int_equal(fault_n_live_here(), n_live);
}

/* Up to the byte that `ulimit -f` allows it is a file; all of it can be used, one way or the other, and
 * huge pages would fit. */
static void a_file_as_large_as_it_may_be(void **state)
{
    struct rlimit before, limit;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (int more = -1; more <= 1; more++) {
        struct pool_range range;
        limit = before;
        limit.rlim_cur = (rlim_t)(MIB + more);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        const bool is_mapped = pool_range_map(&range, MIB);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_true(is_mapped);
        assert_int_equal(range.fd >= 0, more >= 0);
        assert_int_equal((uintptr_t)range.base % HUGE_BYTES, 0);
        range.base[0] = range.base[MIB - 1] = 1;
        assert_true(pool_range_punch(&range, range.base, MIB));
        assert_int_equal(range.base[0] + range.base[MIB - 1], 0);
        pool_range_unmap(&range);
        assert_null(range.base);
        assert_int_equal(range.fd, -1);
    }
}

/* --- arenas of messages --- */

/* What a block would lie in is given back at once, wherever its memory would have come from. */
static void blocks_without_memory(void **state)
{
    static const unsigned calls[] = {FAULT_MEM, FAULT_POPULATE, FAULT_MEM,
                                     FAULT_POPULATE};
    struct pool_pair pair;
    struct pool_peer peer = {0};
    struct pool_promise promise = {.peer = &peer};
    (void)state;
    const long n_live = fault_n_live_here();
    struct pool *pool = pool_create(64 * MIB);
    assert_true(pool && pool_open(pool, &pair));
    for (int i = 0; i < 4; i++) {
        struct gp_arena *arena = i < 2 ? gp_arena_create() : arena_create_shared();
        const size_t size = calls[i] == FAULT_MEM ? 1 : MIB;
        assert_non_null(arena);
        if (i < 2)
            arena_pay_from(arena, pool, &promise);
        else
            arena_share_from(arena, pool, pair.inputs, &promise);
        fail_calls(calls[i], 0, 1, ENOMEM);
        assert_null(gp_arena_alloc(arena, size));
        assert_int_equal(fault_end(), 1);
        assert_int_equal(pool_count(pool).used_bytes, 0);
        assert_int_equal(peer.held_bytes, 0);
        unsigned char *block = gp_arena_alloc(arena, size);
        assert_non_null(block);
        memset(block, 1, size);
        gp_arena_destroy(arena);
    }
    pool_close(pool, &pair);
    pool_destroy(pool);
    assert_int_equal(fault_n_live_here(), n_live);
}

/* --- text --- */

/* What was written stays as it was, and nothing comes behind the gap. */
static void text_without_memory(void **state)
{
    static const char many[300] = "";
    struct text text = {0};
    (void)state;
    text_puts(&text, "begins");
    fail_calls(FAULT_MEM, 0, 1, ENOMEM);
    text_printf(&text, "%300d", 1);
    assert_int_equal(fault_end(), 1);
    assert_true(text.is_short);
    text_puts(&text, "x");
    text_printf(&text, "%d", 1);
    text_number(&text, 1);
    text_add(&text, many, sizeof many);
    assert_int_equal(text.size_bytes, 6);
    assert_memory_equal(text.data, "begins", 6);
    text_finish(&text);
    assert_false(text.is_short);

    fail_calls(FAULT_MEM, 0, 0, ENOMEM);
    text_printf(&text, "x");
    assert_int_equal(fault_end(), 1);
    assert_true(text.is_short && !text.data && !text.size_bytes);
    text_finish(&text);
}

/* A line that is cut for lack of memory is lost as a whole, and counted; so are those that were gathered
 * before it. */
static void lines_without_memory(void **state)
{
    struct log log = {.level = GP_LOG_DEBUG};
    struct log_lines lines = {0};
    int ends[2];
    char byte;
    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    assert_int_equal(log_begin(&log, ends[1], GP_LOG_DEBUG, GP_LOG_TEXT, NULL), GP_OK);
    for (unsigned i = 0; i < 2; i++) { /* the message, and the line */
        fail_calls(FAULT_MEM, i, 1, ENOMEM);
        log_line(&log, GP_LOG_INFO, "a line");
        assert_int_equal(fault_end(), 1);
        assert_int_equal(atomic_load(&log.n_lost), i + 1);
    }
    atomic_store(&log.n_lost, 0);
    text_puts(&lines.text, "one\ntwo\nthr");
    lines.text.is_short = true;
    log_gather(&log, &lines); /* however little it is */
    assert_int_equal(atomic_load(&log.n_lost), 3);
    assert_false(lines.text.is_short); /* there is a new beginning */
    assert_int_equal(lines.text.size_bytes, 0);
    log_end(&log);
    assert_int_equal(read(ends[0], &byte, 1), -1);
    log_lines_finish(&lines);
    close(ends[0]);
    close(ends[1]);
}

/* A signal, or a pipe that is full after all, is no reason to lose a line. */
static void lines_that_are_interrupted(void **state)
{
    static const int errors[] = {EINTR, EAGAIN};
    struct log log = {0};
    int ends[2];
    (void)state;
    const long n_live = fault_n_live();
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(log_begin(&log, ends[1], GP_LOG_DEBUG, GP_LOG_TEXT, NULL), GP_OK);
    for (int i = 0; i < 2; i++) {
        char bytes[16];
        fault_begin(&(struct fault){
            .calls = FAULT_WRITE, .is_elsewhere = true, .n = 1, .error = errors[i]});
        log_line(&log, GP_LOG_INFO, "a line");
        assert_int_equal(read(ends[0], bytes, sizeof bytes), 7);
        assert_int_equal(fault_end(), 1);
        assert_memory_equal(bytes, "a line\n", 7);
    }
    assert_int_equal(atomic_load(&log.n_lost), 0);
    log_end(&log);
    assert_int_equal(fault_n_live(), n_live);
    close(ends[0]);
    close(ends[1]);
}

/* Where there is no thread nobody writes, and the copy of the descriptor is closed. */
static void a_log_without_a_thread(void **state)
{
    struct log log = {0};
    struct gp_error err;
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    const unsigned n_descriptors = fault_n_descriptors();
    fail_calls(FAULT_PTHREAD_CREATE, 0, 1, EPERM);
    assert_int_equal(log_begin(&log, ends[1], GP_LOG_DEBUG, GP_LOG_TEXT, &err),
                     GP_UNAVAILABLE);
    assert_int_equal(fault_end(), 1);
    assert_string_equal(err.message,
                        "cannot make a thread for the log: Operation not permitted");
    assert_int_equal(log.fd, 0);
    assert_int_equal(fault_n_descriptors(), n_descriptors);
    log_end(&log);
    close(ends[0]);
    close(ends[1]);
}

/* --- the rest --- */

static void count_one(void *context, size_t i)
{
    atomic_int *counts = context;
    atomic_fetch_add(&counts[i], 1);
}

/* Threads that there are not leave their part to the others. */
static void work_without_threads(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 3; n++) {
        atomic_int counts[9] = {0};
        fail_calls(FAULT_PTHREAD_CREATE, n, 0, EAGAIN);
        parallel_each(4, 9, count_one, counts);
        assert_int_equal(fault_end(), 1); /* it is not tried again */
        for (int i = 0; i < 9; i++)
            assert_int_equal(atomic_load(&counts[i]), 1);
    }
}

/* The caller is one of them, and what there is to do may be less than they are. */
static void no_more_threads_than_wanted(void **state)
{
    static const struct {
        unsigned n_threads, n, n_made;
    } cases[] = {{0, 9, 0}, {1, 9, 0}, {2, 9, 1}, {4, 9, 3},
                 {4, 4, 3}, {4, 2, 1}, {4, 1, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        atomic_int counts[9] = {0};
        fail_calls(FAULT_PTHREAD_CREATE, cases[i].n_made, 0, EAGAIN);
        parallel_each(cases[i].n_threads, cases[i].n, count_one, counts);
        assert_int_equal(fault_end(), 0);
    }
}

static void names_without_memory(void **state)
{
    static const char *const names[] = {"a", "b"};
    struct gp_arena *arena = gp_arena_create();
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        fail_calls(FAULT_ARENA, i, 1, ENOMEM);
        assert_null(names_find_first(arena, names, 2));
        assert_int_equal(fault_end(), 1);
    }
    gp_arena_destroy(arena);
}

static void counters_without_memory(void **state)
{
    struct counters counters;
    (void)state;
    fail_calls(FAULT_MEM, 0, 1, ENOMEM);
    assert_false(counters_init(&counters, 3, 4));
    assert_int_equal(fault_end(), 1);
    counters_finish(&counters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_put_in_place_without_the_call_for_it),
        cmocka_unit_test(pages_that_there_are_not),
        cmocka_unit_test(pools_without_memory),
        cmocka_unit_test(a_file_that_is_refused),
        cmocka_unit_test(a_file_as_large_as_it_may_be),
        cmocka_unit_test(blocks_without_memory),
        cmocka_unit_test(text_without_memory),
        cmocka_unit_test(lines_without_memory),
        cmocka_unit_test(lines_that_are_interrupted),
        cmocka_unit_test(a_log_without_a_thread),
        cmocka_unit_test(work_without_threads),
        cmocka_unit_test(no_more_threads_than_wanted),
        cmocka_unit_test(names_without_memory),
        cmocka_unit_test(counters_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
