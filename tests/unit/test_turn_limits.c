/* What a turn takes before the others have theirs, from and for a peer that is as fast as the server:
 * what it sends is there at each read, and what it gets has gone at each write. */
#include "scene.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define HOST " HTTP/1.1\r\nHost: x\r\n"
#define ALIVE "GET /control/is_alive" HOST "\r\n"
#define MANY ALIVE ALIVE ALIVE ALIVE ALIVE ALIVE ALIVE ALIVE

enum { PIECE_BYTES = 64 * 1024, PIECES = TURN_BYTES / PIECE_BYTES };

static int fast_fd = -1;  /* the server's end */
static size_t left_bytes; /* zeros, behind what has really been sent */
static unsigned n_reads, n_writes;

ssize_t readv(int fd, const struct iovec *parts, int n_parts)
{
    ssize_t n = syscall(SYS_readv, fd, parts, n_parts);
    if (fd != fast_fd)
        return n;
    n_reads++;
    if (n >= 0 || errno != EAGAIN || !left_bytes)
        return n;
    n = (ssize_t)(parts->iov_len < left_bytes ? parts->iov_len : left_bytes);
    n = n < PIECE_BYTES ? n : PIECE_BYTES;
    memset(parts->iov_base, 0, (size_t)n);
    left_bytes -= (size_t)n;
    return n;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t n = 0;
    if (fd != fast_fd)
        return syscall(SYS_sendmsg, fd, message, flags);
    n_writes++;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        n += message->msg_iov[i].iov_len;
    return (ssize_t)(n < PIECE_BYTES ? n : PIECE_BYTES);
}

struct fixture {
    struct scene *scene;
    struct visitor *fast, *other;
};

static void begin(struct fixture *f)
{
    f->scene = scene_begin(NULL);
    f->fast = scene_connect(f->scene, 0, NULL);
    f->other = scene_connect(f->scene, 1, NULL);
    fast_fd = f->fast->c->source.fd;
    left_bytes = n_reads = n_writes = 0;
}

static void end(struct fixture *f)
{
    fast_fd = -1;
    scene_end(f->scene);
}

/* A turn of the fast one, and then one of the other. */
static void serve_both(struct fixture *f)
{
    struct poller *poller = &f->scene->server->poller;
    scene_send(f->scene, f->other, ALIVE, strlen(ALIVE));
    assert_true(still_serve_one(poller));
    worker_carry_tasks(still_worker(poller));
    assert_true(still_serve_one(poller));
    char answer[256];
    assert_true(recv(f->other->fd, answer, sizeof answer, 0) > 0);
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
}

/* The head counts too. */
static void a_body_takes_its_turns(void **state)
{
    struct fixture f;
    char head[128];
    (void)state;
    begin(&f);
    const int n = snprintf(head, sizeof head,
                           "POST /control/is_alive" HOST "Content-Length: %d\r\n\r\n",
                           2 * TURN_BYTES);
    left_bytes = 2 * TURN_BYTES;
    scene_send(f.scene, f.fast, head, (size_t)n);
    serve_both(&f);
    assert_int_equal(f.fast->c->x->body_size, TURN_BYTES - n);
    serve_both(&f);
    assert_int_equal(f.fast->c->x->body_size, 2 * TURN_BYTES - n);
    serve_both(&f);
    assert_null(f.fast->c->x);
    assert_int_equal(left_bytes, 0);
    assert_int_equal(n_writes, 1);
    end(&f);
}

static void a_chunked_body_takes_its_turns(void **state)
{
    static const char head[] =
        "POST /control/is_alive" HOST "Transfer-Encoding: chunked\r\n\r\n280000\r\n";
    struct fixture f;
    (void)state;
    begin(&f);
    left_bytes = 0x280000;
    scene_send(f.scene, f.fast, head, sizeof head - 1);
    serve_both(&f);
    assert_int_equal(f.fast->c->x->body_size, TURN_BYTES);
    serve_both(&f);
    assert_int_equal(f.fast->c->x->body_size, 2 * TURN_BYTES);
    serve_both(&f);
    assert_int_equal(f.fast->c->x->body_size, 0x280000);
    scene_say(f.scene, f.fast, "\r\n0\r\n\r\n");
    assert_null(f.fast->c->x);
    assert_int_equal(n_writes, 1);
    end(&f);
}

static void an_answer_takes_its_turns(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    scene_post(f.scene, f.fast, 8, "2500000", "");
    serve_both(&f);
    assert_int_equal(n_writes, PIECES);
    assert_int_equal(f.fast->c->x->sent_bytes, TURN_BYTES);
    serve_both(&f);
    assert_int_equal(n_writes, 2 * PIECES);
    assert_int_equal(f.fast->c->x->sent_bytes, 2 * TURN_BYTES);
    serve_both(&f);
    assert_null(f.fast->c->x);
    assert_int_equal(f.fast->c->state, CONNECTION_HEAD);
    end(&f);
}

/* What a refused client goes on to send is dropped. */
static void what_is_dropped_takes_its_turns(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    scene_say(f.scene, f.fast, "GET /" HOST "Content-Length: 99999999\r\n\r\n");
    assert_int_equal(f.fast->c->state, CONNECTION_LINGER);
    left_bytes = 5 * TURN_BYTES / 2;
    n_reads = 0;
    scene_send(f.scene, f.fast, "body", 4);
    for (int i = 1; i < 3; i++) {
        serve_both(&f);
        assert_in_range(n_reads, i * PIECES, i * PIECES + 1);
    }
    serve_both(&f);
    assert_int_equal(left_bytes, 0);
    scene_hear_nothing(f.scene, f.other); /* and then it waits for more */
    assert_in_range(n_reads, 5 * PIECES / 2, 5 * PIECES / 2 + 3);
    end(&f);
}

/* One that has used up its turn while it receives goes on once it can read or write: the next bytes may be
 * here already, and an answer before the body may fill the socket. An answer goes on once it can be
 * written, whatever comes meanwhile. */
static void what_goes_on_after_a_turn(void **state)
{
    static const struct {
        const char *request;
        enum connection_state state;
        bool goes_on_by_reading;
    } cases[] = {
        {"POST /control/is_alive" HOST "Content-Length: 9999999\r\n\r\n", CONNECTION_BODY,
         true},
        {"POST /control/is_alive" HOST "Transfer-Encoding: chunked\r\n\r\n900000\r\n",
         CONNECTION_CHUNKED, true},
        {"GET /" HOST "Content-Length: 9999999\r\n\r\n", CONNECTION_LINGER, true},
        {NULL, CONNECTION_ANSWER, false},
        {MANY MANY ALIVE, CONNECTION_HEAD, false}, /* whose answer has to be written */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        begin(&f);
        struct poller *poller = &f.scene->server->poller;
        left_bytes = 9 * TURN_BYTES;
        scene_stuff(f.fast);
        if (cases[i].request)
            scene_send(f.scene, f.fast, cases[i].request, strlen(cases[i].request));
        else
            scene_post(f.scene, f.fast, 8, "2500000", "");
        serve_both(&f);
        assert_int_equal(f.fast->c->state, cases[i].state);
        assert_false(still_serve_one(poller));
        scene_send(f.scene, f.fast, "0", 1);
        assert_int_equal(still_serve_one(poller), cases[i].goes_on_by_reading);
        left_bytes = 0;
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_takes_its_turns),
        cmocka_unit_test(a_chunked_body_takes_its_turns),
        cmocka_unit_test(an_answer_takes_its_turns),
        cmocka_unit_test(what_is_dropped_takes_its_turns),
        cmocka_unit_test(what_goes_on_after_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
