/* Makes calls fail: the n-th of a kind, or from the n-th on, or every second one. The linker puts
 * the functions of fault.c before those of base/mem.h, the arena's and the system's (--wrap in
 * tests.cmake), so the product has no hook for it. Every block that comes from them is counted,
 * so that a test sees in any build what was not given back. */
#ifndef GP_TESTS_FAULT_H
#define GP_TESTS_FAULT_H

#include <graphpipe/status.h>

#include <stdbool.h>
#include <stddef.h>

/* Kinds of calls, to be ored. */
enum {
    FAULT_MEM = 1 << 0, /* base/mem.h */
    FAULT_ARENA = 1 << 1,
    FAULT_ALIGNED_ALLOC = 1 << 2,
    FAULT_MMAP = 1 << 3,
    FAULT_POPULATE = 1 << 23, /* madvise that puts pages in place */
    FAULT_MEMORY =
        FAULT_MEM | FAULT_ARENA | FAULT_ALIGNED_ALLOC | FAULT_MMAP | FAULT_POPULATE,
    FAULT_READV = 1 << 4,
    FAULT_RECV = 1 << 5,
    FAULT_SENDMSG = 1 << 6,
    FAULT_ACCEPT4 = 1 << 7,
    FAULT_EPOLL_ADD = 1 << 8,
    FAULT_EPOLL_MOD = 1 << 9,
    FAULT_EPOLL_WAIT = 1 << 10,
    FAULT_EPOLL_CREATE1 = 1 << 11,
    FAULT_EVENTFD = 1 << 12,
    FAULT_TIMERFD_CREATE = 1 << 13,
    FAULT_SOCKET = 1 << 14,
    FAULT_BIND = 1 << 15,
    FAULT_LISTEN = 1 << 16,
    FAULT_CONNECT = 1 << 17,
    FAULT_POLL = 1 << 18,
    FAULT_OPEN = 1 << 19,
    FAULT_READ = 1 << 20,
    FAULT_WRITE = 1 << 21,
    FAULT_PTHREAD_CREATE = 1 << 22,
    FAULT_MEMFD_CREATE = 1 << 24,
    FAULT_INOTIFY_INIT = 1 << 25,
    FAULT_INOTIFY_ADD = 1 << 26
};

struct fault {
    unsigned calls; /* which kinds */
    bool
        is_elsewhere; /* on all threads but the one that begins it; else on that one alone */
    unsigned from;    /* so many go well first */
    unsigned n;       /* so many are hit then; 0: all */
    unsigned every;    /* 2: of those every second one */
    unsigned pause_ms; /* before it fails, for other threads to go on */
    int error;         /* errno; 0: the call goes well, but moves only ... */
    size_t most_bytes; /* ... so many bytes; 0: half of what it could */
};

/* One at a time. */
void fault_begin(const struct fault *fault);

/* How many calls were hit since it began. */
unsigned fault_n_hit(void);

/* From now on all goes well; how many calls were hit. */
unsigned fault_end(void);

/* How many calls were hit since the program began. */
unsigned fault_n_hits(void);

/* Blocks and mappings that were not given back: all, and what this thread took less what it
 * gave. */
long fault_n_live(void);
long fault_n_live_here(void);

/* Open descriptors of this process; and fails the test unless they become so many soon: a server
 * closes its side when it sees that the client has. */
unsigned fault_n_descriptors(void);
void fault_check_descriptors(unsigned n_wanted);

/* Runs a scenario with the first of the calls failing, then the second and so on, until none
 * fails; and again with all calls failing from that one on. A call that fails has to come out
 * as GP_NO_MEMORY with a message, nothing may be left, and without a failure it has to be GP_OK.
 * Returns how many calls there are; none fails the test. */
typedef enum gp_status fault_scenario(void *arg, struct gp_error *err);
unsigned fault_each_allocation(fault_scenario *scenario, void *arg);

#endif
