/* What is seen is kept in a list, and looked through when all threads have come to rest. */
#include "copies.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Pointers and offsets may have a byte like MARK; so many in a row are a tensor's. */
enum { SHORTEST_RUN = 4, MOST_MOVES = 1 << 16, PAGE_BYTES = 4096 };

struct seen {
    enum side side;
    enum move move;
    const unsigned char *from; /* behind the last MARK; NULL: the kernel */
    const unsigned char *to;
    size_t n;
    void *caller;
};

static struct seen seen[MOST_MOVES];
static atomic_size_t n_seen;
static _Thread_local enum side my_side;

static struct range pool;
static size_t guarded_bytes;
static atomic_size_t n_landed; /* in the pool, from elsewhere */
static _Atomic(const unsigned char *) landed_end;
static atomic_uintptr_t guard_from, guard_end;
static atomic_bool was_touched;

/* --- what was seen -------------------------------------------------------------------- */

bool range_has(const struct range *range, const void *byte)
{
    return (uintptr_t)byte - (uintptr_t)range->at < range->size;
}

/* MARKs in long runs, or alone; *end is behind the last one. */
static size_t count_marks(const unsigned char *bytes, size_t size, size_t *end)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        const unsigned char *first = memchr(bytes + i, MARK, size - i);
        if (!first)
            break;
        const size_t from = (size_t)(first - bytes);
        for (i = from; i < size && bytes[i] == MARK; i++)
            ;
        if (i - from < SHORTEST_RUN && i - from < size)
            continue;
        n += i - from;
        *end = i;
    }
    return n;
}

size_t copies_marks(const void *bytes, size_t size)
{
    size_t end;
    return count_marks(bytes, size, &end);
}

static bool is_in_pool(const unsigned char *end)
{
    return end && range_has(&pool, end - 1);
}

static void note(enum move move, const unsigned char *from, const unsigned char *to,
                 size_t size, void *caller)
{
    size_t end = 0;
    const size_t n = count_marks(to ? to : from, size, &end);
    if (!n)
        return;
    from = from ? from + end : NULL;
    to = to ? to + end : NULL;
    const size_t at = atomic_fetch_add(&n_seen, 1);
    if (at >= MOST_MOVES)
        abort();
    seen[at] = (struct seen){my_side, move, from, to, n, caller};
    if (my_side == CLIENT || !is_in_pool(to))
        return;
    atomic_store(&landed_end, to);
    if (!is_in_pool(from) &&
        atomic_fetch_add(&n_landed, n) + n == guarded_bytes) /* all of it is here */
        copies_guard((struct range){to - guarded_bytes, guarded_bytes});
}

void copies_begin(struct range bodies, size_t n_guarded)
{
    my_side = CLIENT;
    copies_open();
    pool = bodies;
    guarded_bytes = n_guarded;
    atomic_store(&n_landed, 0);
    atomic_store(&landed_end, NULL);
    atomic_store(&was_touched, false);
    atomic_store(&n_seen, 0);
}

static bool is_within(const struct range *range, const unsigned char *end)
{
    return !range || (end && range_has(range, end - 1));
}

size_t copies_sum(enum side side, enum move move, const struct range *from,
                  const struct range *to)
{
    size_t sum = 0;
    for (size_t i = 0; i < atomic_load(&n_seen); i++)
        if (seen[i].side == side && seen[i].move == move &&
            is_within(from, seen[i].from) && is_within(to, seen[i].to))
            sum += seen[i].n;
    return sum;
}

const unsigned char *copies_end(void)
{
    return atomic_load(&landed_end);
}

bool copies_has_landed(const void *end)
{
    for (size_t i = 0; i < atomic_load(&n_seen); i++)
        if (seen[i].side == SERVER && seen[i].to == end)
            return is_in_pool(end);
    return false;
}

/* The same way from the same place. */
static bool is_alike(const struct seen *a, const struct seen *b)
{
    return a->side == b->side && a->move == b->move && a->caller == b->caller &&
           is_in_pool(a->from) == is_in_pool(b->from) &&
           is_in_pool(a->to) == is_in_pool(b->to);
}

void copies_print(enum side side)
{
    static const char *const names[] = {"received", "copied", "sent"};
    const size_t n = atomic_load(&n_seen);
    for (size_t i = 0; i < n; i++) {
        const struct seen *s = &seen[i];
        size_t first = 0, times = 0, sum = 0;
        while (!is_alike(&seen[first], s))
            first++;
        if (first < i || s->side != side)
            continue;
        for (size_t j = i; j < n; j++)
            if (is_alike(&seen[j], s)) {
                times++;
                sum += seen[j].n;
            }
        (void)fprintf(stderr, "%s %zu times, %zu bytes%s%s\n", names[s->move], times, sum,
                      is_in_pool(s->from) ? " from the pool" : "",
                      is_in_pool(s->to) ? " to the pool" : "");
        if (s->caller)
            backtrace_symbols_fd(&seen[i].caller, 1, STDERR_FILENO);
    }
}

/* --- pages that may not be touched ---------------------------------------------------- */

/* The address is the guard's, or the program is broken. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    const uintptr_t at = (uintptr_t)info->si_addr;
    (void)context;
    if (at < atomic_load(&guard_from) || at >= atomic_load(&guard_end)) {
        (void)signal(number, SIG_DFL);
        return;
    }
    atomic_store(&was_touched, true);
    copies_open();
}

void copies_guard(struct range tensor)
{
    const uintptr_t begin = (uintptr_t)tensor.at;
    const uintptr_t from = (begin + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    const uintptr_t end = (begin + tensor.size) / PAGE_BYTES * PAGE_BYTES;
    const struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    if (from >= end)
        return;
    sigaction(SIGSEGV, &action, NULL);
    atomic_store(&guard_from, from);
    atomic_store(&guard_end, end);
    if (mprotect((void *)from, end - from, PROT_NONE) != 0)
        abort();
}

void copies_open(void)
{
    const uintptr_t from = atomic_load(&guard_from);
    const uintptr_t end = atomic_load(&guard_end);
    if (from < end && mprotect((void *)from, end - from, PROT_READ | PROT_WRITE) != 0)
        abort();
    atomic_store(&guard_end, 0);
}

bool copies_was_touched(void)
{
    return atomic_load(&was_touched);
}

/* --- the calls ------------------------------------------------------------------------ */

static void *(*libc_memmove)(void *, const void *, size_t);

__attribute__((constructor)) static void find_libc(void)
{
    *(void **)&libc_memmove = dlsym(RTLD_NEXT, "memmove");
}

static void *move(void *to, const void *from, size_t size, void *caller)
{
    if (libc_memmove)
        libc_memmove(to, from, size);
    else /* while the program is being loaded */
        for (size_t i = 0; i < size; i++)
            ((volatile char *)to)[i] = ((const char *)from)[i];
    if (size >= SHORTEST_RUN)
        note(COPIED, from, to, size, caller);
    return to;
}

void *__memcpy_chk(void *to, const void *from, size_t size, size_t room);
void *__memmove_chk(void *to, const void *from, size_t size, size_t room);

#pragma GCC visibility push(default)

void *memcpy(void *to, const void *from, size_t size)
{
    return move(to, from, size, __builtin_return_address(0));
}

void *memmove(void *to, const void *from, size_t size)
{
    return move(to, from, size, __builtin_return_address(0));
}

void *mempcpy(void *to, const void *from, size_t size)
{
    return (char *)move(to, from, size, __builtin_return_address(0)) + size;
}

/* What -D_FORTIFY_SOURCE, some distributions' default, makes of them. */
void *__memcpy_chk(void *to, const void *from, size_t size, size_t room)
{
    return size <= room ? move(to, from, size, __builtin_return_address(0)) : NULL;
}

void *__memmove_chk(void *to, const void *from, size_t size, size_t room)
{
    return size <= room ? move(to, from, size, __builtin_return_address(0)) : NULL;
}

static void note_parts(enum move how, const struct iovec *parts, size_t n_parts,
                       ssize_t n_moved)
{
    size_t left = n_moved > 0 ? (size_t)n_moved : 0;
    for (size_t i = 0; i < n_parts && left; i++) {
        unsigned char *bytes = parts[i].iov_base;
        const size_t n = parts[i].iov_len < left ? parts[i].iov_len : left;
        note(how, how == SENT ? bytes : NULL, how == SENT ? NULL : bytes, n, NULL);
        left -= n;
    }
}

ssize_t readv(int fd, const struct iovec *parts, int n_parts)
{
    const ssize_t n = syscall(SYS_readv, fd, parts, n_parts);
    note_parts(RECEIVED, parts, (size_t)n_parts, n);
    return n;
}

ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
    const ssize_t n = syscall(SYS_recvfrom, fd, bytes, size, flags, NULL, NULL);
    const struct iovec part = {bytes, size};
    note_parts(RECEIVED, &part, flags & MSG_PEEK ? 0 : 1, n);
    return n;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (my_side == SERVER)
        copies_open(); /* for the kernel */
    const ssize_t n = syscall(SYS_sendmsg, fd, message, flags);
    note_parts(SENT, message->msg_iov, message->msg_iovlen, n);
    return n;
}

#pragma GCC visibility pop
