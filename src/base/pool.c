/* Classes are powers of two from 4 KiB on, each with a part of the address range that could hold
 * the whole budget alone, so nothing is ever split or joined. A class counts its slots upwards as they
 * are first needed and keeps idle ones in a list, the warmest in front. What a slot costs is the
 * memory behind its touched pages, not its size, so large classes waste nothing.
 *
 * The file is sealed against growing and shrinking, so that nobody who holds its descriptor can
 * take pages away under us; pages go back by punching holes, since MADV_DONTNEED frees nothing
 * in a memfd. */
#include "base/pool.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { PAGE_BYTES = 4096, SMALLEST_SHIFT = 12, N_CLASSES = 20, AHEAD_BYTES = 4 << 20 };

#define HUGE_BYTES ((size_t)2 << 20)
#define NO_SLOT UINT32_MAX

/* Of idle slots only. */
struct slot {
    uint32_t next; /* in the list of idle ones */
    size_t touched_bytes;
    int64_t idle_since_ns;
};

struct class
{
    struct slot *slots; /* as many as were ever used */
    uint32_t n_slots;
    uint32_t capacity;
    uint32_t idle; /* first of the idle, NO_SLOT: none */
};

struct pool {
    int fd;
    unsigned char *base;
    size_t class_span; /* address range of each class */
    pthread_mutex_t lock;
    struct pool_counts counts;
    struct class classes[N_CLASSES];
};

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static size_t class_bytes(int class)
{
    return (size_t)1 << (SMALLEST_SHIFT + class);
}

/* The smallest class that holds size_bytes; -1 when none does. */
static int class_of(size_t size_bytes)
{
    int class = 0;
    while (class < N_CLASSES && class_bytes(class) < size_bytes)
        class ++;
    return class < N_CLASSES ? class : -1;
}

static unsigned char *slot_data(const struct pool *pool, int class, uint32_t slot)
{
    return pool->base + (size_t) class * pool->class_span + slot * class_bytes(class);
}

/* Memory limits of control groups, version 2 and 1; SIZE_MAX when there is none. */
static size_t cgroup_limit(void)
{
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    size_t limit = SIZE_MAX;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *file = fopen(files[i], "re");
        unsigned long long bytes;
        if (file && fscanf(file, "%llu", &bytes) == 1 && bytes < limit)
            limit = (size_t)bytes;
        if (file)
            (void)fclose(file);
    }
    return limit;
}

static size_t default_budget(void)
{
    struct sysinfo info;
    size_t memory = (size_t)1 << 30;
    if (sysinfo(&info) == 0)
        memory = (size_t)info.totalram * info.mem_unit;
    const size_t limit = cgroup_limit();
    return (limit < memory ? limit : memory) / 2;
}

/* The arena: a sparse file of the whole range, mapped once. */
static bool map_arena(struct pool *pool, size_t range_bytes)
{
    const int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    pool->fd = memfd_create("graphpipe-pool", flags | MFD_NOEXEC_SEAL);
    if (pool->fd < 0)
        pool->fd = memfd_create("graphpipe-pool", flags);
    if (pool->fd < 0 || ftruncate(pool->fd, (off_t)range_bytes) != 0 ||
        fcntl(pool->fd, F_ADD_SEALS, seals) != 0)
        return false;
    void *base = mmap(NULL, range_bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE, pool->fd, 0);
    if (base == MAP_FAILED)
        return false;
    pool->base = base;
    (void)madvise(base, range_bytes, MADV_DONTDUMP);
    return true;
}

struct pool *pool_create(size_t budget_bytes)
{
    struct pool *pool = mem_zalloc(sizeof *pool);
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pool->fd = -1;
    pool->counts.budget_bytes =
        round_up(budget_bytes ? budget_bytes : default_budget(), PAGE_BYTES);
    /* A slot is up to twice as large as what is counted for it. */
    pool->class_span =
        round_up(2 * pool->counts.budget_bytes, class_bytes(N_CLASSES - 1));
    for (int i = 0; i < N_CLASSES; i++)
        pool->classes[i].idle = NO_SLOT;
    if (map_arena(pool, pool->class_span * N_CLASSES))
        return pool;
    pool_destroy(pool);
    return NULL;
}

/* Punches the slot's pages out; with the lock held. */
static void chill(struct pool *pool, int class, struct slot *slot)
{
    const uint32_t index = (uint32_t)(slot - pool->classes[class].slots);
    const off_t offset = slot_data(pool, class, index) - pool->base;
    if (slot->touched_bytes &&
        fallocate(pool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                  (off_t)slot->touched_bytes) == 0) {
        pool->counts.idle_bytes -= slot->touched_bytes;
        slot->touched_bytes = 0;
    }
}

/* Chills idle slots, largest class first, until `wanted` bytes are free or none is warm. */
static void make_room(struct pool *pool, size_t wanted)
{
    const struct pool_counts *n = &pool->counts;
    for (int i = N_CLASSES - 1; i >= 0 && n->idle_bytes; i--) {
        struct class *class = &pool->classes[i];
        for (uint32_t at = class->idle; at != NO_SLOT; at = class->slots[at].next) {
            if (n->budget_bytes - n->used_bytes - n->reserved_bytes - n->idle_bytes >=
                wanted)
                return;
            chill(pool, i, &class->slots[at]);
        }
    }
}

/* True when `wanted` bytes more fit into the budget, idle memory given up for them. */
static bool has_room(struct pool *pool, size_t wanted)
{
    struct pool_counts *n = &pool->counts;
    const size_t held = n->used_bytes + n->reserved_bytes;
    if (wanted > n->budget_bytes - held) {
        n->n_refused++;
        return false;
    }
    if (wanted > n->budget_bytes - held - n->idle_bytes)
        make_room(pool, wanted);
    return true;
}

size_t pool_rounded(size_t size_bytes)
{
    return round_up(size_bytes, PAGE_BYTES);
}

bool pool_reserve(struct pool *pool, size_t size_bytes)
{
    size_bytes = round_up(size_bytes, PAGE_BYTES);
    pthread_mutex_lock(&pool->lock);
    const bool fits = has_room(pool, size_bytes);
    if (fits)
        pool->counts.reserved_bytes += size_bytes;
    pthread_mutex_unlock(&pool->lock);
    return fits;
}

void pool_unreserve(struct pool *pool, size_t size_bytes)
{
    pthread_mutex_lock(&pool->lock);
    pool->counts.reserved_bytes -= round_up(size_bytes, PAGE_BYTES);
    pthread_mutex_unlock(&pool->lock);
}

/* A new slot's number, NO_SLOT when memory or the class's range is short; with the lock held. */
static uint32_t add_slot(struct pool *pool, int number)
{
    struct class *class = &pool->classes[number];
    if (class->n_slots >= pool->class_span / class_bytes(number))
        return NO_SLOT;
    if (class->n_slots == class->capacity) {
        const uint32_t capacity = class->capacity ? 2 * class->capacity : 16;
        struct slot *slots = mem_resize(class->slots, capacity * sizeof *slots);
        if (!slots)
            return NO_SLOT;
        class->slots = slots;
        class->capacity = capacity;
    }
    class->slots[class->n_slots] = (struct slot){.next = NO_SLOT};
    return class->n_slots++;
}

/* Takes the warmest idle slot of the class, or a new one. */
static uint32_t take_slot(struct pool *pool, int number)
{
    struct class *class = &pool->classes[number];
    const uint32_t slot = class->idle;
    if (slot == NO_SLOT)
        return add_slot(pool, number);
    class->idle = class->slots[slot].next;
    pool->counts.idle_bytes -= class->slots[slot].touched_bytes;
    return slot;
}

static void give_slot(struct pool *pool, int number, uint32_t slot, size_t touched_bytes)
{
    struct class *class = &pool->classes[number];
    class->slots[slot] = (struct slot){class->idle, touched_bytes, clock_now_ns()};
    class->idle = slot;
    pool->counts.idle_bytes += touched_bytes;
}

/* Counts the buffer, first against what was reserved for it; false when it does not fit. */
static bool pay(struct pool *pool, size_t wanted, size_t *reserved_bytes)
{
    const size_t reserved = reserved_bytes ? *reserved_bytes : 0;
    const size_t paid = reserved < wanted ? reserved : wanted;
    pool->counts.reserved_bytes -= paid;
    if (!has_room(pool, wanted)) {
        pool->counts.reserved_bytes += paid;
        return false;
    }
    if (reserved_bytes)
        *reserved_bytes -= paid;
    pool->counts.used_bytes += wanted;
    pool->counts.n_taken++;
    return true;
}

bool pool_take(struct pool *pool, size_t size_bytes, size_t *reserved_bytes,
               struct pool_buffer *buffer)
{
    *buffer = (struct pool_buffer){0};
    const int class = class_of(size_bytes);
    if (class < 0)
        return false;
    const size_t size = round_up(size_bytes ? size_bytes : 1, PAGE_BYTES);
    pthread_mutex_lock(&pool->lock);
    const uint32_t slot = take_slot(pool, class);
    bool is_taken = slot != NO_SLOT;
    if (is_taken) {
        const size_t touched = pool->classes[class].slots[slot].touched_bytes;
        const size_t counted = touched > size ? touched : size;
        is_taken = pay(pool, counted, reserved_bytes);
        if (is_taken)
            *buffer = (struct pool_buffer){slot_data(pool, class, slot), size, touched,
                                           counted};
        else
            give_slot(pool, class, slot, touched);
    }
    pthread_mutex_unlock(&pool->lock);
    return is_taken;
}

/* As MADV_POPULATE_WRITE, for kernels before 5.14. */
static void touch_pages(unsigned char *from, const unsigned char *end)
{
    for (volatile unsigned char *page = from; page < end; page += PAGE_BYTES)
        *page = 0;
}

bool pool_touch(struct pool *pool, struct pool_buffer *buffer, size_t end)
{
    if (end <= buffer->touched_bytes)
        return true;
    size_t upto = round_up(end, AHEAD_BYTES);
    if (upto > buffer->size_bytes)
        upto = buffer->size_bytes;
    unsigned char *from = buffer->data + buffer->touched_bytes;
    const size_t n = upto - buffer->touched_bytes;
    if (buffer->size_bytes >= HUGE_BYTES && buffer->touched_bytes == 0)
        (void)madvise(buffer->data, round_up(buffer->size_bytes, HUGE_BYTES),
                      MADV_HUGEPAGE);
    if (madvise(from, n, MADV_POPULATE_WRITE) != 0) {
        if (errno != EINVAL)
            return false;
        touch_pages(from, from + n);
    }
    buffer->touched_bytes = upto;
    pthread_mutex_lock(&pool->lock);
    pool->counts.touched_bytes += n;
    pthread_mutex_unlock(&pool->lock);
    return true;
}

void pool_give(struct pool *pool, struct pool_buffer *buffer)
{
    if (!buffer->data)
        return;
    const size_t offset = pool_offset(pool, buffer);
    const int class = (int)(offset / pool->class_span);
    const uint32_t slot = (uint32_t)(offset % pool->class_span / class_bytes(class));
    pthread_mutex_lock(&pool->lock);
    pool->counts.used_bytes -= buffer->counted_bytes;
    give_slot(pool, class, slot, buffer->touched_bytes);
    pthread_mutex_unlock(&pool->lock);
    *buffer = (struct pool_buffer){0};
}

void pool_trim(struct pool *pool, int64_t idle_ns)
{
    const int64_t now = clock_now_ns();
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < N_CLASSES && pool->counts.idle_bytes; i++) {
        struct class *class = &pool->classes[i];
        for (uint32_t at = class->idle; at != NO_SLOT; at = class->slots[at].next)
            if (now - class->slots[at].idle_since_ns >= idle_ns)
                chill(pool, i, &class->slots[at]);
    }
    pthread_mutex_unlock(&pool->lock);
}

int pool_fd(const struct pool *pool)
{
    return pool->fd;
}

size_t pool_offset(const struct pool *pool, const struct pool_buffer *buffer)
{
    return (size_t)(buffer->data - pool->base);
}

struct pool_counts pool_count(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    const struct pool_counts counts = pool->counts;
    pthread_mutex_unlock(&pool->lock);
    return counts;
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    if (pool->base)
        munmap(pool->base, pool->class_span * N_CLASSES);
    if (pool->fd >= 0)
        close(pool->fd);
    for (int i = 0; i < N_CLASSES; i++)
        mem_free(pool->classes[i].slots);
    pthread_mutex_destroy(&pool->lock);
    mem_free(pool);
}
