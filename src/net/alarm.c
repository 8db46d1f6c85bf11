#include "net/alarm.h"

#include "base/clock.h"
#include "base/place.h"
#include "net/poller.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Called with the lock held: has the timer fire when the next alarm is due. */
static void arm_timer(struct poller *poller)
{
    int64_t due_ns = 0;
    for (const struct alarm *one = poller->alarms; one; one = one->next)
        if (one->due_ns && (!due_ns || one->due_ns < due_ns))
            due_ns = one->due_ns;
    const struct itimerspec spec = {
        .it_value = {(time_t)(due_ns / CLOCK_S), (long)(due_ns % CLOCK_S)}};
    timerfd_settime(poller->alarm.fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void ring_alarms(struct worker *worker, struct source *source)
{
    struct poller *poller = worker->poller;
    (void)source;
    pthread_mutex_lock(&poller->alarm_lock);
    const int64_t now = clock_now_ns();
    for (struct alarm *one = poller->alarms; one; one = one->next)
        if (one->due_ns && one->due_ns <= now)
            one->due_ns = one->ring(worker, one);
    arm_timer(poller);
    pthread_mutex_unlock(&poller->alarm_lock);
}

/* Called with the lock held. */
static bool make_timer(struct poller *poller)
{
    if (poller->alarm.serve)
        return true;
    poller->alarm.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (poller->alarm.fd < 0)
        return false;
    poller->alarm.serve = ring_alarms;
    if (poller_add(poller, &poller->alarm, EPOLLIN | EPOLLET))
        return true;
    poller->alarm.serve = NULL;
    close(poller->alarm.fd);
    return false;
}

enum gp_status alarm_add(struct poller *poller, struct alarm *alarm, struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    pthread_mutex_lock(&poller->alarm_lock);
    const bool is_made = make_timer(poller);
    const int error = errno;
    if (is_made) {
        alarm->next = poller->alarms;
        poller->alarms = alarm;
    }
    pthread_mutex_unlock(&poller->alarm_lock);
    return is_made ? GP_OK
                   : gp_error_set(err, GP_IO, "cannot make a timer: %s",
                                  place_explain(error, words));
}

void alarm_remove(struct poller *poller, struct alarm *alarm)
{
    pthread_mutex_lock(&poller->alarm_lock);
    struct alarm **at = &poller->alarms;
    while (*at && *at != alarm)
        at = &(*at)->next;
    if (*at)
        *at = alarm->next;
    pthread_mutex_unlock(&poller->alarm_lock);
}

void alarm_set(struct poller *poller, struct alarm *alarm, int64_t due_ns)
{
    pthread_mutex_lock(&poller->alarm_lock);
    if (!alarm->due_ns || due_ns < alarm->due_ns) {
        alarm->due_ns = due_ns;
        arm_timer(poller);
    }
    pthread_mutex_unlock(&poller->alarm_lock);
}
