/* threads.c: which way of replacing a poller that entered an engine costs least?
 *
 * A prototype of the server's threads and nothing else. One epoll set, connections armed
 * one-shot; the thread that gets a complete POST runs a simulated engine inline and
 * writes the answer; when no slot is free the request is queued, holding no thread, and
 * whoever frees a slot takes the queue's head. A GET is a health call and needs no slot.
 * What varies is who polls while engines run (policies.h). Not a server to copy:
 * HTTP is the bare minimum, there are no time-outs, and a request must fit one buffer.
 *
 *   threads POLICY PORT CORES SLOTS ENGINE TICK_US    ENGINE: echo, sleep:US
 *                                                     or spin:LOOPS:US[+US]
 *   threads calibrate                                 prints spin loops for a microsecond
 *
 * SIGUSR1 prints a line of counters (JSON), SIGTERM prints it and ends. */
#define _GNU_SOURCE
#include "policies.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 4096, ACCEPTS_PER_TURN = 64, OUTLIER_EVERY = 1000 };

struct conn {
    int fd; /* owned by one thread at a time: whoever the one-shot event went to */
    size_t got_bytes;
    struct conn *next; /* in the slot queue */
    char buffer[BUFFER_BYTES];
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- the engine -------------------------------------------------------------------- */

static void spin(long loops)
{
    uint64_t x = 88172645463325252u;
    for (long i = 0; i < loops; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    }
    __asm__ volatile("" : : "r"(x));
}

static void sleep_us(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&t, &t) != 0) {
    }
}

/* An engine of the form spin:..+US sleeps for so long at every 1000th run. */
static void engine_run(struct thread *t)
{
    unsigned long run = atomic_load_explicit(&t->posts, memory_order_relaxed);
    if (s.outlier_us > 0 && run % OUTLIER_EVERY == OUTLIER_EVERY - 1) {
        sleep_us(s.outlier_us);
    }
    if (s.sleep_ns > 0) {
        sleep_us(s.sleep_ns / 1000);
    }
    spin(s.spin_loops);
}

/* The best of several tries: a shared machine only ever makes it slower. */
static void calibrate(void)
{
    const long loops = 2000000;
    double best_us = 1e18;
    for (int i = 0; i < 20; i++) {
        double start_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
        spin(loops);
        double took_us = clock_us(CLOCK_THREAD_CPUTIME_ID) - start_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    printf("%.0f\n", (double)loops / best_us);
}

/* ---- slots and connections --------------------------------------------------------- */

/* True: the caller has a slot. False: the queue has the connection, which may be
 * answered and armed again by another thread before this returns, so the caller must
 * not touch it. */
static bool slot_take_or_queue(struct conn *c)
{
    pthread_mutex_lock(&s.slot_lock);
    bool taken = s.n_free_slots > 0;
    if (taken) {
        s.n_free_slots--;
    } else {
        c->next = NULL;
        *s.queue_tail = c;
        s.queue_tail = &c->next;
    }
    pthread_mutex_unlock(&s.slot_lock);
    return taken;
}

/* Gives the slot to the queue's head and returns it, or frees the slot. */
static struct conn *slot_pass_on(void)
{
    pthread_mutex_lock(&s.slot_lock);
    struct conn *c = s.queue_head;
    if (c == NULL) {
        s.n_free_slots++;
    } else {
        s.queue_head = c->next;
        if (s.queue_head == NULL) {
            s.queue_tail = &s.queue_head;
        }
    }
    pthread_mutex_unlock(&s.slot_lock);
    return c;
}

static void arm(int fd, void *owner, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = owner};
    if (epoll_ctl(s.epoll_fd, operation, fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    free(c);
}

/* Writes the answer and arms the connection: from then on it is another thread's. */
static void answer(struct conn *c)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    if (write(c->fd, text, sizeof text - 1) != (ssize_t)sizeof text - 1) {
        conn_close(c);
        return;
    }
    c->got_bytes = 0;
    arm(c->fd, c, EPOLL_CTL_MOD);
}

/* The thread stays "in the engine" while it carries the queue: it polls only when that is
 * empty. */
static void serve_inference(struct thread *t, struct conn *c)
{
    if (!slot_take_or_queue(c)) {
        return;
    }
    engine_enter(t);
    while (c != NULL) {
        engine_run(t);
        answer(c);
        atomic_fetch_add_explicit(&t->posts, 1, memory_order_relaxed);
        c = slot_pass_on();
    }
    engine_leave(t);
}

static bool request_is_complete(const struct conn *c)
{
    const char *end = memmem(c->buffer, c->got_bytes, "\r\n\r\n", 4);
    if (end == NULL) {
        return false;
    }
    const char *length =
        memmem(c->buffer, (size_t)(end - c->buffer), "Content-Length:", 15);
    size_t body_bytes = length == NULL ? 0 : strtoul(length + 15, NULL, 10);
    return c->got_bytes >= (size_t)(end + 4 - c->buffer) + body_bytes;
}

static void serve_conn(struct thread *t, struct conn *c)
{
    ssize_t n = read(c->fd, c->buffer + c->got_bytes, sizeof c->buffer - c->got_bytes);
    if (n <= 0 && !(n < 0 && errno == EAGAIN)) {
        conn_close(c);
        return;
    }
    c->got_bytes += n > 0 ? (size_t)n : 0;
    if (!request_is_complete(c)) {
        arm(c->fd, c, EPOLL_CTL_MOD);
    } else if (c->buffer[0] == 'G') {
        answer(c);
        atomic_fetch_add_explicit(&t->gets, 1, memory_order_relaxed);
    } else {
        serve_inference(t, c);
    }
}

static void serve_listener(void)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(s.listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            break;
        }
        struct conn *c = calloc(1, sizeof *c);
        if (c == NULL) {
            fail("calloc");
        }
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        arm(fd, c, EPOLL_CTL_ADD);
    }
    arm(s.listener_fd, NULL, EPOLL_CTL_MOD);
}

/* One event a call: with inline engines a second event in hand would wait for the
 * first. */
static void *thread_main(void *arg)
{
    struct thread *t = arg;
    for (;;) {
        park_if_too_many(t);
        struct epoll_event event;
        atomic_fetch_add_explicit(&t->polls, 1, memory_order_relaxed);
        int n = epoll_wait(s.epoll_fd, &event, 1, -1);
        atomic_fetch_add_explicit(&t->polls, 1, memory_order_relaxed);
        if (n == 1 && event.data.ptr == NULL) {
            serve_listener();
        } else if (n == 1) {
            serve_conn(t, event.data.ptr);
        }
    }
    return NULL;
}

/* ---- start, counters, end ---------------------------------------------------------- */

static void listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s.listener_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(s.listener_fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(s.listener_fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4); /* inherited */
    if (bind(s.listener_fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(s.listener_fd, 1024) != 0) {
        fail("listen");
    }
    s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    arm(s.listener_fd, NULL, EPOLL_CTL_ADD);
}

static void print_counters(const pthread_t *watcher)
{
    unsigned long posts = 0, gets = 0;
    for (int i = 0; i < s.n_threads; i++) {
        posts += atomic_load(&s.threads[i].posts);
        gets += atomic_load(&s.threads[i].gets);
    }
    clockid_t clock;
    double watcher_us = 0;
    if (watcher != NULL && pthread_getcpuclockid(*watcher, &clock) == 0) {
        watcher_us = clock_us(clock);
    }
    printf("{\"posts\": %lu, \"gets\": %lu, \"cpu_us\": %.0f, \"watcher_us\": %.0f, "
           "\"ticks\": %lu, \"rouses\": %lu, \"wakes\": %lu, \"parks\": %lu, "
           "\"pollers\": %d}\n",
           posts, gets, clock_us(CLOCK_PROCESS_CPUTIME_ID), watcher_us,
           atomic_load(&s.n_ticks), atomic_load(&s.n_rouses), atomic_load(&s.n_wakes),
           atomic_load(&s.n_parks), atomic_load(&s.n_pollers));
    fflush(stdout);
}

static void read_arguments(char **argv)
{
    long engine_us = 0;
    s.policy = (enum policy)argv[1][0];
    s.cores = atoi(argv[3]);
    s.n_slots = s.n_free_slots = atoi(argv[4]);
    s.queue_tail = &s.queue_head;
    s.n_threads = s.policy == NOBODY ? s.cores : s.cores + s.n_slots + 1;
    if (sscanf(argv[5], "sleep:%ld", &engine_us) == 1) {
        s.sleep_ns = engine_us * 1000;
    } else if (sscanf(argv[5], "spin:%ld:%ld+%ld", &s.spin_loops, &engine_us,
                      &s.outlier_us) >= 2) {
        s.spin_loops *= engine_us;
    }
    s.tick_ns = atol(argv[6]) * 1000;
    s.n_awake = s.n_pollers = s.n_threads; /* those that are too many park at once */
    if (s.n_threads > MAX_THREADS) {
        fail("too many threads");
    }
    listen_on(atoi(argv[2]));
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "calibrate") == 0) {
        calibrate();
        return 0;
    }
    if (argc != 7 || strchr("ABCDEF", argv[1][0]) == NULL) {
        fprintf(stderr, "usage: threads A-F PORT CORES SLOTS ENGINE TICK_US\n");
        return 2;
    }
    read_arguments(argv);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < s.n_threads; i++) {
        pthread_create(&s.threads[i].id, NULL, thread_main, &s.threads[i]);
    }
    pthread_t watcher;
    if (has_watcher()) {
        pthread_create(&watcher, NULL, watcher_main, NULL);
    }
    for (int got = SIGUSR1; got == SIGUSR1;) {
        sigwait(&signals, &got);
        print_counters(has_watcher() ? &watcher : NULL);
    }
    _exit(0); /* threads may sit in engines */
}
