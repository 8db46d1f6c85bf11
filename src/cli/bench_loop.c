/* One thread and epoll: the load shares its cores with the server, so it has to be cheap.
 * In a closed loop a connection sends again as soon as it has its answer. In an open loop
 * requests are due by a schedule that is independent of the answers; a request that is
 * due while all connections are busy waits in the schedule, and its latency is counted
 * from when it was due. So a stall of the server is felt by all requests that would have
 * come in the meantime (no coordinated omission). */
#include "cli/bench_loop.h"

#include "base/clock.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

enum { EVENTS_AT_ONCE = 256, SAMPLE_EVERY = 1024 };

#define REST_NS (50 * CLOCK_MS) /* after a failed connection, in a closed loop */
#define LATE_NS CLOCK_MS

static volatile sig_atomic_t is_interrupted;

static void interrupt(int number)
{
    (void)number;
    is_interrupted = 1;
}

static bool is_open_loop(const struct bench_loop *load)
{
    return load->settings->rate_per_s > 0;
}

static bool may_send(const struct bench_loop *load)
{
    const uint64_t wanted = load->settings->n_requests;
    switch (load->measure.phase) {
    case BENCH_WARMS_UP:
        return true;
    case BENCH_MEASURES:
        return wanted == 0 || load->n_sent < wanted;
    case BENCH_DRAINS: /* what became due while we slept past the end */
        return is_open_loop(load) && wanted == 0 && !load->is_all_sent &&
               load->schedule.next_ns < load->measure.end_ns;
    case BENCH_OVER:
        break;
    }
    return false;
}

static bool has_free_link(const struct bench_loop *load)
{
    return load->idle || load->n_links < load->settings->n_connections;
}

static struct bench_link *take_free_link(struct bench_loop *load)
{
    struct bench_link *link = load->idle;
    if (link) {
        load->idle = link->after;
        return link;
    }
    link = &load->links[load->n_links++];
    link->fd = -1;
    return link;
}

static void busy_add(struct bench_loop *load, struct bench_link *link)
{
    link->is_busy = true;
    link->before = load->last;
    link->after = NULL;
    if (load->last)
        load->last->after = link;
    else
        load->first = link;
    load->last = link;
    load->n_in_flight++;
}

static void busy_remove(struct bench_loop *load, struct bench_link *link)
{
    link->is_busy = false;
    if (link->before)
        link->before->after = link->after;
    else
        load->first = link->after;
    if (link->after)
        link->after->before = link->before;
    else
        load->last = link->before;
    load->n_in_flight--;
}

/* --- what came of a request --------------------------------------------------------- */

/* The request is over, successfully or not. */
static void finish_request(struct bench_loop *load, struct bench_link *link,
                           enum bench_step step, enum bench_error error, int64_t now_ns)
{
    const bool has_lost = step == BENCH_FAILED && error <= BENCH_RESET;
    measure_advance(&load->measure, now_ns);
    busy_remove(load, link);
    bench_count(load, link, step, error, now_ns);
    if (has_lost && !is_open_loop(load)) {
        if (load->n_resting++ == 0)
            load->rest_until_ns = now_ns + REST_NS;
        link->is_resting = true;
    } else {
        link->after = load->idle;
        load->idle = link;
    }
    const uint64_t wanted = load->settings->n_requests;
    if (wanted && load->measure.phase == BENCH_MEASURES && load->measure.n_done >= wanted)
        measure_stop(&load->measure, now_ns);
}

/* --- sending ------------------------------------------------------------------------ */

static void send_request(struct bench_loop *load, struct bench_link *link, int64_t due_ns,
                         int64_t now_ns)
{
    const struct bench_message *message =
        &load->messages->items[load->n_begun % load->messages->n];
    struct bench_sample *sample = &load->net.sample;
    enum bench_error error;
    link->due_ns = due_ns;
    link->sent_ns = now_ns;
    if (load->n_begun++ % SAMPLE_EVERY == 0 && !sample->link) {
        sample->link = link;
        sample->size_bytes = 0;
        sample->is_short = false;
    }
    if (load->measure.phase == BENCH_MEASURES) {
        load->n_sent++;
        load->result->n_late += now_ns - due_ns > LATE_NS;
    }
    busy_add(load, link);
    if (bench_link_begin(&load->net, link, message, &error) == BENCH_FAILED)
        finish_request(load, link, BENCH_FAILED, error, now_ns);
}

/* Drops the backlog of the warm-up, so that it does not burden the measurement. */
static void skip_warm_up(struct bench_loop *load)
{
    while (load->schedule.next_ns < load->measure.start_ns)
        schedule_step(&load->schedule);
}

/* Sends what is due, as long as there are connections for it. */
static void launch(struct bench_loop *load, int64_t now_ns)
{
    while (may_send(load) && has_free_link(load)) {
        int64_t due_ns = now_ns;
        if (is_open_loop(load)) {
            skip_warm_up(load);
            due_ns = load->schedule.next_ns;
            if (due_ns > now_ns)
                return;
            schedule_step(&load->schedule);
        }
        send_request(load, take_free_link(load), due_ns, now_ns);
    }
}

/* Connections that failed try again. */
static void wake_resting(struct bench_loop *load, int64_t now_ns)
{
    if (load->n_resting == 0 || now_ns < load->rest_until_ns)
        return;
    load->n_resting = 0;
    for (uint32_t i = 0; i < load->n_links; i++) {
        struct bench_link *link = &load->links[i];
        if (!link->is_resting)
            continue;
        link->is_resting = false;
        link->after = load->idle;
        load->idle = link;
    }
}

static void expire(struct bench_loop *load, int64_t now_ns)
{
    const int64_t timeout_ns = load->settings->timeout_ns;
    while (timeout_ns && load->first && now_ns >= load->first->sent_ns + timeout_ns) {
        bench_link_close(load->first);
        finish_request(load, load->first, BENCH_FAILED, BENCH_TIMEOUT, now_ns);
    }
}

/* --- the loop ----------------------------------------------------------------------- */

static void earlier(int64_t *time_ns, int64_t other_ns)
{
    if (other_ns < *time_ns)
        *time_ns = other_ns;
}

/* Sets the timer to the next thing that is due, unless it will wake us before. */
static void arm_timer(struct bench_loop *load, int64_t now_ns)
{
    int64_t wake_ns = load->measure.change_ns;
    if (is_open_loop(load) && may_send(load) && has_free_link(load))
        earlier(&wake_ns, load->schedule.next_ns);
    if (load->settings->timeout_ns && load->first)
        earlier(&wake_ns, load->first->sent_ns + load->settings->timeout_ns);
    if (load->n_resting)
        earlier(&wake_ns, load->rest_until_ns);
    if (load->armed_ns > now_ns && load->armed_ns <= wake_ns)
        return;
    const struct itimerspec when = {
        .it_value = {.tv_sec = wake_ns / CLOCK_S, .tv_nsec = wake_ns % CLOCK_S}};
    load->armed_ns = wake_ns;
    (void)timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Waits, and handles what can proceed. */
static void turn(struct bench_loop *load)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    const int n = epoll_wait(load->net.epoll, events, EVENTS_AT_ONCE, -1);
    for (int i = 0; i < n; i++) {
        struct bench_link *link = events[i].data.ptr;
        enum bench_error error = BENCH_RESET;
        if (!link) /* the timer */
            continue;
        const enum bench_step step =
            bench_link_turn(&load->net, link, events[i].events, &error);
        if (step == BENCH_WAITS)
            continue;
        const int64_t now_ns = clock_now_ns();
        finish_request(load, link, step, error, now_ns);
        launch(load, now_ns);
    }
}

/* At the end: requests that were due and could not be sent never will be. */
static void send_last(struct bench_loop *load, int64_t now_ns)
{
    uint64_t n = 0;
    launch(load, now_ns);
    load->is_all_sent = true;
    if (!is_open_loop(load) || load->settings->n_requests)
        return;
    skip_warm_up(load);
    for (; load->schedule.next_ns < load->measure.end_ns; n++)
        schedule_step(&load->schedule);
    measure_errors(&load->measure, BENCH_UNSENT, 0, n);
}

static void run_loop(struct bench_loop *load)
{
    int64_t now_ns = clock_now_ns();
    measure_begin(&load->measure, now_ns);
    measure_advance(&load->measure, now_ns);
    if (is_open_loop(load))
        schedule_init(&load->schedule, now_ns, load->settings->rate_per_s,
                      load->settings->is_poisson, load->settings->seed);
    while (load->measure.phase != BENCH_OVER && !load->is_refused && !is_interrupted) {
        launch(load, now_ns);
        arm_timer(load, now_ns);
        turn(load);
        now_ns = clock_now_ns();
        measure_advance(&load->measure, now_ns);
        expire(load, now_ns);
        wake_resting(load, now_ns);
        if (load->measure.phase == BENCH_DRAINS && !load->is_all_sent)
            send_last(load, now_ns);
        if (load->measure.phase == BENCH_DRAINS && load->n_in_flight == 0)
            break;
    }
    if (is_interrupted && load->measure.phase == BENCH_MEASURES)
        measure_stop(&load->measure, now_ns);
    else if (load->measure.phase == BENCH_OVER) /* awaited in vain */
        load->measure.phase = BENCH_DRAINS,
        measure_errors(&load->measure, BENCH_TIMEOUT, 0, load->n_in_flight);
    load->result->is_interrupted = is_interrupted;
}

void bench_loop_run(struct bench_loop *load)
{
    const struct sigaction action = {.sa_handler = interrupt,
                                     .sa_flags = (int)SA_RESETHAND};
    struct sigaction before;
    (void)sigaction(SIGINT, &action, &before);
    run_loop(load);
    (void)sigaction(SIGINT, &before, NULL);
}
