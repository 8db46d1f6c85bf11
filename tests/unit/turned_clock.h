/* A clock that the test turns. Unit tests are linked with --wrap=clock_now_ns: it is the real one
 * until a test sets it, and stands still from then on. Any thread. */
#ifndef GP_TESTS_TURNED_CLOCK_H
#define GP_TESTS_TURNED_CLOCK_H

#include "base/clock.h"

/* From now on it is now_ns, above 0, until it is turned. */
void turned_clock_set(int64_t now_ns);

void turned_clock_add(int64_t ns);

/* It goes on by this much whenever somebody looks, for what waits in a loop until it is late. */
void turned_clock_add_at_each_look(int64_t ns);

/* The real one again. */
void turned_clock_end(void);

/* What the linker puts in the place of the two. */
int64_t __real_clock_now_ns(void);
int64_t __wrap_clock_now_ns(void);

#endif
