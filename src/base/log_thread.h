/* base/log_thread.h - the log's buffer, between log.c and the thread that writes. */
#ifndef GP_BASE_LOG_THREAD_H
#define GP_BASE_LOG_THREAD_H

#include "base/log.h"

/* Adds whole lines; if there is no room, they are counted as lost. */
void log_add(struct log *log, const struct text *lines);

#endif
