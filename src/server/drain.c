/* Lock order: no lock of timers, connections or models is taken while the server's is held. */
#include "server/drain.h"

#include "base/clock.h"
#include "model/cached.h"

#include <sys/epoll.h>
#include <time.h>

/* After the drain limit: time for the last answers to leave, and for cancelled runs to come back.
 * The process has a second in total (signals.c). */
#define LAST_ANSWERS_NS (CLOCK_S * 3 / 20)
#define CANCEL_GRACE_NS (CLOCK_S * 7 / 10)
#define LOOK_NS (CLOCK_S / 20)

/* Called with the lock held: those who asked for the end are answered once only they are left. */
static struct task *take_shutdown_for(struct gp_server *server, unsigned n_connections,
                                      bool is_over)
{
    struct task *list = NULL;
    if (server->shutdown_for && (is_over || n_connections == server->n_shutdown_for)) {
        list = server->shutdown_for;
        server->shutdown_for = NULL;
        server->n_shutdown_for = 0;
    }
    return list;
}

static void make_ready(struct gp_server *server, struct task *list)
{
    while (list) {
        struct task *task = list;
        list = task->next;
        poller_ready(&server->poller, task);
    }
}

/* The last to come sees that nobody is left. */
static void check_finished(struct gp_server *server)
{
    const unsigned n = connections_count(&server->connections);
    pthread_mutex_lock(&server->lock);
    struct task *answered = take_shutdown_for(server, n, false);
    if (!n) {
        server->is_finished = true;
        pthread_cond_signal(&server->changed);
    }
    pthread_mutex_unlock(&server->lock);
    make_ready(server, answered);
}

void drain_connection_gone(struct gp_server *server)
{
    if (server_is_draining(server)) {
        check_finished(server);
        return;
    }
    connections_keep_spares(&server->connections);
    for (struct listener *l = server->listeners; l; l = l->next)
        if (connections_resume(&server->connections, l) &&
            !listen_rearm(l, &server->poller))
            (void)connections_pause(&server->connections, l);
}

void drain_begin(struct gp_server *server, struct task *shutdown_for)
{
    pthread_mutex_lock(&server->lock);
    if (shutdown_for) {
        shutdown_for->next = server->shutdown_for;
        server->shutdown_for = shutdown_for;
        server->n_shutdown_for++;
    }
    const bool is_first = !atomic_exchange(&server->is_draining, true);
    pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->lock);
    if (is_first) {
        const unsigned n = connections_count(&server->connections);
        log_line(&server->log, GP_LOG_INFO, "draining: %u connection%s", n,
                 n == 1 ? "" : "s");
        listen_stop(server->listeners);
        const int64_t now = clock_now_ns();
        timers_hurry(&server->timers, TIMER_FRESH, now);
        timers_hurry(&server->timers, TIMER_IDLE, now);
        timers_hurry(&server->timers, TIMER_HEAD, now);
        timers_hurry(&server->timers, TIMER_LINGER, now + CLOCK_S);
    }
    check_finished(server);
}

/* Called with the lock held: waits until drained or `deadline_ns`; true if drained. */
static bool wait_until(struct gp_server *server, int64_t deadline_ns)
{
    const struct timespec until = {.tv_sec = deadline_ns / CLOCK_S,
                                   .tv_nsec = deadline_ns % CLOCK_S};
    int rc = 0;
    while (!server->is_finished && rc == 0)
        rc = pthread_cond_timedwait(&server->changed, &server->lock, &until);
    return server->is_finished;
}

static void cancel_model(struct model *model, void *arg)
{
    (void)arg;
    cached_cancel(model);
    slots_cancel(&model->slots);
}

/* Called with the lock held: true if drained. Some begin while others end: a run that had only just got
 * its slot, a connection that lingers after its answer. They are cut off at the next look. */
static bool cut_off(struct gp_server *server)
{
    const int64_t begin_ns = clock_now_ns();
    bool is_drained = false;
    for (int64_t now = begin_ns; !is_drained && now < begin_ns + CANCEL_GRACE_NS;
         now = clock_now_ns()) {
        pthread_mutex_unlock(&server->lock);
        models_each(&server->models, cancel_model, NULL);
        for (int kind = 0; kind < TIMER_N_KINDS; kind++)
            timers_hurry(&server->timers, (enum timer_kind)kind,
                         begin_ns + LAST_ANSWERS_NS);
        pthread_mutex_lock(&server->lock);
        is_drained = wait_until(server, now + LOOK_NS);
    }
    return is_drained;
}

enum gp_status drain_wait(struct gp_server *server, struct gp_error *err)
{
    pthread_mutex_lock(&server->lock);
    while (!server_is_draining(server))
        pthread_cond_wait(&server->changed, &server->lock);
    const int64_t limit = clock_now_ns() + server->options.drain_timeout_ms * CLOCK_MS;
    bool is_drained = wait_until(server, limit);
    if (!is_drained) {
        struct task *answered = take_shutdown_for(server, 0, true);
        pthread_mutex_unlock(&server->lock);
        const unsigned n = connections_count(&server->connections);
        log_line(&server->log, GP_LOG_WARNING,
                 "the drain limit of %u ms is over: cutting off %u connection%s",
                 server->options.drain_timeout_ms, n, n == 1 ? "" : "s");
        make_ready(server, answered);
        loader_hurry(&server->loader);
        pthread_mutex_lock(&server->lock);
        is_drained = cut_off(server);
    }
    pthread_mutex_unlock(&server->lock);
    if (is_drained)
        return GP_OK;
    const unsigned n_left = connections_count(&server->connections);
    return gp_error_set(err, GP_DEADLINE, "%u request%s still running at the end", n_left,
                        n_left == 1 ? " was" : "s were");
}
