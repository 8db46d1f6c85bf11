/* A connection's bytes: what moved, who has to wait for what, and the end of either side. */
#include "net/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int ends[2];

static int setup(void **state)
{
    *state = NULL;
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
}

static int teardown(void **state)
{
    (void)state;
    close(ends[0]);
    return ends[1] >= 0 ? close(ends[1]) : 0;
}

static enum transport_result read_piece(char *bytes, size_t size, size_t *n_moved)
{
    struct transport transport = {ends[0]};
    const struct iovec part = {bytes, size};
    return transport_readv(&transport, &part, 1, n_moved);
}

static enum transport_result write_piece(const char *bytes, size_t size, size_t *n_moved)
{
    struct transport transport = {ends[0]};
    const struct iovec part = {(void *)(uintptr_t)bytes, size};
    return transport_writev(&transport, &part, 1, n_moved);
}

static void test_moves(void **state)
{
    struct transport transport = {ends[0]};
    char first[3], second[9];
    const struct iovec in[] = {{first, sizeof first}, {second, sizeof second}};
    const struct iovec out[] = {{"abc", 3}, {"", 0}, {"defg", 4}};
    size_t n_moved = 0;
    (void)state;
    assert_int_equal(transport_writev(&transport, out, 3, &n_moved), TRANSPORT_OK);
    assert_int_equal(n_moved, 7);
    assert_int_equal(read(ends[1], second, sizeof second), 7);
    assert_memory_equal(second, "abcdefg", 7);

    assert_int_equal(write(ends[1], "12345", 5), 5);
    assert_int_equal(transport_readv(&transport, in, 2, &n_moved), TRANSPORT_OK);
    assert_int_equal(n_moved, 5);
    assert_memory_equal(first, "123", 3);
    assert_memory_equal(second, "45", 2);
    assert_false(transport_has_more(&transport));

    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(read_piece(first, 3, &n_moved), TRANSPORT_OK);
    assert_int_equal(n_moved, 1);
}

/* More parts than one call takes: as many as it takes are moved. */
static void test_many_parts(void **state)
{
    struct transport transport = {ends[0]};
    static char bytes[IOV_MAX + 1], back[IOV_MAX + 2];
    static struct iovec parts[IOV_MAX + 1];
    size_t n_moved = 0;
    (void)state;
    for (size_t i = 0; i < IOV_MAX + 1; i++)
        parts[i] = (struct iovec){&bytes[i], 1};
    assert_int_equal(transport_writev(&transport, parts, IOV_MAX + 1, &n_moved),
                     TRANSPORT_OK);
    assert_int_equal(n_moved, IOV_MAX);
    assert_int_equal(read(ends[1], back, sizeof back), IOV_MAX);

    assert_int_equal(write(ends[1], back, IOV_MAX + 1), IOV_MAX + 1);
    assert_int_equal(transport_readv(&transport, parts, IOV_MAX + 1, &n_moved),
                     TRANSPORT_OK);
    assert_int_equal(n_moved, IOV_MAX);
}

/* A call that was interrupted before says nothing of this one. */
static void test_nothing_is_moved_once(void **state)
{
    char byte;
    size_t n_moved;
    (void)state;
    errno = EINTR;
    assert_int_equal(write_piece("", 0, &n_moved), TRANSPORT_CLOSED);
    errno = EINTR;
    assert_int_equal(read_piece(&byte, 0, &n_moved), TRANSPORT_CLOSED);
}

static void test_waits(void **state)
{
    static char block[65536];
    enum transport_result result;
    size_t n_moved = 99;
    (void)state;
    assert_int_equal(read_piece(block, 1, &n_moved), TRANSPORT_WANT_READ);
    assert_int_equal(n_moved, 99); /* nothing moved, nothing said */
    do {
        result = write_piece(block, sizeof block, &n_moved);
    } while (result == TRANSPORT_OK);
    assert_int_equal(result, TRANSPORT_WANT_WRITE);
}

static void test_ends(void **state)
{
    char byte;
    size_t n_moved = 0;
    (void)state;
    close(ends[1]);
    ends[1] = -1;
    assert_int_equal(read_piece(&byte, 1, &n_moved), TRANSPORT_CLOSED);
    /* without SIGPIPE, which would end the test */
    assert_int_equal(write_piece("x", 1, &n_moved), TRANSPORT_FAILED);
}

static void test_broken(void **state)
{
    struct transport none = {-1};
    char byte;
    const struct iovec part = {&byte, 1};
    size_t n_moved = 0;
    (void)state;
    assert_int_equal(transport_readv(&none, &part, 1, &n_moved), TRANSPORT_FAILED);
    assert_int_equal(transport_writev(&none, &part, 1, &n_moved), TRANSPORT_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_moved_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
        cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
