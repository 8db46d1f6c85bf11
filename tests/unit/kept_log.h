/* A log without a thread: its lines stay, for the test to read. */
#ifndef GP_TESTS_KEPT_LOG_H
#define GP_TESTS_KEPT_LOG_H

#include "base/log.h"

/* With all lines but those for debugging. */
void kept_log_begin(struct log *log);
void kept_log_end(struct log *log);

/* These lines, without the time before a warning or an error, have come since the last time. A "*"
 * stands for anything. */
void assert_logged(struct log *log, const char *wanted);

/* Whether one of them has this in it. */
bool kept_log_has(struct log *log, const char *text);

#endif
