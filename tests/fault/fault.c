/* What is asked and counted is atomic and, but for the beginning, relaxed: a lock here would hide
 * the product's races from ThreadSanitizer. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

struct gp_arena;

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int __real_poll(struct pollfd *entries, nfds_t n, int timeout_ms);

enum { N_ALIGNED = 512 };

static struct {
    atomic_uint calls; /* 0: no fault; set last */
    atomic_bool is_elsewhere;
    atomic_uintptr_t owner;
    atomic_uint from, n, every, pause_ms;
    atomic_int error;
    atomic_size_t most_bytes;
    atomic_uint n_seen, n_hit, n_hits;
    atomic_long n_live;
    _Atomic(void *) aligned[N_ALIGNED]; /* free takes these and others */
    atomic_long n_aligned;
} fault;

static _Thread_local long n_live_here;

#define LOAD(what) atomic_load_explicit(&fault.what, memory_order_relaxed)
#define STORE(what, value) atomic_store_explicit(&fault.what, value, memory_order_relaxed)
#define ADD(what, value)                                                                 \
    atomic_fetch_add_explicit(&fault.what, value, memory_order_relaxed)

void fault_begin(const struct fault *wanted)
{
    STORE(is_elsewhere, wanted->is_elsewhere);
    STORE(owner, (uintptr_t)pthread_self());
    STORE(from, wanted->from);
    STORE(n, wanted->n);
    STORE(every, wanted->every);
    STORE(pause_ms, wanted->pause_ms);
    STORE(error, wanted->error);
    STORE(most_bytes, wanted->most_bytes);
    STORE(n_seen, 0);
    STORE(n_hit, 0);
    atomic_store_explicit(&fault.calls, wanted->calls, memory_order_release);
}

unsigned fault_n_hit(void)
{
    return LOAD(n_hit);
}

unsigned fault_end(void)
{
    STORE(calls, 0);
    const unsigned n_hit = atomic_exchange(&fault.n_hit, 0);
    ADD(n_hits, n_hit);
    return n_hit;
}

unsigned fault_n_hits(void)
{
    return LOAD(n_hits);
}

long fault_n_live(void)
{
    return LOAD(n_live);
}

long fault_n_live_here(void)
{
    return n_live_here;
}

/* Counts blocks taken (1) and given back (-1). */
static void add_live(int n)
{
    ADD(n_live, n);
    n_live_here += n;
}

/* True when this call, of one kind, is to be hit; errno is then set. */
static bool is_hit(unsigned kind)
{
    if (!(atomic_load_explicit(&fault.calls, memory_order_acquire) & kind))
        return false;
    const bool is_owner = LOAD(owner) == (uintptr_t)pthread_self();
    if (is_owner == LOAD(is_elsewhere))
        return false;
    const unsigned at = ADD(n_seen, 1), from = LOAD(from), n = LOAD(n),
                   every = LOAD(every);
    if (at < from || (n && at - from >= n) || (every && (at - from) % every))
        return false;
    ADD(n_hit, 1);
    if (LOAD(pause_ms))
        __real_poll(NULL, 0, (int)LOAD(pause_ms));
    errno = LOAD(error);
    return true;
}

/* True when the call is to fail; *most is what it may move. */
static bool fails(unsigned kind, int fd, size_t *most)
{
    if (!is_hit(kind))
        return false;
    const int error = LOAD(error);
    if (error == ECONNRESET || error == EPIPE)
        shutdown(fd, SHUT_RDWR); /* as it is then */
    errno = error;
    if (error)
        return true;
    const size_t wanted = LOAD(most_bytes) ? LOAD(most_bytes) : (*most + 1) / 2;
    if (*most > wanted)
        *most = wanted;
    return false;
}

#define REAL(type, name, ...)                                                            \
    type __real_##name(__VA_ARGS__);                                                     \
    type __wrap_##name(__VA_ARGS__);                                                     \
    type __wrap_##name(__VA_ARGS__)

/* --- memory --------------------------------------------------------------------------- */

static void *count(void *block)
{
    if (block)
        add_live(1);
    return block;
}

REAL(void *, mem_alloc, size_t size_bytes)
{
    return is_hit(FAULT_MEM) ? NULL : count(__real_mem_alloc(size_bytes));
}

REAL(void *, mem_zalloc, size_t size_bytes)
{
    return is_hit(FAULT_MEM) ? NULL : count(__real_mem_zalloc(size_bytes));
}

REAL(void *, mem_array, size_t n, size_t size_bytes)
{
    return is_hit(FAULT_MEM) ? NULL : count(__real_mem_array(n, size_bytes));
}

REAL(char *, mem_strdup, const char *text)
{
    return is_hit(FAULT_MEM) ? NULL : count(__real_mem_strdup(text));
}

REAL(void *, mem_resize, void *block, size_t size_bytes)
{
    if (is_hit(FAULT_MEM))
        return NULL;
    void *larger = __real_mem_resize(block, size_bytes);
    return block ? larger : count(larger);
}

REAL(void, mem_free, void *block)
{
    if (block)
        add_live(-1);
    __real_mem_free(block);
}

REAL(void *, gp_arena_alloc, struct gp_arena *arena, size_t size_bytes)
{
    return is_hit(FAULT_ARENA) ? NULL : __real_gp_arena_alloc(arena, size_bytes);
}

REAL(void *, aligned_alloc, size_t alignment, size_t size)
{
    void *block =
        is_hit(FAULT_ALIGNED_ALLOC) ? NULL : __real_aligned_alloc(alignment, size);
    for (int i = 0; block && i < N_ALIGNED; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&fault.aligned[i], &none, block,
                                                    memory_order_relaxed,
                                                    memory_order_relaxed)) {
            ADD(n_aligned, 1);
            return count(block);
        }
    }
    return block;
}

REAL(void, free, void *block)
{
    for (int i = 0; block && LOAD(n_aligned) > 0 && i < N_ALIGNED; i++)
        if (LOAD(aligned[i]) == block) {
            STORE(aligned[i], NULL);
            ADD(n_aligned, -1);
            add_live(-1);
            break;
        }
    __real_free(block);
}

REAL(void *, mmap, void *at, size_t size, int access, int flags, int fd, off_t offset)
{
    if (is_hit(FAULT_MMAP))
        return MAP_FAILED;
    void *map = __real_mmap(at, size, access, flags, fd, offset);
    if (map != MAP_FAILED)
        add_live(1);
    return map;
}

REAL(int, munmap, void *at, size_t size)
{
    add_live(-1);
    return __real_munmap(at, size);
}

/* Other advice may be left without a sign. */
REAL(int, madvise, void *at, size_t size, int advice)
{
    const bool is_needed = advice == MADV_POPULATE_WRITE;
    return is_needed && is_hit(FAULT_POPULATE) ? -1 : __real_madvise(at, size, advice);
}

REAL(int, memfd_create, const char *name, unsigned flags)
{
    return is_hit(FAULT_MEMFD_CREATE) ? -1 : __real_memfd_create(name, flags);
}

/* --- bytes ---------------------------------------------------------------------------- */

REAL(ssize_t, read, int fd, void *bytes, size_t size)
{
    return fails(FAULT_READ, fd, &size) ? -1 : __real_read(fd, bytes, size);
}

REAL(ssize_t, write, int fd, const void *bytes, size_t size)
{
    return fails(FAULT_WRITE, fd, &size) ? -1 : __real_write(fd, bytes, size);
}

REAL(ssize_t, recv, int fd, void *bytes, size_t size, int flags)
{
    return fails(FAULT_RECV, fd, &size) ? -1 : __real_recv(fd, bytes, size, flags);
}

/* The first so many bytes of the parts, in copies of them. */
enum { MOST_PARTS = 1024 };

static size_t cut_parts(const struct iovec *parts, size_t n_parts, size_t most,
                        struct iovec *cut)
{
    size_t n = 0;
    for (; n < n_parts && n < MOST_PARTS && most; n++) {
        cut[n] = parts[n];
        if (cut[n].iov_len > most)
            cut[n].iov_len = most;
        most -= cut[n].iov_len;
    }
    return n;
}

static size_t size_of(const struct iovec *parts, size_t n_parts)
{
    size_t size = 0;
    for (size_t i = 0; i < n_parts; i++)
        size += parts[i].iov_len;
    return size;
}

REAL(ssize_t, readv, int fd, const struct iovec *parts, int n_parts)
{
    struct iovec cut[MOST_PARTS];
    const size_t size = size_of(parts, (size_t)n_parts);
    size_t most = size;
    if (fails(FAULT_READV, fd, &most))
        return -1;
    if (most == size)
        return __real_readv(fd, parts, n_parts);
    return __real_readv(fd, cut, (int)cut_parts(parts, (size_t)n_parts, most, cut));
}

REAL(ssize_t, sendmsg, int fd, const struct msghdr *message, int flags)
{
    struct iovec cut[MOST_PARTS];
    const size_t size = size_of(message->msg_iov, message->msg_iovlen);
    size_t most = size;
    if (fails(FAULT_SENDMSG, fd, &most))
        return -1;
    if (most == size)
        return __real_sendmsg(fd, message, flags);
    struct msghdr less = *message;
    less.msg_iov = cut;
    less.msg_iovlen = cut_parts(message->msg_iov, message->msg_iovlen, most, cut);
    return __real_sendmsg(fd, &less, flags);
}

/* --- descriptors and threads ---------------------------------------------------------- */

REAL(int, accept4, int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    return is_hit(FAULT_ACCEPT4) ? -1 : __real_accept4(fd, address, size, flags);
}

REAL(int, epoll_ctl, int set, int operation, int fd, struct epoll_event *event)
{
    const unsigned kind = operation == EPOLL_CTL_ADD ? FAULT_EPOLL_ADD : FAULT_EPOLL_MOD;
    return is_hit(kind) ? -1 : __real_epoll_ctl(set, operation, fd, event);
}

REAL(int, epoll_wait, int set, struct epoll_event *events, int n_events, int timeout_ms)
{
    return is_hit(FAULT_EPOLL_WAIT)
               ? -1
               : __real_epoll_wait(set, events, n_events, timeout_ms);
}

REAL(int, epoll_create1, int flags)
{
    return is_hit(FAULT_EPOLL_CREATE1) ? -1 : __real_epoll_create1(flags);
}

REAL(int, eventfd, unsigned value, int flags)
{
    return is_hit(FAULT_EVENTFD) ? -1 : __real_eventfd(value, flags);
}

REAL(int, timerfd_create, int clock, int flags)
{
    return is_hit(FAULT_TIMERFD_CREATE) ? -1 : __real_timerfd_create(clock, flags);
}

REAL(int, socket, int domain, int type, int protocol)
{
    return is_hit(FAULT_SOCKET) ? -1 : __real_socket(domain, type, protocol);
}

REAL(int, bind, int fd, const struct sockaddr *address, socklen_t size)
{
    return is_hit(FAULT_BIND) ? -1 : __real_bind(fd, address, size);
}

REAL(int, listen, int fd, int backlog)
{
    return is_hit(FAULT_LISTEN) ? -1 : __real_listen(fd, backlog);
}

REAL(int, connect, int fd, const struct sockaddr *address, socklen_t size)
{
    return is_hit(FAULT_CONNECT) ? -1 : __real_connect(fd, address, size);
}

REAL(int, poll, struct pollfd *entries, nfds_t n, int timeout_ms)
{
    return is_hit(FAULT_POLL) ? -1 : __real_poll(entries, n, timeout_ms);
}

REAL(int, inotify_init1, int flags)
{
    return is_hit(FAULT_INOTIFY_INIT) ? -1 : __real_inotify_init1(flags);
}

REAL(int, inotify_add_watch, int fd, const char *path, uint32_t events)
{
    return is_hit(FAULT_INOTIFY_ADD) ? -1 : __real_inotify_add_watch(fd, path, events);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const unsigned mode = flags & O_CREAT ? va_arg(args, unsigned) : 0;
    va_end(args);
    return is_hit(FAULT_OPEN) ? -1 : __real_open(path, flags, mode);
}

REAL(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes,
     void *(*run)(void *), void *arg)
{
    return is_hit(FAULT_PTHREAD_CREATE)
               ? LOAD(error)
               : __real_pthread_create(thread, attributes, run, arg);
}
