#include "server/signals.h"

#include "base/clock.h"
#include "base/place.h"
#include "server/server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* From the drain limit to the end by force; the rest of that second is for logging it. */
#define LAST_NS (CLOCK_S * 4 / 5)

struct service {
    const struct signals_server *with;
    struct gp_error *err;
    enum gp_status status;
    pthread_t taker; /* of signals */
    atomic_bool is_over;
    pthread_mutex_t lock;     /* of what follows */
    struct gp_server *server; /* while it runs */
    bool is_ending;           /* it has run */
    pthread_t rereader;
    bool has_rereader; /* its thread was made, and not joined */
    bool is_rereading;
    bool has_hangup; /* since it began to read */
};

static void set_server(struct service *service, struct gp_server *server)
{
    pthread_mutex_lock(&service->lock);
    service->is_ending = !server;
    service->server = server;
    pthread_mutex_unlock(&service->lock);
}

/* Reads again if there was a hangup meanwhile, however many. */
static void *reread_main(void *arg)
{
    struct service *service = arg;
    pthread_mutex_lock(&service->lock);
    while (service->has_hangup && service->server) {
        struct gp_server *server = service->server;
        service->has_hangup = false;
        pthread_mutex_unlock(&service->lock);
        const bool is_read = service->with->reread(service->with->arg, server);
        atomic_store(&server->metrics.has_bad_config, !is_read);
        pthread_mutex_lock(&service->lock);
    }
    service->is_rereading = false;
    pthread_mutex_unlock(&service->lock);
    return NULL;
}

/* Called with the lock held. */
static void hang_up(struct service *service)
{
    service->has_hangup = true;
    if (!service->with->reread)
        loader_hang_up(&service->server->loader);
    if (!service->with->reread || service->is_rereading)
        return;
    if (service->has_rereader)
        pthread_join(service->rereader, NULL); /* it has ended */
    service->has_rereader =
        pthread_create(&service->rereader, NULL, reread_main, service) == 0;
    service->is_rereading = service->has_rereader;
    if (!service->has_rereader)
        log_line(&service->server->log, GP_LOG_ERROR,
                 "SIGHUP: cannot make a thread to read the configuration");
}

static void *serve_main(void *arg)
{
    struct service *service = arg;
    struct gp_server *server = service->with->create(service->with->arg, service->err);
    if (server) {
        set_server(service, server);
        service->status = gp_server_run(server, service->err);
        set_server(service, NULL);
        if (service->status != GP_DEADLINE && service->has_rereader)
            pthread_join(service->rereader, NULL);
    } else {
        service->status = service->err->status;
    }
    if (service->status != GP_DEADLINE)
        gp_server_destroy(server);
    atomic_store(&service->is_over, true);
    pthread_kill(service->taker, SIGCHLD); /* it waits for that anyway */
    return NULL;
}

/* The kernel gives orphans to the first thread of a process. That thread starts no children here,
 * and __WNOTHREAD spares those of other threads, which wait for their own. */
static void reap_orphans(void)
{
    int is_subreaper = 0;
    (void)prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper);
    if (getpid() == 1 || is_subreaper)
        while (waitpid(-1, NULL, WNOHANG | __WNOTHREAD) > 0)
            ;
}

/* Called with the lock held: when the process must have ended after its first SIGTERM or SIGINT. */
static int64_t begin_end(struct service *service)
{
    const int64_t now = clock_now_ns();
    if (!service->server)
        return now + LAST_NS;
    gp_server_stop(service->server);
    return now + service->server->options.drain_timeout_ms * CLOCK_MS + LAST_NS;
}

static void end_by_force(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    if (service->server) {
        log_line(&service->server->log, GP_LOG_ERROR,
                 "the server did not end within a second after the drain limit");
        log_flush(&service->server->log);
    }
    _exit(1);
}

static void take_signal(struct service *service, int number, int64_t *end_ns)
{
    if (number == SIGCHLD)
        reap_orphans();
    pthread_mutex_lock(&service->lock);
    if (number == SIGTERM || number == SIGINT) {
        if (*end_ns || (!service->server && !service->is_ending))
            _exit(128 + number);
        *end_ns = begin_end(service);
    } else if (number == SIGHUP && service->server) {
        hang_up(service);
    }
    pthread_mutex_unlock(&service->lock);
}

/* The next signal; 0 if `end_ns`, unless it is 0, comes first. */
static int wait_signal(const sigset_t *set, int64_t end_ns)
{
    for (;;) {
        const int64_t left_ns = end_ns - clock_now_ns();
        const struct timespec left = {.tv_sec = left_ns / CLOCK_S,
                                      .tv_nsec = left_ns % CLOCK_S};
        if (end_ns && left_ns <= 0)
            return 0;
        const int number =
            end_ns ? sigtimedwait(set, NULL, &left) : sigwaitinfo(set, NULL);
        if (number > 0)
            return number;
    }
}

static void take_signals(struct service *service, const sigset_t *set)
{
    int64_t end_ns = 0;
    for (;;) {
        const int number = wait_signal(set, end_ns);
        if (atomic_load(&service->is_over))
            return;
        if (number == 0)
            end_by_force(service);
        take_signal(service, number, &end_ns);
    }
}

static void ignore_default(int number)
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
        (void)signal(number, SIG_IGN);
}

void signals_ignore_writes(void)
{
    ignore_default(SIGPIPE);
    ignore_default(SIGXFSZ);
}

enum gp_status signals_serve(const struct signals_server *with, struct gp_error *err)
{
    static const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    struct service service = {.with = with,
                              .err = err,
                              .taker = pthread_self(),
                              .lock = PTHREAD_MUTEX_INITIALIZER};
    sigset_t set;
    pthread_t thread;
    signals_ignore_writes();
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        sigaddset(&set, taken[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    char words[PLACE_WORDS_BYTES];
    const int rc = pthread_create(&thread, NULL, serve_main, &service);
    if (rc != 0)
        return gp_error_set(err, GP_UNAVAILABLE,
                            "cannot make a thread for the server: %s",
                            place_explain(rc, words));
    take_signals(&service, &set);
    pthread_join(thread, NULL);
    return service.status;
}
