/* Who is connected, and the way to the end. Lock order: the server's lock is never held
 * while a timer's or a model's is taken. */
#include "base/clock.h"
#include "server/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

/* After the drain limit: for the last answers to leave, and for what was cancelled to come back.
 * The process has a second in all (signals.c). */
#define LAST_ANSWERS_NS (CLOCK_S * 3 / 20)
#define CANCEL_GRACE_NS (CLOCK_S * 7 / 10)
#define LOOK_NS (CLOCK_S / 20)

/* When epoll refuses a listener, which would else never be heard of again. */
enum { REARM_TRIES = 50, REARM_PAUSE_MS = 10 };

bool server_is_draining(const struct gp_server *server)
{
    return atomic_load(&server->is_draining);
}

unsigned server_n_connections(struct gp_server *server)
{
    pthread_mutex_lock(&server->lock);
    const unsigned n = server->n_connections;
    pthread_mutex_unlock(&server->lock);
    return n;
}

unsigned server_n_peers(struct gp_server *server)
{
    pthread_mutex_lock(&server->lock);
    const unsigned n = server->peers.n;
    pthread_mutex_unlock(&server->lock);
    return n;
}

bool server_add_connection(struct gp_server *server, struct connection *c,
                           struct peer_name name)
{
    pthread_mutex_lock(&server->lock);
    c->peer = peers_join(&server->peers, name);
    if (!c->peer) {
        pthread_mutex_unlock(&server->lock);
        return false;
    }
    c->next = server->connections;
    if (c->next)
        c->next->prev = c;
    server->connections = c;
    server->n_connections++;
    pthread_mutex_unlock(&server->lock);
    return true;
}

void server_remove_connection(struct gp_server *server, struct connection *c)
{
    pthread_mutex_lock(&server->lock);
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        server->connections = c->next;
    server->n_connections--;
    server->n_for_health -= c->is_for_health;
    server->n_refused -= c->is_refused;
    peers_leave(&server->peers, c->peer);
    pthread_mutex_unlock(&server->lock);
}

/* Where room for c has to come from, TIMER_N_LISTS: there is some. With the lock held. */
static enum timer_list find_room(const struct gp_server *server,
                                 const struct connection *c, bool has_descriptors,
                                 const char **why)
{
    const unsigned n_open =
        server->n_connections - 1 - server->n_for_health - server->n_refused;
    unsigned n_most = server->options.max_connections;
    if (!has_descriptors && n_open < n_most)
        n_most = n_open;
    const struct peer_record *over = peers_over_connections(c->peer, n_most, n_open);
    if (!has_descriptors)
        *why =
            "out of file descriptors (raise the limit with ulimit -n), and no connection "
            "is idle; try again later";
    else if (over)
        *why =
            "this client's share of the connections (--max-connections) is used up, and "
            "none of its own is idle; try again later";
    else
        *why =
            "all connections (--max-connections) are taken, and none is idle; try again "
            "later";
    if (over)
        return over == c->peer ? TIMER_IDLE_OF_PEER : TIMER_IDLE_OF_SITE;
    return n_open < n_most ? TIMER_N_LISTS : TIMER_IDLE_OF_ALL;
}

enum admission server_admit(struct gp_server *server, struct connection *c,
                            bool has_descriptors, const char **why)
{
    pthread_mutex_lock(&server->lock);
    const enum timer_list whose = find_room(server, c, has_descriptors, why);
    const bool may_stay = has_descriptors || server->n_spares;
    pthread_mutex_unlock(&server->lock);
    if (whose == TIMER_N_LISTS)
        return ADMISSION_GRANTED;
    if (may_stay && timers_evict(&server->timers, &c->timer, whose)) {
        atomic_fetch_add(&server->metrics.n_evicted, 1);
        return ADMISSION_GRANTED_FOR_ANOTHER;
    }
    pthread_mutex_lock(&server->lock);
    c->is_for_health = may_stay && server->n_for_health < SERVER_N_FOR_HEALTH &&
                       peers_is_local((const void *)&c->from);
    server->n_for_health += c->is_for_health;
    c->is_refused =
        !c->is_for_health && has_descriptors && server->n_refused < SERVER_N_REFUSED;
    server->n_refused += c->is_refused;
    pthread_mutex_unlock(&server->lock);
    if (c->is_for_health)
        return ADMISSION_FOR_HEALTH;
    server_count_refusal(server, METRICS_REFUSED_CONNECTION, &c->from, *why);
    return c->is_refused ? ADMISSION_REFUSED : ADMISSION_REFUSED_AT_ONCE;
}

/* With the lock held. */
static void add_spares(struct gp_server *server)
{
    int fd = 0;
    while (fd >= 0 && server->n_spares < SERVER_N_SPARES) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            server->spares[server->n_spares++] = fd;
    }
}

void server_keep_spares(struct gp_server *server)
{
    pthread_mutex_lock(&server->lock);
    add_spares(server);
    pthread_mutex_unlock(&server->lock);
}

bool server_pause_listener(struct gp_server *server, struct listener *listener)
{
    pthread_mutex_lock(&server->lock);
    listener->is_paused = server->n_connections > 0;
    const bool is_paused = listener->is_paused;
    pthread_mutex_unlock(&server->lock);
    return is_paused;
}

void server_rearm_listener(struct gp_server *server, struct listener *listener)
{
    for (int i = 0; i < REARM_TRIES; i++) {
        if (server_is_draining(server) ||
            poller_arm(&server->poller, &listener->source, EPOLLIN))
            return;
        poll(NULL, 0, REARM_PAUSE_MS);
    }
    pthread_mutex_lock(&server->lock);
    listener->is_paused = true; /* the next connection that goes tries again */
    pthread_mutex_unlock(&server->lock);
}

/* Those who asked for the end get their answer when only they are left. */
static struct exchange *take_shutdown_for(struct gp_server *server, bool is_over)
{
    struct exchange *list = NULL;
    if (server->shutdown_for &&
        (is_over || server->n_connections == server->n_shutdown_for)) {
        list = server->shutdown_for;
        server->shutdown_for = NULL;
        server->n_shutdown_for = 0;
    }
    return list;
}

static void send_all(struct exchange *list)
{
    while (list) {
        struct exchange *x = list;
        list = x->next;
        x->next = NULL;
        connection_send_later(x);
    }
}

static void check_finished(struct gp_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct exchange *answered = take_shutdown_for(server, false);
    if (!server->n_connections) {
        server->is_finished = true;
        pthread_cond_signal(&server->changed);
    }
    pthread_mutex_unlock(&server->lock);
    send_all(answered);
}

void server_connection_gone(struct gp_server *server)
{
    if (server_is_draining(server)) {
        check_finished(server);
        return;
    }
    server_keep_spares(server);
    for (struct listener *l = server->listeners; l; l = l->next) {
        pthread_mutex_lock(&server->lock);
        const bool was_paused = l->is_paused;
        l->is_paused = false;
        pthread_mutex_unlock(&server->lock);
        if (was_paused)
            server_rearm_listener(server, l);
    }
}

void server_shutdown_for(struct gp_server *server, struct exchange *x)
{
    pthread_mutex_lock(&server->lock);
    if (x) {
        x->next = server->shutdown_for;
        server->shutdown_for = x;
        server->n_shutdown_for++;
    }
    const bool is_first = !atomic_exchange(&server->is_draining, true);
    pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->lock);
    if (is_first) {
        const unsigned n = server_n_connections(server);
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

/* With the lock held: waits until drained or `deadline_ns`; true when drained. */
static bool wait_until(struct gp_server *server, int64_t deadline_ns)
{
    const struct timespec until = {.tv_sec = deadline_ns / CLOCK_S,
                                   .tv_nsec = deadline_ns % CLOCK_S};
    int rc = 0;
    while (!server->is_finished && rc == 0)
        rc = pthread_cond_timedwait(&server->changed, &server->lock, &until);
    return server->is_finished;
}

/* With the lock held: true when drained. A connection may come to a new deadline meanwhile, as one
 * that lingers after its answer does: it is hurried too. */
static bool cut_off(struct gp_server *server)
{
    const int64_t begin_ns = clock_now_ns();
    bool is_drained = false;
    for (int64_t now = begin_ns; !is_drained && now < begin_ns + CANCEL_GRACE_NS;
         now = clock_now_ns()) {
        pthread_mutex_unlock(&server->lock);
        for (int kind = 0; kind < TIMER_N_KINDS; kind++)
            timers_hurry(&server->timers, (enum timer_kind)kind,
                         begin_ns + LAST_ANSWERS_NS);
        pthread_mutex_lock(&server->lock);
        is_drained = wait_until(server, now + LOOK_NS);
    }
    return is_drained;
}

enum gp_status server_wait(struct gp_server *server, struct gp_error *err)
{
    pthread_mutex_lock(&server->lock);
    while (!server_is_draining(server))
        pthread_cond_wait(&server->changed, &server->lock);
    const int64_t limit = clock_now_ns() + server->options.drain_timeout_ms * CLOCK_MS;
    bool is_drained = wait_until(server, limit);
    if (!is_drained) {
        struct exchange *answered = take_shutdown_for(server, true);
        pthread_mutex_unlock(&server->lock);
        const unsigned n = server_n_connections(server);
        log_line(&server->log, GP_LOG_WARNING,
                 "the drain limit of %u ms is over: cutting off %u connection%s",
                 server->options.drain_timeout_ms, n, n == 1 ? "" : "s");
        send_all(answered);
        model_cancel_all(&server->model);
        pthread_mutex_lock(&server->lock);
        is_drained = cut_off(server);
    }
    const unsigned n_left = server->n_connections;
    pthread_mutex_unlock(&server->lock);
    if (is_drained)
        return GP_OK;
    return gp_error_set(err, GP_DEADLINE, "%u request%s still running at the end", n_left,
                        n_left == 1 ? " was" : "s were");
}
