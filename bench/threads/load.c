/* load.c: N closed-loop connections that POST, and one health connection beside them.
 *
 * Rate and latency of the POSTs come from one thread with its own epoll set; the health
 * connection has a thread of its own that sends a GET every HEALTH_US, waits for the
 * answer and notes how long it took. That thread asks for real-time priority, so that on
 * busy cores the figure is the server's delay and not this client's; where that is
 * refused it goes on without. The first 100 ms count for nothing. A health call that is
 * late delays the next one: the share of slow calls is understated, never overstated.
 *
 *   load PORT CONNECTIONS SECONDS HEALTH_US      prints one line of JSON */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SAMPLES = 1000000, MAX_CONNECTIONS = 1024, BODY_BYTES = 1024 };

struct samples {
    size_t n;
    float us[MAX_SAMPLES];
};

static struct samples posts, healths;
static int port;
static double health_us, begin_us, end_us;
static size_t n_answers; /* to POSTs, between begin and end */

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* A sample that starts in time counts even when its answer comes after the end. */
static void sample_add(struct samples *list, double start_us)
{
    double end = now_us();
    if (start_us >= begin_us && start_us <= end_us && list->n < MAX_SAMPLES) {
        list->us[list->n++] = (float)(end - start_us);
    }
}

static int by_size(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

/* Sorts on first use; the quantile 1 is the maximum. */
static double quantile(struct samples *list, double q)
{
    if (list->n == 0) {
        return -1;
    }
    qsort(list->us, list->n, sizeof *list->us, by_size);
    return (double)list->us[(size_t)(q * (double)(list->n - 1))];
}

static int connect_once(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("connect");
        exit(1);
    }
    /* A server that stops answering must fail the run, not hang it. */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 5},
               sizeof(struct timeval));
    return fd;
}

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "load: %s\n", what);
        exit(1);
    }
}

static void *health_main(void *unused)
{
    (void)unused;
    static const char text[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    pthread_setschedparam(pthread_self(), SCHED_FIFO,
                          &(struct sched_param){.sched_priority = 1});
    int fd = connect_once();
    char answer[256];
    for (double next_us = now_us(); next_us < end_us;) {
        double start_us = now_us();
        must(write(fd, text, sizeof text - 1) > 0, "health: write");
        must(read(fd, answer, sizeof answer) > 0, "health: no answer");
        sample_add(&healths, start_us);
        while (next_us <= now_us()) {
            next_us += health_us;
        }
        double wait_us = next_us - now_us();
        struct timespec t = {0, wait_us > 0 ? (long)(wait_us * 1e3) : 0};
        nanosleep(&t, NULL);
    }
    close(fd);
    return NULL;
}

static void post_all(int n_connections)
{
    static char text[BODY_BYTES + 256];
    static double start_us[MAX_CONNECTIONS];
    static int fds[MAX_CONNECTIONS];
    int head_bytes =
        snprintf(text, sizeof text,
                 "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", BODY_BYTES);
    size_t text_bytes = (size_t)head_bytes + BODY_BYTES;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < n_connections; i++) {
        fds[i] = connect_once();
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[i], &event);
        start_us[i] = now_us();
        must(write(fds[i], text, text_bytes) == (ssize_t)text_bytes, "write");
    }
    while (now_us() < end_us) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll_fd, events, 64, 5000);
        must(n > 0, "no answer for 5 s");
        for (int i = 0; i < n; i++) {
            uint32_t at = events[i].data.u32;
            char answer[256];
            must(read(fds[at], answer, sizeof answer) > 0, "read");
            sample_add(&posts, start_us[at]);
            start_us[at] = now_us();
            n_answers += start_us[at] >= begin_us && start_us[at] <= end_us;
            must(write(fds[at], text, text_bytes) == (ssize_t)text_bytes, "write");
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || atoi(argv[2]) > MAX_CONNECTIONS) {
        fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS HEALTH_US\n");
        return 2;
    }
    port = atoi(argv[1]);
    health_us = atof(argv[4]);
    begin_us = now_us() + 100e3;
    end_us = begin_us + atof(argv[3]) * 1e6;
    pthread_t health;
    pthread_create(&health, NULL, health_main, NULL);
    post_all(atoi(argv[2]));
    pthread_join(health, NULL);
    printf("{\"rate\": %.1f, \"post_p50\": %.0f, \"post_p99\": %.0f, \"health_n\": %zu, "
           "\"health_p50\": %.0f, \"health_p99\": %.0f, \"health_max\": %.0f}\n",
           (double)n_answers * 1e6 / (end_us - begin_us), quantile(&posts, 0.5),
           quantile(&posts, 0.99), healths.n, quantile(&healths, 0.5),
           quantile(&healths, 0.99), quantile(&healths, 1));
    return 0;
}
