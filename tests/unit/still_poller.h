/* A poller whose threads were never started: the test's own thread takes their place, one step at
 * a time. */
#ifndef GP_TESTS_STILL_POLLER_H
#define GP_TESTS_STILL_POLLER_H

#include "net/poller.h"

/* One core, whose thread polls, and another, which is parked. */
void still_begin(struct poller *poller);
void still_end(struct poller *poller);

/* The same for a poller that another has made, and will finish. */
void still_join(struct poller *poller);

/* The first of them, which the test is. */
struct worker *still_worker(struct poller *poller);

/* Whether the other has been woken since the last time, and parks it again. */
bool still_has_woken(struct poller *poller);

/* Serves the next event, whose tasks the worker then has; false: there is none. */
bool still_serve_one(struct poller *poller);

/* Carries the tasks that the worker has, serves what has come, and so on until there is nothing;
 * gives the number of events. */
unsigned still_serve(struct poller *poller);

#endif
