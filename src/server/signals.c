#include "server/signals.h"

#include <signal.h>
#include <unistd.h>

static void *wait_for_signals(void *arg)
{
    struct signals *signals = arg;
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    bool is_draining = false;
    while (sigwait(&set, &number) == 0 && !atomic_load(&signals->is_over)) {
        struct gp_server *server = atomic_load(&signals->server);
        if (!server || is_draining)
            _exit(128 + number);
        is_draining = true;
        gp_server_stop(server);
    }
    return NULL;
}

enum gp_status signals_begin(struct signals *signals, struct gp_error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    atomic_init(&signals->server, NULL);
    atomic_init(&signals->is_over, false);
    if (pthread_create(&signals->thread, NULL, wait_for_signals, signals) != 0)
        return gp_error_set(err, GP_UNAVAILABLE, "cannot make a thread for signals");
    return GP_OK;
}

enum gp_status signals_run(struct signals *signals, struct gp_server *server,
                           struct gp_error *err)
{
    atomic_store(&signals->server, server);
    return gp_server_run(server, err);
}

void signals_end(struct signals *signals)
{
    atomic_store(&signals->is_over, true);
    pthread_kill(signals->thread, SIGINT); /* it waits for that as well */
    pthread_join(signals->thread, NULL);
}
