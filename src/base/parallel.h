/* base/parallel.h - independent work on several threads. */
#ifndef GP_BASE_PARALLEL_H
#define GP_BASE_PARALLEL_H

#include <stddef.h>

/* Calls work(context, i) once for each i below n, on at most n_threads threads, of which this
 * is one; returns when all calls have. Threads that cannot be made are done without. */
void parallel_each(unsigned n_threads, size_t n, void (*work)(void *context, size_t i),
                   void *context);

#endif
