#include "base/parallel.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MOST_THREADS = 64 };

struct job {
    void (*work)(void *context, size_t i);
    void *context;
    size_t n;
    atomic_size_t next;
};

static void *job_main(void *arg)
{
    struct job *job = arg;
    for (size_t i; (i = atomic_fetch_add(&job->next, 1)) < job->n;)
        job->work(job->context, i);
    return NULL;
}

void parallel_each(unsigned n_threads, size_t n, void (*work)(void *context, size_t i),
                   void *context)
{
    struct job job = {.work = work, .context = context, .n = n};
    pthread_t threads[MOST_THREADS];
    unsigned n_made = 0;
    while (n_made < MOST_THREADS && n_made + 1 < n_threads && n_made + 1 < n &&
           pthread_create(&threads[n_made], NULL, job_main, &job) == 0)
        n_made++;
    job_main(&job);
    while (n_made)
        pthread_join(threads[--n_made], NULL);
}
