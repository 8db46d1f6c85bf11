/* The way to the end, without sockets: whom the drain waits for, whom it hurries, who is told when,
 * and what is left when its limit is over. */
#include "server/drain.h"

#include "fake_model.h"
#include "still_poller.h"
#include "turned_clock.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = TIMER_N_KINDS, DRAIN_MS = 1000, WAIT_MS = 20000 };

/* In the past, so that what waits until a little later does not wait; in the far future, so that no
 * timer fires. */
#define BEGIN_NS (10 * CLOCK_S)
#define LATER_NS (BEGIN_NS + 1000000000 * CLOCK_S)

struct asker {
    struct task task; /* first */
    bool is_answered;
};

struct fixture {
    struct gp_server server;
    struct fake_model model;
    struct guest guests[N];
    struct asker askers[2];
};

static void ignore(struct worker *worker, struct source *source)
{
    (void)worker, (void)source;
}

static void answer_asker(struct worker *worker, struct task *task)
{
    (void)worker;
    ((struct asker *)(void *)task)->is_answered = true;
}

static void serve_model(struct gp_server *server, struct model *model)
{
    const struct gp_model_options options = {.name = "fake"};
    struct gp_error err;
    struct model_entry *entry = models_add(&server->models, &options, &err);
    assert_non_null(entry);
    struct model_version *version = models_version(&server->models, entry, 1);
    assert_non_null(version);
    models_publish(&server->models, version, model);
}

static struct fixture *begin(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    struct gp_server *server = &f->server;
    turned_clock_set(BEGIN_NS);
    still_begin(&server->poller);
    assert_int_equal(timers_init(&server->timers, &server->poller, NULL), GP_OK);
    server->timers.source.serve = ignore;
    server->options.drain_timeout_ms = DRAIN_MS;
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    server->connections.n_most = 2 * N;
    connections_init(&server->connections, &server->timers);
    models_init(&server->models);
    fake_model_begin(&f->model, &server->poller, 1, N);
    serve_model(server, &f->model.model);
    f->askers[0].task.go = f->askers[1].task.go = answer_asker;
    return f;
}

static void end(struct fixture *f)
{
    struct gp_server *server = &f->server;
    (void)still_serve(&server->poller);
    fake_model_end(&f->model);
    server->models.open = NULL; /* which is the test's */
    models_finish(&server->models);
    assert_null(server->connections.first);
    connections_finish(&server->connections);
    timers_finish(&server->timers);
    still_end(&server->poller);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
    turned_clock_end();
    free(f);
}

/* A connection that has this timer. */
static void join_as(struct fixture *f, int i, enum timer_kind kind)
{
    static const struct sockaddr_in from = {.sin_family = AF_INET};
    struct guest *guest = &f->guests[i];
    assert_true(connections_add(&f->server.connections, guest, -1, (const void *)&from));
    timer_init(&f->server.timers, &guest->timer, -1, &guest->peer->idle, NULL);
    timers_join(&f->server.timers, &guest->timer, kind, LATER_NS);
}

static void leave(struct fixture *f, int i)
{
    timers_leave(&f->server.timers, &f->guests[i].timer);
    connections_remove(&f->server.connections, &f->guests[i]);
    drain_connection_gone(&f->server);
}

static void assert_drained(struct fixture *f)
{
    struct gp_error err;
    assert_true(f->server.is_finished);
    assert_int_equal(drain_wait(&f->server, &err), GP_OK);
}

static void it_ends_at_once_without_connections(void **state)
{
    (void)state;
    struct fixture *f = begin();
    drain_begin(&f->server, NULL);
    assert_true(server_is_draining(&f->server));
    assert_drained(f);
    end(f);
}

static void it_ends_with_the_last_connection(void **state)
{
    (void)state;
    struct fixture *f = begin();
    for (int i = 0; i < 3; i++)
        join_as(f, i, TIMER_BODY);
    drain_begin(&f->server, NULL);
    for (int i = 0; i < 3; i++) {
        assert_false(f->server.is_finished);
        leave(f, (i + 1) % 3);
    }
    assert_drained(f);
    end(f);
}

/* What is idle goes at once, whatever comes next; what is under way is finished; a peer that has not
 * read an answer yet has a second. */
static void what_is_idle_goes_at_once(void **state)
{
    static const int64_t wanted[] = {
        [TIMER_FRESH] = BEGIN_NS, [TIMER_IDLE] = BEGIN_NS,
        [TIMER_HEAD] = BEGIN_NS,  [TIMER_BODY] = LATER_NS,
        [TIMER_SEND] = LATER_NS,  [TIMER_LINGER] = BEGIN_NS + CLOCK_S};
    (void)state;
    struct fixture *f = begin();
    for (int i = 0; i < N; i++)
        join_as(f, i, (enum timer_kind)i);
    drain_begin(&f->server, NULL);
    for (int i = 0; i < N; i++)
        assert_int_equal(f->guests[i].timer.deadline_ns, wanted[i]);
    timers_expire(&f->server.timers);
    for (int i = 0; i < N; i++)
        assert_int_equal(f->guests[i].timer.end,
                         wanted[i] == BEGIN_NS ? TIMER_EXPIRED : TIMER_GOES_ON);
    for (int i = 0; i < N; i++)
        leave(f, i);
    assert_drained(f);
    end(f);
}

/* Clients that asked for the end are told when the others have gone. */
static void who_asked_is_told_at_the_end(void **state)
{
    (void)state;
    struct fixture *f = begin();
    for (int i = 0; i < 4; i++)
        join_as(f, i, TIMER_BODY);
    drain_begin(&f->server, &f->askers[0].task); /* connection 0 */
    leave(f, 3);
    drain_begin(&f->server, &f->askers[1].task); /* connection 1 */
    (void)still_serve(&f->server.poller);
    assert_false(f->askers[0].is_answered);
    assert_false(f->askers[1].is_answered);
    leave(f, 2);
    (void)still_serve(&f->server.poller);
    assert_true(f->askers[0].is_answered);
    assert_true(f->askers[1].is_answered);
    assert_false(f->server.is_finished); /* their answers have to leave */
    f->askers[0].is_answered = f->askers[1].is_answered = false;
    leave(f, 0);
    leave(f, 1);
    (void)still_serve(&f->server.poller);
    assert_false(f->askers[0].is_answered); /* once */
    assert_false(f->askers[1].is_answered);
    assert_drained(f);
    end(f);
}

/* And whoever asks after that. */
static void who_asks_alone_is_told_at_once(void **state)
{
    (void)state;
    struct fixture *f = begin();
    join_as(f, 0, TIMER_BODY);
    drain_begin(&f->server, &f->askers[0].task);
    (void)still_serve(&f->server.poller);
    assert_true(f->askers[0].is_answered);
    drain_begin(&f->server, &f->askers[1].task);
    (void)still_serve(&f->server.poller);
    assert_true(f->askers[1].is_answered);
    leave(f, 0);
    assert_drained(f);
    end(f);
}

/* Before the end a connection that goes makes room: for a listener that had to stop for want of
 * descriptors, and for those that are kept spare. */
static void it_makes_room_before_the_end(void **state)
{
    struct gp_server *server;
    struct listener listener = {.source.serve = ignore};
    (void)state;
    struct fixture *f = begin();
    server = &f->server;
    listener.source.fd = eventfd(1, EFD_NONBLOCK); /* somebody wants to connect */
    assert_true(poller_add(&server->poller, &listener.source, EPOLLIN));
    assert_int_equal(still_serve(&server->poller), 1); /* not armed any more */
    server->listeners = &listener;
    join_as(f, 0, TIMER_IDLE);
    join_as(f, 1, TIMER_IDLE);
    assert_true(connections_pause(&server->connections, &listener));
    close(server->connections.spares[--server->connections.n_spares]);
    leave(f, 0);
    assert_false(listener.is_paused);
    assert_int_equal(still_serve(&server->poller), 1);
    assert_int_equal(server->connections.n_spares, CONNECTIONS_N_SPARES);
    leave(f, 1);
    assert_int_equal(still_serve(&server->poller), 0); /* it was not paused */
    assert_false(server->is_finished);
    join_as(f, 2, TIMER_BODY);
    assert_true(connections_pause(&server->connections, &listener));
    drain_begin(server, NULL);
    leave(f, 2); /* for nobody any more */
    assert_true(listener.is_paused);
    assert_int_equal(still_serve(&server->poller), 0);
    server->listeners = NULL;
    close(listener.source.fd);
    end(f);
}

static void *wait_for_the_end(void *server)
{
    struct gp_error err;
    return (void *)(uintptr_t)drain_wait(server, &err);
}

static void assert_ends(pthread_t thread)
{
    struct timespec until;
    void *status;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    assert_int_equal(pthread_timedjoin_np(thread, &status, &until), 0);
    assert_int_equal((uintptr_t)status, GP_OK);
}

/* The server's thread waits for the beginning, and long for the end. */
static void whoever_waits_is_woken(void **state)
{
    pthread_t thread;
    (void)state;
    struct fixture *f = begin();
    turned_clock_end();
    f->server.options.drain_timeout_ms = 100 * WAIT_MS;
    join_as(f, 0, TIMER_BODY);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_the_end, &f->server), 0);
    poll(NULL, 0, 10); /* most likely it waits by now, and else the test passes too */
    drain_begin(&f->server, NULL);
    poll(NULL, 0, 10);
    leave(f, 0);
    assert_ends(thread);
    end(f);
}

#define AWAIT(condition)                                                                 \
    for (int n_ms = 0; !(condition); n_ms++) {                                           \
        assert_true(n_ms < WAIT_MS);                                                     \
        poll(NULL, 0, 1);                                                                \
    }

/* --- past the limit --- */

/* Logs into a pipe from now on; then reads what was logged, and ends that. */
static int begin_log(struct fixture *f)
{
    struct gp_error err;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(log_begin(&f->server.log, fds[1], GP_LOG_WARNING, GP_LOG_TEXT, &err),
                     GP_OK);
    close(fds[1]);
    return fds[0];
}

static void assert_logged(struct fixture *f, int fd, const char *words)
{
    char text[512];
    log_end(&f->server.log);
    const ssize_t n = read(fd, text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    if (!strstr(text, words))
        fail_msg("\"%s\"", text);
    f->server.log.fd = 0;
    close(fd);
}

static void enter(struct fixture *f, struct fake_inference *fake)
{
    fake_inference_begin(fake, &f->model);
    fake_inference_renew(fake, 0);
    assert_true(slots_enter(&f->model.model.slots, still_worker(&f->server.poller),
                            &fake->inference.run));
}

static void ignore_run(struct worker *worker, struct task *task)
{
    (void)worker, (void)task;
}

static void a_run_that_never_ends_is_told(void **state)
{
    struct fake_inference running, waiting;
    struct gp_error err;
    (void)state;
    struct fixture *f = begin();
    struct slots *slots = &f->model.model.slots;
    enter(f, &running);
    running.inference.run.task.go = ignore_run;
    slots_run_begin(slots, &running.inference.run);
    enter(f, &waiting);
    for (int i = 0; i < N; i++)
        join_as(f, i, (enum timer_kind)i);
    drain_begin(&f->server, &f->askers[0].task);
    const int log_fd = begin_log(f);
    turned_clock_add_at_each_look(CLOCK_MS);
    assert_int_equal(drain_wait(&f->server, &err), GP_DEADLINE);
    assert_string_equal(err.message, "6 requests were still running at the end");
    assert_true(clock_now_ns() >= BEGIN_NS + 700 * CLOCK_MS);
    assert_true(f->server.loader.is_ending); /* it hurries too */
    assert_logged(f, log_fd,
                  " warning: the drain limit of 1000 ms is over: cutting off 6 "
                  "connections\n");
    (void)still_serve(&f->server.poller);
    assert_int_equal(slots_run_end(slots, &running.inference.run), SLOT_ENDING);
    assert_int_equal(waiting.n_back, 1);
    assert_int_equal(waiting.inference.error.status, GP_UNAVAILABLE);
    assert_true(f->askers[0].is_answered);
    for (int i = 0; i < N; i++) {
        assert_in_range(f->guests[i].timer.deadline_ns, BEGIN_NS,
                        BEGIN_NS + (DRAIN_MS + 200) * CLOCK_MS);
        leave(f, i);
    }
    slots_pass(slots, still_worker(&f->server.poller), running.inference.run.slot);
    fake_inference_end(&running);
    fake_inference_end(&waiting);
    end(f);
}

static bool is_cancelled(struct engine_run *run)
{
    pthread_mutex_lock(&run->lock);
    const bool is = run->is_cancelled;
    pthread_mutex_unlock(&run->lock);
    return is;
}

static bool is_hurried(struct fixture *f, const struct timer *timer)
{
    pthread_mutex_lock(&f->server.timers.lock);
    const bool is = timer->deadline_ns < LATER_NS;
    pthread_mutex_unlock(&f->server.timers.lock);
    return is;
}

/* A request may have got its slot just before all were cancelled, and begin after that; a connection
 * may come to a new deadline. The clock stands meanwhile: the end does not come by itself. */
static void what_begins_after_the_limit_is_cut_off_too(void **state)
{
    struct fake_inference running, waiting, late;
    pthread_t thread;
    (void)state;
    struct fixture *f = begin();
    struct slots *slots = &f->model.model.slots;
    enter(f, &running);
    running.inference.run.task.go = ignore_run;
    enter(f, &waiting);
    fake_inference_begin(&late, &f->model);
    fake_inference_renew(&late, 0);
    late.inference.run.slot = running.inference.run.slot;
    join_as(f, 0, TIMER_BODY);
    f->server.options.drain_timeout_ms = 0;
    const int log_fd = begin_log(f);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_the_end, &f->server), 0);
    poll(NULL, 0, 10); /* as above */
    drain_begin(&f->server, NULL);
    AWAIT(atomic_load(&f->server.poller.n_ready) == 1) /* all were cancelled */
    slots_run_begin(slots, &late.inference.run);
    AWAIT(is_cancelled(&late.inference.run.engine_run))
    timers_leave(&f->server.timers, &f->guests[0].timer);
    timers_join(&f->server.timers, &f->guests[0].timer, TIMER_LINGER, LATER_NS);
    AWAIT(is_hurried(f, &f->guests[0].timer))
    assert_int_equal(slots_run_end(slots, &late.inference.run), SLOT_ENDING);
    leave(f, 0);
    assert_ends(thread);
    assert_logged(f, log_fd,
                  "the drain limit of 0 ms is over: cutting off 1 connection\n");
    (void)still_serve(&f->server.poller);
    slots_pass(slots, still_worker(&f->server.poller), running.inference.run.slot);
    fake_inference_end(&running);
    fake_inference_end(&waiting);
    fake_inference_end(&late);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_at_once_without_connections),
        cmocka_unit_test(it_ends_with_the_last_connection),
        cmocka_unit_test(what_is_idle_goes_at_once),
        cmocka_unit_test(who_asked_is_told_at_the_end),
        cmocka_unit_test(who_asks_alone_is_told_at_once),
        cmocka_unit_test(it_makes_room_before_the_end),
        cmocka_unit_test(whoever_waits_is_woken),
        cmocka_unit_test(a_run_that_never_ends_is_told),
        cmocka_unit_test(what_begins_after_the_limit_is_cut_off_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
