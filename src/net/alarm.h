/* net/alarm.h - what a thread that polls does at a time.
 *
 * A poller has few alarms, and looks through them all. Any thread may set one; ringing, setting and
 * removing are one step each, so that an alarm which has been removed does not ring.
 */
#ifndef GP_NET_ALARM_H
#define GP_NET_ALARM_H

#include "net/task.h"

#include <graphpipe/status.h>

#include <stdint.h>

struct alarm {
    struct alarm *next;
    int64_t due_ns; /* 0: not set */
    /* On a thread that polls, with the poller's lock of alarms held: may take tasks, and sets no
     * alarm, but returns when this one is due again; 0: not. */
    int64_t (*ring)(struct worker *worker, struct alarm *alarm);
};

/* The first one makes the poller's timer. */
enum gp_status alarm_add(struct poller *poller, struct alarm *alarm,
                         struct gp_error *err);

/* One that was not added is allowed. */
void alarm_remove(struct poller *poller, struct alarm *alarm);

/* It rings at due_ns, or earlier if it was set so. */
void alarm_set(struct poller *poller, struct alarm *alarm, int64_t due_ns);

#endif
