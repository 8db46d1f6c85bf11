/* Whole requests with each system call of the server's failing in turn, or moving little: the
 * peer gets its answer, 503 where memory was short, or a closed connection; the next request is
 * answered; nothing is left, and nothing hangs. */
#include "fault.h"
#include "samples.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_ENDLESS = 300, N_PERSISTENT_MS = 20 };

static int setup(void **state)
{
    (void)state;
    samples_make(&(struct gp_server_options){.n_slots = 2});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    samples_free();
    return 0;
}

static const struct sample *sample_of(const char *name)
{
    for (size_t i = 0; i < n_samples; i++)
        if (strcmp(samples[i].name, name) == 0)
            return &samples[i];
    fail_msg("no sample is named %s", name);
    return NULL;
}

static void succeed(const struct site *site, const struct sample *sample)
{
    struct peer peer;
    peer_open(&peer, site);
    sample_succeeds(sample, &peer);
    peer_close(&peer);
}

static bool has_none(struct gp_server *server)
{
    return connections_count(&server->connections) == 0;
}

/* A listener that was out of descriptors a moment ago may refuse one client more. */
static void outlast_refusal(const struct site *site, const struct sample *sample)
{
    struct peer peer;
    peer_open(&peer, site);
    peer_send(&peer, sample->bytes, sample->size);
    sample_judge(sample, &peer, true);
    peer_close(&peer);
}

/* True when a call was hit. */
static bool ask(struct site *site, const struct sample *sample, struct fault fault,
                bool may_fail)
{
    struct peer peer;
    fault.is_elsewhere = true;
    fault_begin(&fault);
    peer_open(&peer, site);
    peer_send(&peer, sample->bytes, sample->size);
    const struct reply answer = sample_judge(sample, &peer, may_fail);
    const bool was_hit = fault_end() > 0;
    if (!answer.is_last) { /* but where it could not be armed again it has been closed */
        peer_send(&peer, sample->bytes, sample->size);
        sample_judge(sample, &peer, fault.calls == FAULT_EPOLL_MOD);
    }
    peer_close(&peer);
    if (fault.error == EMFILE || fault.error == ENFILE)
        outlast_refusal(site, sample);
    succeed(site, sample);
    assert_true(site_await(site, has_none));
    return was_hit;
}

static const struct calls {
    unsigned call;
    bool is_transient; /* all goes well nevertheless */
    int errors[7];
} calls[] = {
    {FAULT_READV, false, {ECONNRESET, ENOMEM, EIO, ETIMEDOUT}},
    {FAULT_READV, true, {EAGAIN, EINTR}},
    {FAULT_SENDMSG, false, {ECONNRESET, EPIPE, ENOBUFS, ENOMEM}},
    {FAULT_SENDMSG, true, {EAGAIN, EINTR}},
    {FAULT_ACCEPT4, false, {EMFILE, ENFILE}},
    {FAULT_ACCEPT4, true, {EAGAIN, EINTR, ECONNABORTED, ENOBUFS, ENOMEM, EPROTO}},
    {FAULT_EPOLL_ADD, false, {ENOMEM, ENOSPC}},
    {FAULT_EPOLL_MOD, false, {ENOMEM}},
    {FAULT_EPOLL_WAIT, true, {EINTR}},
};

/* One call of each kind fails, and then two in a row. Connections are few, so that it is seen
 * that they do not use up what is allowed. */
static void each_call(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, &(struct gp_server_options){.n_slots = 2, .max_connections = 2});
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const unsigned n_before = fault_n_hits();
        for (const int *error = calls[i].errors; *error; error++)
            for (size_t s = 0; s < n_samples; s++)
                for (unsigned n = 1; n <= 2; n++) {
                    struct fault fault = {
                        .calls = calls[i].call, .n = n, .error = *error};
                    while (ask(&site, &samples[s], fault, !calls[i].is_transient))
                        assert_true(++fault.from < N_ENDLESS);
                }
        print_message("calls of %x: %u failed\n", calls[i].call,
                      fault_n_hits() - n_before);
    }
    site_close(&site);
}

static void every_second_call(void **state)
{
    (void)state;
    static const int errors[] = {EINTR, EAGAIN};
    struct site site;
    site_open(&site, &(struct gp_server_options){.n_slots = 2});
    for (size_t s = 0; s < n_samples; s++)
        for (size_t i = 0; i < 2; i++)
            assert_true(
                ask(&site, &samples[s],
                    (struct fault){.calls = FAULT_READV | FAULT_SENDMSG | FAULT_ACCEPT4,
                                   .every = 2,
                                   .error = errors[i]},
                    false));
    site_close(&site);
}

/* Byte by byte, but for the largest, and half of what could be moved. */
static void short_counts(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, &(struct gp_server_options){.n_slots = 2});
    for (size_t s = 0; s < n_samples; s++)
        for (size_t most = samples[s].size > 1 << 20; most < 2; most++)
            assert_true(
                ask(&site, &samples[s],
                    (struct fault){.calls = FAULT_READV | FAULT_SENDMSG,
                                   .most_bytes = samples[s].size > 100000 ? 1000 : most},
                    false));
    site_close(&site);
}

/* While none can be accepted they wait, or are refused; then all goes on. */
static void accepting_nobody(void **state)
{
    (void)state;
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN};
    const struct sample *sample = sample_of("ready");
    struct site site;
    site_open(&site, &(struct gp_server_options){.n_slots = 1});
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct peer peer;
        fault_begin(&(struct fault){
            .calls = FAULT_ACCEPT4, .is_elsewhere = true, .error = errors[i]});
        peer_open(&peer, &site);
        peer_send(&peer, sample->bytes, sample->size);
        poll(NULL, 0, N_PERSISTENT_MS);
        assert_true(fault_end() > 0);
        sample_judge(sample, &peer, i <= 2); /* refused, if it ends between two calls */
        peer_close(&peer);
    }
    site_close(&site);
}

/* A body for which there is no memory is refused, and no part of it is taken for a request. */
static void no_memory_for_a_body(void **state)
{
    (void)state;
    static const char *const names[] = {"2018", "mapped", "chunked"};
    struct site site;
    site_open(&site, &(struct gp_server_options){.n_slots = 1});
    for (size_t i = 0; i < 3; i++) {
        const struct sample *sample = sample_of(names[i]);
        struct peer peer;
        fault_begin(&(struct fault){.calls = FAULT_MEMORY & ~(FAULT_MEM | FAULT_ARENA),
                                    .is_elsewhere = true,
                                    .error = ENOMEM});
        peer_open(&peer, &site);
        peer_send(&peer, sample->bytes, sample->size);
        const struct reply answer = peer_receive(&peer, false);
        assert_true(fault_end() > 0);
        assert_int_equal(answer.status, 503);
        assert_true(answer.is_last);
        assert_non_null(strstr(answer.body, "no memory for a"));
        assert_int_equal(peer_receive(&peer, false).status, 0); /* and no other answer */
        peer_close(&peer);
        succeed(&site, sample);
    }
    site_close(&site);
}

/* --- hand-overs: epoll refuses where no turn is under way ------------------------------- */

static bool has_waiting(struct gp_server *server)
{
    const unsigned n_waiting = slots_n_waiting(&server->models.open->slots);
    return n_waiting == 1;
}

static bool has_running(struct gp_server *server)
{
    return atomic_load(&server->models.open->slots.all[0].began_ns) != 0;
}

/* A request whose deadline passes in the queue is answered by whoever polls. */
static void late_answer(void **state)
{
    (void)state;
    static const char head[] =
        "POST / HTTP/1.1\r\nHost: h\r\nX-GraphPipe-Timeout-Ms: 30\r\n";
    const struct sample *sample = sample_of("2018");
    const size_t line = strlen("POST / HTTP/1.1\r\nHost: h\r\n");
    struct site site;
    struct peer running, waiting;
    site_open(&site, &(struct gp_server_options){.n_slots = 1});
    atomic_store(&site_hold, true);
    peer_open(&running, &site);
    peer_send(&running, sample->bytes, sample->size);
    assert_true(site_await(&site, has_running));
    fault_begin(&(struct fault){.calls = FAULT_EPOLL_MOD,
                                .is_elsewhere = true,
                                .from = 1,
                                .n = 2,
                                .error = ENOMEM});
    peer_open(&waiting, &site);
    peer_send(&waiting, head, sizeof head - 1);
    peer_send(&waiting, sample->bytes + line, sample->size - line);
    const struct reply answer = peer_receive(&waiting, false);
    assert_true(answer.status == 0 || answer.status == 504 || answer.status == 503);
    fault_end();
    atomic_store(&site_hold, false);
    sample_judge(sample, &running, false);
    peer_close(&running);
    peer_close(&waiting);
    succeed(&site, sample);
    site_close(&site);
}

/* The hand-over needs nothing from epoll. */
static void late_answer_is_certain(void **state)
{
    (void)state;
    static const char head[] =
        "POST / HTTP/1.1\r\nHost: h\r\nX-GraphPipe-Timeout-Ms: 300\r\n";
    const struct sample *sample = sample_of("2018");
    const size_t line = strlen("POST / HTTP/1.1\r\nHost: h\r\n");
    struct site site;
    struct peer running, waiting;
    site_open(&site, &(struct gp_server_options){.n_slots = 1});
    atomic_store(&site_hold, true);
    peer_open(&running, &site);
    peer_send(&running, sample->bytes, sample->size);
    assert_true(site_await(&site, has_running));
    peer_open(&waiting, &site);
    peer_send(&waiting, head, sizeof head - 1);
    peer_send(&waiting, sample->bytes + line, sample->size - line);
    assert_true(site_await(&site, has_waiting));
    fault_begin(
        &(struct fault){.calls = FAULT_EPOLL_MOD, .is_elsewhere = true, .error = ENOMEM});
    assert_int_equal(peer_receive(&waiting, false).status, 504);
    fault_end();
    atomic_store(&site_hold, false);
    sample_judge(sample, &running, false);
    peer_close(&running);
    peer_close(&waiting);
    succeed(&site, sample);
    site_close(&site);
}

/* The answer to a shutdown is sent when the last of the others has gone. */
static void shutdown_answer(void **state)
{
    (void)state;
    static const char request[] =
        "POST /control/shutdown HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    for (unsigned from = 0; from < 4; from++) {
        struct site site;
        struct peer peer;
        site_open(&site, &(struct gp_server_options){.n_slots = 1});
        fault_begin(&(struct fault){.calls = FAULT_EPOLL_MOD,
                                    .is_elsewhere = true,
                                    .from = from,
                                    .n = 1,
                                    .error = ENOMEM});
        peer_open(&peer, &site);
        peer_send(&peer, request, sizeof request - 1);
        const struct reply answer = peer_receive(&peer, false);
        assert_true(answer.status == 200 || answer.status == 0);
        peer_close(&peer);
        fault_end();
        site_close(&site);
    }
}

/* A client that says nothing has only the listener armed; which then is not lost. */
static void listener(void **state)
{
    (void)state;
    struct site site;
    struct peer peer;
    site_open(&site, &(struct gp_server_options){.n_slots = 1});
    fault_begin(&(struct fault){
        .calls = FAULT_EPOLL_MOD, .is_elsewhere = true, .n = 4, .error = ENOMEM});
    peer_open(&peer, &site);
    for (int i = 0; i < PATIENCE_MS && fault_n_hit() < 2; i++)
        poll(NULL, 0, 1);
    peer_close(&peer);
    succeed(&site, sample_of("ready"));
    assert_int_equal(fault_end(), 4);
    site_close(&site);
}

/* A client that waits for the timers is seen to, whatever becomes of the arming of others. */
static void timers(void **state)
{
    (void)state;
    for (unsigned from = 0; from < 4; from++) {
        struct site site;
        struct peer peer;
        site_open(&site,
                  &(struct gp_server_options){.n_slots = 1, .head_timeout_ms = 100});
        fault_begin(&(struct fault){.calls = FAULT_EPOLL_MOD,
                                    .is_elsewhere = true,
                                    .from = from,
                                    .n = 1,
                                    .error = ENOMEM});
        peer_open(&peer, &site);
        peer_send(&peer, "GET", 3);
        const struct reply first = peer_receive(&peer, false);
        assert_true(first.status == 408 || first.status == 0);
        peer_close(&peer);
        fault_end();
        peer_open(&peer, &site);
        peer_send(&peer, "GET", 3);
        assert_int_equal(peer_receive(&peer, false).status, 408);
        peer_close(&peer);
        site_close(&site);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_call),
                                       cmocka_unit_test(every_second_call),
                                       cmocka_unit_test(short_counts),
                                       cmocka_unit_test(accepting_nobody),
                                       cmocka_unit_test(no_memory_for_a_body),
                                       cmocka_unit_test(late_answer),
                                       cmocka_unit_test(late_answer_is_certain),
                                       cmocka_unit_test(shutdown_answer),
                                       cmocka_unit_test(listener),
                                       cmocka_unit_test(timers)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
