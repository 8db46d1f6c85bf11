/* threads.c: which way of replacing a poller that entered an engine costs least?
 *
 * A prototype of the server's threads and nothing else. One epoll set, connections armed
 * one-shot; the thread that gets a complete POST runs a simulated engine inline and
 * writes the answer; when no slot is free the request is queued, holding no thread, and
 * whoever frees a slot takes the queue's head. A GET is a health call and needs no slot.
 * What varies is who polls while engines run (enum policy below). Not a server to copy:
 * HTTP is the bare minimum, there are no time-outs, and a request must fit one buffer.
 *
 *   threads POLICY PORT CORES SLOTS ENGINE TICK_US    ENGINE: echo, sleep:US
 *                                                     or spin:LOOPS:US[+US]
 *   threads calibrate                                 prints spin loops for a microsecond
 *
 * SIGUSR1 prints a line of counters (JSON), SIGTERM prints it and ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_THREADS = 64,
    BUFFER_BYTES = 4096,
    ACCEPTS_PER_TURN = 64,
    IDLE_TICKS = 10,   /* ticks without work after which the watcher sleeps */
    LONG_RUN_US = 500, /* policy F */
    OUTLIER_EVERY = 1000
};

/* Who brings in a replacement when a poller enters an engine. */
enum policy {
    EVERY_ENTRY = 'A', /* each entry wakes a parked thread */
    LAST_POLLER = 'B', /* an entry wakes one when no poller remains */
    WATCHER = 'C',     /* a watcher wakes one when nobody polled for a whole tick */
    NOBODY = 'D',      /* plain pollers, as many as cores */
    TWO_LOOKS = 'E',   /* a watcher wakes one when no poller was left at two ticks in a
                        * row, whether or not somebody polled in between */
    FITTING = 'F'      /* as E, but not while runs are short and compute; then threads
                        * beyond cores park, too (see runs_are_short) */
};

struct conn {
    int fd; /* owned by one thread at a time: whoever the one-shot event went to */
    size_t got_bytes;
    struct conn *next; /* in the slot queue */
    char buffer[BUFFER_BYTES];
};

/* One cache line of its own for each thread, written by that thread, read by the
 * watcher. */
struct thread {
    _Alignas(128) atomic_ulong polls; /* odd inside epoll_wait, counts its entries */
    atomic_bool in_engine;
    atomic_ulong posts, gets; /* answered */
    atomic_int parked;        /* futex */
    struct thread *below;     /* on the stack of parked threads */
    pthread_t id;
};

static struct {
    enum policy policy;
    int cores, n_threads, epoll_fd, listener_fd;
    int n_slots;
    long tick_ns, sleep_ns, spin_loops, outlier_us;
    struct thread threads[MAX_THREADS];

    _Alignas(128) atomic_int n_pollers;      /* threads neither parked nor in an engine */
    _Alignas(128) atomic_int watcher_asleep; /* futex */
    atomic_bool short_runs;                  /* policy F: the watcher's last finding */
    atomic_int n_awake;                      /* threads not parked; under park_lock */

    pthread_mutex_t park_lock; /* the stack, n_awake, and parking's change of n_pollers */
    struct thread *parked;
    atomic_ulong n_wakes, n_parks, n_ticks, n_rouses;

    pthread_mutex_t slot_lock;
    int n_free_slots;
    struct conn *queue_head, **queue_tail;
} s;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void futex_wait(atomic_int *word, int value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(atomic_int *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
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

static double clock_us(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
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

/* ---- parking and waking ------------------------------------------------------------ */

/* While runs are short and compute, a poller beside them costs more than it brings. */
static bool is_one_too_many(int n_pollers)
{
    return n_pollers > s.cores ||
           (atomic_load_explicit(&s.short_runs, memory_order_relaxed) &&
            atomic_load_explicit(&s.n_awake, memory_order_relaxed) > s.cores);
}

/* Parks the caller if there are more pollers than cores. The test and the decrement are
 * one step (entries to engines decrement without the lock), and the push is under the
 * same lock as the pop, so that whoever then finds no poller left also finds this
 * thread to wake. */
static void park_if_too_many(struct thread *t)
{
    int n = atomic_load_explicit(&s.n_pollers, memory_order_relaxed);
    if (s.policy == NOBODY || !is_one_too_many(n)) {
        return;
    }
    pthread_mutex_lock(&s.park_lock);
    n = atomic_load(&s.n_pollers);
    bool parks = is_one_too_many(n);
    while (parks && !atomic_compare_exchange_weak(&s.n_pollers, &n, n - 1)) {
        parks = is_one_too_many(n);
    }
    if (parks) {
        atomic_fetch_sub(&s.n_awake, 1);
        atomic_store(&t->parked, 1); /* before the unlock, or the wake-up is lost */
        t->below = s.parked;
        s.parked = t;
        atomic_fetch_add_explicit(&s.n_parks, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s.park_lock);
    while (atomic_load(&t->parked)) {
        futex_wait(&t->parked, 1);
    }
}

/* The waker counts the woken thread as a poller at once, so that two wakers do not wake
 * two threads for one need. */
static void wake_one(void)
{
    pthread_mutex_lock(&s.park_lock);
    struct thread *t = s.parked;
    if (t != NULL) {
        s.parked = t->below;
        atomic_fetch_add(&s.n_awake, 1);
        atomic_fetch_add(&s.n_pollers, 1);
        atomic_fetch_add_explicit(&s.n_wakes, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s.park_lock);
    if (t != NULL) {
        atomic_store(&t->parked, 0);
        futex_wake(&t->parked);
    }
}

static bool has_watcher(void)
{
    return s.policy == WATCHER || s.policy == TWO_LOOKS || s.policy == FITTING;
}

/* What the watcher must see is stored before the read-modify-write of n_pollers, and
 * watcher_asleep is read after it; the watcher does the reverse around its own
 * read-modify-write of n_pollers. Whichever comes second sees what the other stored.
 * Policies E and F have work for the watcher only when no poller is left. */
static void engine_enter(struct thread *t)
{
    atomic_store_explicit(&t->in_engine, true, memory_order_relaxed);
    if (s.policy == NOBODY) {
        return;
    }
    int n_left = atomic_fetch_sub(&s.n_pollers, 1) - 1;
    if (s.policy == EVERY_ENTRY || (s.policy == LAST_POLLER && n_left == 0)) {
        wake_one();
    } else if (has_watcher() && (s.policy == WATCHER || n_left <= 0) &&
               atomic_load_explicit(&s.watcher_asleep, memory_order_relaxed) &&
               atomic_exchange(&s.watcher_asleep, 0)) {
        futex_wake(&s.watcher_asleep);
    }
}

static void engine_leave(struct thread *t)
{
    atomic_store_explicit(&t->in_engine, false, memory_order_relaxed);
    if (s.policy != NOBODY) {
        atomic_fetch_add(&s.n_pollers, 1);
    }
}

/* ---- the watcher ------------------------------------------------------------------- */

struct sight {
    unsigned long polls[MAX_THREADS], posts[MAX_THREADS];
    bool without_poller;
    double runs, run_us, cpu_us; /* sums that lose an eighth at each tick (policy F) */
    double last_us, last_cpu_us;
};

static bool any_in_engine(void)
{
    bool any = false;
    for (int i = 0; i < s.n_threads; i++) {
        any |= atomic_load_explicit(&s.threads[i].in_engine, memory_order_relaxed);
    }
    return any;
}

static void watcher_sleep(void)
{
    atomic_store(&s.watcher_asleep, 1);
    int n_pollers = atomic_fetch_add(&s.n_pollers, 0); /* see engine_enter */
    bool is_needed = s.policy == WATCHER ? any_in_engine() : n_pollers <= 0;
    if (is_needed && atomic_exchange(&s.watcher_asleep, 0)) {
        return;
    }
    while (atomic_load(&s.watcher_asleep)) {
        futex_wait(&s.watcher_asleep, 1);
    }
    atomic_fetch_add_explicit(&s.n_rouses, 1, memory_order_relaxed);
}

/* True while runs end at every tick, are short on average and compute: then polling
 * between runs, inline, is best. False for long runs, and for engines that wait (for a
 * device, another host), whose cores have time for one more poller: those take less
 * than a quarter of the time that threads spend in engines as CPU time (of the whole
 * process, which is one call). */
static bool runs_are_short(struct sight *last, unsigned long n_runs, int n_running)
{
    double now_us = clock_us(CLOCK_MONOTONIC);
    double used_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    double tick_us = now_us - last->last_us;
    last->runs += (double)n_runs - last->runs / 8;
    last->run_us += tick_us * n_running - last->run_us / 8;
    last->cpu_us += used_us - last->last_cpu_us - last->cpu_us / 8;
    last->last_us = now_us;
    last->last_cpu_us = used_us;
    return n_runs > 0 && last->run_us < last->runs * LONG_RUN_US &&
           last->cpu_us * 4 > last->run_us;
}

/* One tick: returns true when a replacement is due. */
static bool watcher_look(struct sight *last, bool *idle)
{
    bool polled = false;
    unsigned long n_runs = 0;
    int n_running = 0;
    for (int i = 0; i < s.n_threads; i++) {
        struct thread *t = &s.threads[i];
        unsigned long polls = atomic_load_explicit(&t->polls, memory_order_relaxed);
        unsigned long posts = atomic_load_explicit(&t->posts, memory_order_relaxed);
        polled |= polls % 2 == 1 || polls != last->polls[i];
        n_runs += posts - last->posts[i];
        n_running += atomic_load_explicit(&t->in_engine, memory_order_relaxed);
        last->polls[i] = polls;
        last->posts[i] = posts;
    }
    bool without = atomic_load_explicit(&s.n_pollers, memory_order_relaxed) <= 0;
    bool was_without = last->without_poller;
    last->without_poller = without;
    if (s.policy == WATCHER) {
        *idle = n_runs == 0 && n_running == 0;
        return !polled && !*idle;
    }
    *idle = !without && atomic_load(&s.n_awake) <= s.cores;
    bool is_short = s.policy == FITTING && runs_are_short(last, n_runs, n_running);
    atomic_store_explicit(&s.short_runs, is_short, memory_order_relaxed);
    return without && was_without && !is_short;
}

static void *watcher_main(void *unused)
{
    (void)unused;
    struct sight last = {0};
    bool idle;
    for (int n_idle = 0;;) {
        struct timespec tick = {0, s.tick_ns};
        nanosleep(&tick, NULL);
        atomic_fetch_add_explicit(&s.n_ticks, 1, memory_order_relaxed);
        if (watcher_look(&last, &idle)) {
            wake_one();
        }
        n_idle = idle ? n_idle + 1 : 0;
        if (n_idle >= IDLE_TICKS) {
            watcher_sleep();
            watcher_look(&last, &idle); /* what happened meanwhile counts for nothing */
            last.runs = last.run_us = last.cpu_us = 0;
            n_idle = 0;
        }
    }
    return NULL;
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
