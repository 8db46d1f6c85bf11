/* Looks after the children that cannot be used: waits for those that ran past a deadline
 * and kills them when they hang, restarts those that ended, and notices when an idle one
 * ends. It starts all processes, since the kernel kills a child (PR_SET_PDEATHSIG) along
 * with the thread that started it. */
#include "engine/isolate_child.h"

#include "base/clock.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define FIRST_BACKOFF_NS (100 * CLOCK_MS)
#define MOST_BACKOFF_NS (10 * CLOCK_S)
#define GOOD_SERVICE_NS (60 * CLOCK_S)

/* Records read from one child before the others get a turn. */
enum { MOST_RECORDS = 64 };

/* At the end, for engines to close their models. */
#define CLOSE_NS CLOCK_S

enum { CLOSE_PAUSE_MS = 5 };

void supervisor_wake(const struct isolate *isolate)
{
    (void)eventfd_write(isolate->supervisor_fd, 1);
}

/* The first restart comes at once: a single crash costs no more than that. Called with
 * the lock held. */
static void schedule(struct child *child)
{
    const int64_t now = clock_now_ns();
    if (child->ready_ns && now - child->ready_ns > GOOD_SERVICE_NS)
        child->backoff_ns = 0;
    child->start_ns = now + child->backoff_ns;
    child->backoff_ns *= 2;
    if (!child->backoff_ns)
        child->backoff_ns = FIRST_BACKOFF_NS;
    else if (child->backoff_ns > MOST_BACKOFF_NS)
        child->backoff_ns = MOST_BACKOFF_NS;
}

void supervisor_take(struct child *child)
{
    struct isolate *isolate = child->isolate;
    pthread_mutex_lock(&isolate->lock);
    if (child->is_late) {
        child->kill_ns = clock_now_ns() + isolate->hang_ns;
        child->has_more = true; /* possibly */
    } else {
        schedule(child);
        isolate->failure = child->ended;
    }
    child->state = child->is_late ? ISOLATE_LATE : ISOLATE_BACKOFF;
    child->is_supervised = true;
    pthread_mutex_unlock(&isolate->lock);
    supervisor_wake(isolate);
}

static void set_state(struct child *child, enum isolate_state state)
{
    pthread_mutex_lock(&child->isolate->lock);
    child->state = state;
    pthread_mutex_unlock(&child->isolate->lock);
}

/* Called with the lock held. */
static bool all_are(const struct isolate *isolate, enum isolate_state state)
{
    for (uint32_t i = 0; i < isolate->n_children; i++)
        if (isolate->children[i].state != state)
            return false;
    return true;
}

static void tell_news(const struct isolate *isolate)
{
    if (isolate->tell)
        isolate->tell(isolate->tell_context);
}

/* Hands the child over to the server. */
static void hand_over(struct child *child)
{
    struct isolate *isolate = child->isolate;
    pthread_mutex_lock(&isolate->lock);
    child->state = ISOLATE_READY;
    child->is_supervised = false;
    child->is_lost_news = false;
    /* before that all slots belong to the server */
    child->is_usable_news = isolate->is_open;
    if (!isolate->is_open && all_are(isolate, ISOLATE_READY)) {
        isolate->is_open = true;
        pthread_cond_signal(&isolate->changed);
    }
    pthread_mutex_unlock(&isolate->lock);
    tell_news(isolate);
}

/* It could not start; *err says why. */
static void start_failed(struct child *child, const struct gp_error *err)
{
    struct isolate *isolate = child->isolate;
    pthread_mutex_lock(&isolate->lock);
    schedule(child);
    child->state = ISOLATE_BACKOFF;
    isolate->failure = *err;
    isolate->has_failed = true;
    isolate->is_down_news = all_are(isolate, ISOLATE_BACKOFF);
    pthread_cond_signal(&isolate->changed);
    const bool is_open = isolate->is_open;
    if (!is_open)
        child->start_ns = INT64_MAX; /* the server does not start */
    pthread_mutex_unlock(&isolate->lock);
    if (is_open)
        isolate_log(isolate, GP_LOG_ERROR, "slot %u does not start again: %s",
                    child->slot, err->message);
    tell_news(isolate);
}

static void start_child(struct child *child)
{
    struct gp_error err;
    set_state(child, ISOLATE_STARTING);
    child->was_lost = child->has_more = false;
    if (child->ready_ns) {
        pthread_mutex_lock(&child->isolate->lock);
        child->isolate->counts.n_restarts++;
        pthread_mutex_unlock(&child->isolate->lock);
    }
    if (!spawn_child(child, &err))
        start_failed(child, &err);
}

/* OPENED: the first one describes the model. */
static bool take_opened(struct isolate *isolate, struct record *record)
{
    struct gp_description *d = &isolate->description;
    if (d->n_slots)
        return true;
    if (!record_keep(record, isolate->arena))
        return false;
    isolate->engine.name = record_text(record);
    isolate->engine.version = record_text(record);
    if (!record_description(record, isolate->arena, d))
        return false;
    /* A child always runs on its one thread. */
    d->flags &= ~(uint32_t)GP_SLOT_THREAD;
    d->n_slots = isolate->n_children;
    return true;
}

/* The result of a record. */
enum heard {
    HEARD_MORE_TO_COME,
    HEARD_READY,   /* the child can run */
    HEARD_NONSENSE /* it is of no use any more */
};

/* Handles a record of a child that is opening its model. */
static enum heard hear_starting(struct child *child, struct record *record,
                                struct gp_error *err)
{
    switch (record->type) {
    case RECORD_LOG:
        isolate_pass_log(child->isolate, record);
        return HEARD_MORE_TO_COME;
    case RECORD_OPENED:
        if (!child->n_unsent && take_opened(child->isolate, record))
            return HEARD_READY;
        break;
    case RECORD_FAILED:
        (void)record_failure(record, err);
        return HEARD_NONSENSE;
    default:
        break;
    }
    gp_error_set(err, GP_ENGINE, "the process of slot %u describes no model",
                 child->slot);
    return HEARD_NONSENSE;
}

/* Handles a record that nobody waits for. */
static enum heard hear_late(struct child *child, struct record *record)
{
    if (record->type == RECORD_LOG) {
        isolate_pass_log(child->isolate, record);
        return HEARD_MORE_TO_COME;
    }
    if (record->id != child->run_id || child->n_unsent)
        return HEARD_NONSENSE;
    switch (record->type) {
    case RECORD_ALLOC:
        record_begin(&child->out, RECORD_FAILED, child->run_id);
        record_put_u32(&child->out, GP_CANCELLED);
        record_put_text(&child->out, "the run is over");
        return record_end(&child->out) && isolate_send(child) ? HEARD_MORE_TO_COME
                                                              : HEARD_NONSENSE;
    case RECORD_DONE:
    case RECORD_FAILED:
        return HEARD_READY;
    default:
        return HEARD_NONSENSE;
    }
}

static void end_late(struct child *child, enum isolate_end end)
{
    spawn_reap(child, end);
    supervisor_take(child);
}

/* With its own error if it has said why it cannot open the model. */
static void end_starting(struct child *child, struct gp_error *err)
{
    const struct isolate *isolate = child->isolate;
    const char *path = isolate->model_path ? isolate->model_path : "";
    if (err->message[0]) {
        spawn_discard(child);
    } else {
        spawn_reap(child, ISOLATE_EXIT);
        gp_error_set(err, GP_UNAVAILABLE,
                     "the process of slot %u ended (%s) when %s opened the model%s%s",
                     child->slot, child->ended.message,
                     isolate->script ? isolate->worker : "it", *path ? " " : "", path);
    }
    start_failed(child, err);
}

static void note_opened(struct child *child)
{
    const struct isolate *isolate = child->isolate;
    if (child->ready_ns && isolate->reopened)
        isolate->reopened(isolate->tell_context);
    child->ready_ns = clock_now_ns();
}

/* Reads what has come from a supervised child, until it belongs to the server again; only
 * a part if it sends very much, for the sake of the others. */
static void hear_child(struct child *child)
{
    struct record record;
    struct gp_error err = {.message = ""};
    enum heard heard = HEARD_MORE_TO_COME;
    enum record_got got = RECORD_NONE;
    const bool is_starting = child->state == ISOLATE_STARTING;
    int n = 0;
    const bool is_there = isolate_send_rest(child);
    while (heard == HEARD_MORE_TO_COME && n++ < MOST_RECORDS &&
           (got = record_receive(&child->link, &record)) == RECORD_WHOLE)
        heard =
            is_starting ? hear_starting(child, &record, &err) : hear_late(child, &record);
    child->has_more = heard == HEARD_MORE_TO_COME && got == RECORD_WHOLE;
    if (heard == HEARD_READY) {
        if (is_starting)
            note_opened(child);
        child->is_late = false;
        isolate_give_buffers(child);
        hand_over(child);
    } else if (heard == HEARD_NONSENSE || got == RECORD_ENDED || got == RECORD_NONSENSE ||
               !is_there) {
        if (is_starting)
            end_starting(child, &err);
        else
            end_late(child,
                     got == RECORD_ENDED || !is_there ? ISOLATE_EXIT : ISOLATE_PROTOCOL);
    }
}

/* What to poll for at this child, and until when at most. */
static struct pollfd watch_child(struct child *child, int64_t *until_ns)
{
    struct pollfd look = {.fd = -1};
    int64_t at_ns = INT64_MAX;
    if (!child->is_supervised) {
        look.fd = child->was_lost ? -1 : child->link.fd; /* for POLLHUP only */
    } else if (child->state == ISOLATE_BACKOFF) {
        at_ns = child->start_ns;
    } else {
        look.fd = child->link.fd;
        look.events = child->n_unsent ? POLLIN | POLLOUT : POLLIN;
        at_ns = child->has_more                ? 0
                : child->state == ISOLATE_LATE ? child->kill_ns
                                               : INT64_MAX;
    }
    if (at_ns < *until_ns)
        *until_ns = at_ns;
    return look;
}

static void tell_lost(struct child *child)
{
    child->was_lost = true;
    pthread_mutex_lock(&child->isolate->lock);
    child->is_lost_news = true;
    pthread_mutex_unlock(&child->isolate->lock);
    tell_news(child->isolate);
}

/* Handles what came from a child, or is due. */
static void attend(struct child *child, const struct pollfd *seen, bool was_supervised,
                   int64_t now)
{
    if (!was_supervised) {
        if (seen->revents & (POLLHUP | POLLERR))
            tell_lost(child);
    } else if (child->state == ISOLATE_BACKOFF) {
        if (now >= child->start_ns)
            start_child(child);
    } else if (child->state == ISOLATE_LATE && now >= child->kill_ns) {
        end_late(child, ISOLATE_HANG);
    } else if (seen->revents || child->has_more) {
        hear_child(child);
    }
}

static int until_ms(int64_t until_ns)
{
    if (until_ns == INT64_MAX)
        return -1;
    const int64_t left = (until_ns - clock_now_ns() + CLOCK_MS - 1) / CLOCK_MS;
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void watch_outputs(struct isolate *isolate, struct pollfd *set, int64_t *until_ns)
{
    for (uint32_t i = 0; i < isolate->n_children; i++) {
        struct child *child = &isolate->children[i];
        const int64_t due_ns = output_due_ns(child);
        set[i] = (struct pollfd){.fd = child->output.fd, .events = POLLIN};
        if (due_ns < *until_ns)
            *until_ns = due_ns;
    }
}

/* False at the end. */
static bool poll_children(struct isolate *isolate, struct pollfd *set,
                          bool *was_supervised)
{
    const uint32_t n = isolate->n_children;
    int64_t until_ns = INT64_MAX;
    eventfd_t count;
    pthread_mutex_lock(&isolate->lock);
    const bool is_ending = isolate->is_ending;
    for (uint32_t i = 0; i < n; i++) {
        was_supervised[i] = isolate->children[i].is_supervised;
        set[i] = watch_child(&isolate->children[i], &until_ns);
    }
    pthread_mutex_unlock(&isolate->lock);
    if (is_ending)
        return false;
    set[n] = (struct pollfd){.fd = isolate->supervisor_fd, .events = POLLIN};
    watch_outputs(isolate, set + n + 1, &until_ns);
    if (poll(set, 2 * n + 1, until_ms(until_ns)) < 0)
        return true;
    if (set[n].revents)
        (void)eventfd_read(isolate->supervisor_fd, &count);
    for (uint32_t i = 0; i < n; i++)
        if (set[n + 1 + i].revents)
            output_read(&isolate->children[i]);
    const int64_t now = clock_now_ns();
    for (uint32_t i = 0; i < n; i++)
        attend(&isolate->children[i], &set[i], was_supervised[i], now);
    return true;
}

/* Takes note of those that have exited. */
static bool has_children_left(struct isolate *isolate)
{
    bool is_left = false;
    for (uint32_t i = 0; i < isolate->n_children; i++) {
        struct child *child = &isolate->children[i];
        output_read(child);
        if (child->pid && waitpid(child->pid, NULL, WNOHANG) != 0)
            child->pid = 0;
        is_left = is_left || child->pid;
    }
    return is_left;
}

/* Idle ones see the end of their socket, close the model and exit. */
static void end_all(struct isolate *isolate)
{
    for (uint32_t i = 0; i < isolate->n_children; i++) {
        struct child *child = &isolate->children[i];
        if (child->pid && (child->is_late || child->state == ISOLATE_STARTING))
            spawn_kill(child);
        else if (child->pid)
            shutdown(child->link.fd, SHUT_WR);
    }
    const int64_t end_ns = clock_now_ns() + CLOSE_NS;
    while (has_children_left(isolate) && clock_now_ns() < end_ns)
        poll(NULL, 0, CLOSE_PAUSE_MS);
    for (uint32_t i = 0; i < isolate->n_children; i++) {
        struct child *child = &isolate->children[i];
        if (child->pid)
            spawn_reap(child, ISOLATE_HANG);
        isolate_give_buffers(child);
    }
}

void *supervisor_main(void *arg)
{
    struct isolate *isolate = arg;
    while (poll_children(isolate, isolate->looks, isolate->was_supervised))
        ;
    end_all(isolate);
    return NULL;
}
