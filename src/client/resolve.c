/* Resolves names. Numeric addresses are parsed at once. For a name getaddrinfo may block
 * for as long as its configuration likes, and cannot be stopped, so it runs on a thread
 * of its own, which is abandoned if the deadline comes first: the last one to finish
 * frees the lookup. */
#include "client/address.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t is_done_cond;
    bool is_done;
    bool is_abandoned;
    int outcome; /* of getaddrinfo */
    struct addrinfo *list;
    char host[256];
    char port[8];
};

static int look_up(const char *host, const char *port, int flags, struct addrinfo **list)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(host, port, &hints, list);
}

static struct lookup *lookup_create(const struct client_address *address)
{
    struct lookup *lookup = mem_zalloc(sizeof *lookup);
    if (!lookup)
        return NULL;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lookup->is_done_cond, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&lookup->lock, NULL);
    memcpy(lookup->host, address->host, sizeof lookup->host);
    memcpy(lookup->port, address->port, sizeof lookup->port);
    return lookup;
}

static void lookup_destroy(struct lookup *lookup)
{
    pthread_mutex_destroy(&lookup->lock);
    pthread_cond_destroy(&lookup->is_done_cond);
    mem_free(lookup);
}

static void *lookup_run(void *arg)
{
    struct lookup *lookup = arg;
    struct addrinfo *list = NULL;
    const int outcome = look_up(lookup->host, lookup->port, 0, &list);

    pthread_mutex_lock(&lookup->lock);
    lookup->outcome = outcome;
    lookup->list = list;
    lookup->is_done = true;
    const bool is_abandoned = lookup->is_abandoned;
    pthread_cond_signal(&lookup->is_done_cond);
    pthread_mutex_unlock(&lookup->lock);
    if (is_abandoned) {
        if (outcome == 0)
            freeaddrinfo(list);
        lookup_destroy(lookup);
    }
    return NULL;
}

/* That thread must not take the application's signals. */
static bool lookup_start(struct lookup *lookup)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool is_started = pthread_create(&thread, NULL, lookup_run, lookup) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (is_started)
        pthread_detach(thread);
    return is_started;
}

/* True if it was done in time; otherwise the lookup belongs to its thread. */
static bool lookup_wait(struct lookup *lookup, int64_t deadline_ns)
{
    const struct timespec until = {.tv_sec = deadline_ns / CLOCK_S,
                                   .tv_nsec = deadline_ns % CLOCK_S};
    int waited = 0;
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->is_done && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&lookup->is_done_cond, &lookup->lock, &until);
    const bool is_done = lookup->is_done;
    lookup->is_abandoned = !is_done;
    pthread_mutex_unlock(&lookup->lock);
    return is_done;
}

enum gp_status client_resolve(const struct client_address *address, int64_t deadline_ns,
                              struct addrinfo **list, struct gp_error *err)
{
    int outcome = look_up(address->host, address->port, AI_NUMERICHOST, list);
    if (outcome == EAI_NONAME) {
        struct lookup *lookup = lookup_create(address);
        if (!lookup || !lookup_start(lookup)) {
            if (lookup)
                lookup_destroy(lookup);
            return gp_error_set(err, GP_NO_MEMORY, "%s: no memory to look the host up",
                                address->label);
        }
        if (!lookup_wait(lookup, deadline_ns))
            return gp_error_set(err, GP_TIMEOUT, "%s: looking the host up took too long",
                                address->label);
        outcome = lookup->outcome;
        *list = lookup->list;
        lookup_destroy(lookup);
    }
    if (outcome != 0)
        return gp_error_set(err, GP_IO, "%s: unknown host: %s", address->label,
                            gai_strerror(outcome));
    return GP_OK;
}
