#include "server/connections.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void connections_init(struct connections *connections, struct timers *timers)
{
    connections->timers = timers;
    pthread_mutex_init(&connections->lock, NULL);
    connections_keep_spares(connections);
}

void connections_finish(struct connections *connections)
{
    while (connections->n_spares)
        close(connections->spares[--connections->n_spares]);
    pthread_mutex_destroy(&connections->lock);
}

bool connections_add(struct connections *connections, struct guest *guest, int fd,
                     const struct sockaddr *from)
{
    pthread_mutex_lock(&connections->lock);
    guest->peer = peers_join(&connections->peers, peers_name(fd, from));
    if (guest->peer) {
        guest->next = connections->first;
        if (guest->next)
            guest->next->prev = guest;
        connections->first = guest;
        connections->n++;
    }
    pthread_mutex_unlock(&connections->lock);
    return guest->peer;
}

void connections_remove(struct connections *connections, struct guest *guest)
{
    pthread_mutex_lock(&connections->lock);
    if (guest->next)
        guest->next->prev = guest->prev;
    if (guest->prev)
        guest->prev->next = guest->next;
    else
        connections->first = guest->next;
    connections->n--;
    connections->n_for_health -= guest->is_for_health;
    connections->n_refused -= guest->is_refused;
    peers_leave(&connections->peers, guest->peer);
    pthread_mutex_unlock(&connections->lock);
}

/* Called with the lock held: the list that must make room for a guest; TIMER_N_LISTS: none. */
static enum timer_list find_room(const struct connections *connections,
                                 const struct guest *guest, bool has_descriptors,
                                 const char **why)
{
    const unsigned n_open =
        connections->n - 1 - connections->n_for_health - connections->n_refused;
    unsigned n_most = connections->n_most;
    if (!has_descriptors && n_open < n_most)
        n_most = n_open;
    const struct peer_record *over = peers_over_connections(guest->peer, n_most, n_open);
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
        return over == guest->peer ? TIMER_IDLE_OF_PEER : TIMER_IDLE_OF_SITE;
    return n_open < n_most ? TIMER_N_LISTS : TIMER_IDLE_OF_ALL;
}

enum admission connections_admit(struct connections *connections, struct guest *guest,
                                 bool has_descriptors, const char **why)
{
    pthread_mutex_lock(&connections->lock);
    const enum timer_list whose = find_room(connections, guest, has_descriptors, why);
    const bool may_stay = has_descriptors || connections->n_spares;
    pthread_mutex_unlock(&connections->lock);
    if (whose == TIMER_N_LISTS)
        return ADMISSION_GRANTED;
    if (may_stay && timers_evict(connections->timers, &guest->timer, whose))
        return ADMISSION_GRANTED_FOR_ANOTHER;
    pthread_mutex_lock(&connections->lock);
    guest->is_for_health = may_stay &&
                           connections->n_for_health < CONNECTIONS_N_FOR_HEALTH &&
                           peers_is_local((const void *)&guest->from);
    connections->n_for_health += guest->is_for_health;
    guest->is_refused = !guest->is_for_health && has_descriptors &&
                        connections->n_refused < CONNECTIONS_N_REFUSED;
    connections->n_refused += guest->is_refused;
    pthread_mutex_unlock(&connections->lock);
    if (guest->is_for_health)
        return ADMISSION_FOR_HEALTH;
    return guest->is_refused ? ADMISSION_REFUSED : ADMISSION_REFUSED_AT_ONCE;
}

unsigned connections_count(struct connections *connections)
{
    pthread_mutex_lock(&connections->lock);
    const unsigned n = connections->n;
    pthread_mutex_unlock(&connections->lock);
    return n;
}

unsigned connections_count_peers(struct connections *connections)
{
    pthread_mutex_lock(&connections->lock);
    const unsigned n = connections->peers.n;
    pthread_mutex_unlock(&connections->lock);
    return n;
}

void connections_keep_spares(struct connections *connections)
{
    int fd = 0;
    pthread_mutex_lock(&connections->lock);
    while (fd >= 0 && connections->n_spares < CONNECTIONS_N_SPARES) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            connections->spares[connections->n_spares++] = fd;
    }
    pthread_mutex_unlock(&connections->lock);
}

int connections_accept_by_spare(struct connections *connections, int listen_fd,
                                struct sockaddr_storage *from, socklen_t *size)
{
    int fd = -1;
    pthread_mutex_lock(&connections->lock);
    if (connections->n_spares) {
        close(connections->spares[--connections->n_spares]);
        fd = accept4(listen_fd, (struct sockaddr *)from, size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    pthread_mutex_unlock(&connections->lock);
    const int error = errno;
    if (fd < 0)
        connections_keep_spares(connections);
    errno = error;
    return fd;
}

bool connections_pause(struct connections *connections, struct listener *listener)
{
    pthread_mutex_lock(&connections->lock);
    listener->is_paused = connections->n > 0;
    const bool is_paused = listener->is_paused;
    pthread_mutex_unlock(&connections->lock);
    return is_paused;
}

bool connections_resume(struct connections *connections, struct listener *listener)
{
    pthread_mutex_lock(&connections->lock);
    const bool was_paused = listener->is_paused;
    listener->is_paused = false;
    pthread_mutex_unlock(&connections->lock);
    return was_paused;
}
