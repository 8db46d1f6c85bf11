#include "still_poller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>

#include <cmocka.h>

static void add_worker(struct poller *poller)
{
    struct worker *worker = worker_create(poller);
    assert_non_null(worker);
    worker->polls = true;
    worker->next = poller->workers;
    poller->workers = worker;
    poller->n_workers++;
}

static struct worker *other_worker(const struct poller *poller)
{
    return poller->workers->next;
}

static void park_other(struct poller *poller)
{
    other_worker(poller)->is_parked = true;
    other_worker(poller)->next_parked = NULL;
    poller->parked = other_worker(poller);
}

void still_begin(struct poller *poller)
{
    *poller = (struct poller){0};
    assert_int_equal(poller_init(poller, NULL, 1, NULL), GP_OK);
    still_join(poller);
}

void still_join(struct poller *poller)
{
    add_worker(poller);
    add_worker(poller);
    atomic_store(&poller->n_awake, 1);
    atomic_store(&poller->n_polling, 1);
    park_other(poller);
}

void still_end(struct poller *poller)
{
    assert_int_equal(still_serve(poller), 0);
    assert_null(poller->ready_tasks);
    assert_int_equal(atomic_load(&poller->n_ready), 0);
    poller_finish(poller);
}

struct worker *still_worker(struct poller *poller)
{
    return poller->workers;
}

bool still_has_woken(struct poller *poller)
{
    if (other_worker(poller)->is_parked)
        return false;
    atomic_fetch_sub(&poller->n_awake, 1);
    atomic_fetch_sub(&poller->n_polling, 1);
    park_other(poller);
    return true;
}

bool still_serve_one(struct poller *poller)
{
    struct epoll_event event;
    if (epoll_wait(poller->epoll_fd, &event, 1, 0) != 1)
        return false;
    struct source *source = event.data.ptr;
    assert_non_null(source);
    source->serve(still_worker(poller), source);
    return true;
}

unsigned still_serve(struct poller *poller)
{
    struct worker *worker = still_worker(poller);
    unsigned n = 0;
    do {
        worker_take_postponed(worker);
        worker_carry_tasks(worker);
        for (; still_serve_one(poller); n++)
            worker_carry_tasks(worker);
    } while (worker->postponed);
    return n;
}
