/* Classes are powers of two from 4 KiB on, each with a part of the address range that could hold
 * the whole budget alone, so nothing is ever split or joined. A class counts its slots upwards as they
 * are first needed and keeps idle ones in a list, the warmest in front. What a slot costs is the
 * memory behind its touched pages, not its size, so large classes waste nothing.
 *
 * Huge pages, where the system gives them to shared memory, come whole: classes from 2 MiB on
 * then count, touch and punch in units of 2 MiB, and no others get any, so that what is counted
 * is what is held. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/pool_arena.h"

#include <pthread.h>
#include <string.h>

enum {
    SMALLEST_SHIFT = 12,
    N_CLASSES = 20,
    FIRST_PINNED_CLASS = 6, /* of 256 KiB; drivers copy smaller ones aside as quickly */
    FIRST_HUGE_CLASS = 9,   /* its slots are of one huge page */
    AHEAD_BYTES = 4 << 20
};

#define NO_SLOT UINT32_MAX

/* Of idle slots only. */
struct slot {
    uint32_t next; /* in the list of idle ones */
    size_t touched_bytes;
    size_t pinned_bytes;
    int64_t idle_since_ns;
};

struct class
{
    struct slot *slots; /* as many as were ever used */
    uint32_t n_slots;
    uint32_t capacity;
    uint32_t idle; /* first of the idle, NO_SLOT: none */
};

/* Both are cut into the same classes: number N_CLASSES + i is class i of the outputs' own. */
struct pool {
    struct pool_range arenas[2]; /* POOL_INPUTS, POOL_OUTPUTS */
    int n_arenas;                /* 1: one for both */
    size_t class_span;           /* address range of each class */
    bool has_huge_pages;
    int (*pin)(void *memory, size_t size_bytes); /* NULL: nothing is pinned */
    void (*unpin)(void *memory);
    pthread_mutex_t lock;
    struct pool_counts counts;
    struct class classes[2 * N_CLASSES];
};

static size_t class_bytes(int class)
{
    return (size_t)1 << (SMALLEST_SHIFT + class % N_CLASSES);
}

/* The smallest class that holds size_bytes; -1 when none does. */
static int class_of(size_t size_bytes)
{
    int class = 0;
    while (class < N_CLASSES && class_bytes(class) < size_bytes)
        class ++;
    return class < N_CLASSES ? class : -1;
}

/* What a buffer of size_bytes is counted as when its slot has no pages yet. */
static size_t whole_pages(const struct pool *pool, size_t size_bytes)
{
    const bool is_huge = pool->has_huge_pages && class_of(size_bytes) >= FIRST_HUGE_CLASS;
    return round_up(size_bytes, is_huge ? HUGE_BYTES : PAGE_BYTES);
}

static unsigned char *slot_data(const struct pool *pool, int class, uint32_t slot)
{
    return pool->arenas[class / N_CLASSES].base +
           (size_t)(class % N_CLASSES) * pool->class_span + slot * class_bytes(class);
}

static bool map_arenas(struct pool *pool)
{
    const size_t range_bytes = pool->class_span * N_CLASSES;
    pool->has_huge_pages = pool_arena_has_huge_pages();
    for (int i = 0; i < pool->n_arenas; i++) {
        if (!pool_arena_map(&pool->arenas[i], range_bytes))
            return false;
        if ((uintptr_t)pool->arenas[i].base % HUGE_BYTES != 0)
            pool->has_huge_pages = false;
    }
    /* huge pages for the classes that can fill them, and for no others */
    const size_t small_bytes =
        pool->has_huge_pages ? FIRST_HUGE_CLASS * pool->class_span : range_bytes;
    for (int i = 0; i < pool->n_arenas; i++)
        pool_arena_choose_pages(&pool->arenas[i], small_bytes);
    return true;
}

static struct pool *create(size_t budget_bytes, int n_arenas)
{
    struct pool *pool = mem_zalloc(sizeof *pool);
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pool->arenas[0].fd = pool->arenas[1].fd = -1;
    pool->n_arenas = n_arenas;
    pool->counts.budget_bytes = round_up(budget_bytes ? budget_bytes : 1, PAGE_BYTES);
    /* A slot is up to twice as large as what is counted for it. */
    pool->class_span =
        round_up(2 * pool->counts.budget_bytes, class_bytes(N_CLASSES - 1));
    for (int i = 0; i < 2 * N_CLASSES; i++)
        pool->classes[i].idle = NO_SLOT;
    if (map_arenas(pool))
        return pool;
    pool_destroy(pool);
    return NULL;
}

struct pool *pool_create(size_t budget_bytes)
{
    return create(budget_bytes, 1);
}

struct pool *pool_create_split(size_t budget_bytes)
{
    return create(budget_bytes, 2);
}

void pool_pin_with(struct pool *pool, int (*pin)(void *memory, size_t size_bytes),
                   void (*unpin)(void *memory))
{
    pool->pin = pin;
    pool->unpin = unpin;
}

/* With the lock held, for the count. */
static void unpin(struct pool *pool, unsigned char *data, size_t *pinned_bytes)
{
    if (*pinned_bytes)
        pool->unpin(data);
    pool->counts.pinned_bytes -= *pinned_bytes;
    *pinned_bytes = 0;
}

/* Punches the slot's pages behind the first `keep` bytes out, *touched_bytes of which are in
 * place; with the lock held. A device would go on using pages that are pinned, and we others. */
static void punch(struct pool *pool, int class, struct slot *slot, size_t keep)
{
    const uint32_t index = (uint32_t)(slot - pool->classes[class].slots);
    unsigned char *data = slot_data(pool, class, index);
    if (slot->touched_bytes <= keep)
        return;
    unpin(pool, data, &slot->pinned_bytes);
    if (pool_arena_punch(&pool->arenas[class / N_CLASSES], data + keep,
                         slot->touched_bytes - keep))
        slot->touched_bytes = keep;
}

/* Gives the pages of an idle slot back; with the lock held. */
static void chill(struct pool *pool, int class, struct slot *slot)
{
    pool->counts.idle_bytes -= slot->touched_bytes;
    punch(pool, class, slot, 0);
    pool->counts.idle_bytes += slot->touched_bytes;
}

/* Chills idle slots, largest class first, until `wanted` bytes are free or none is warm. */
static void make_room(struct pool *pool, size_t wanted)
{
    const struct pool_counts *n = &pool->counts;
    for (int i = pool->n_arenas * N_CLASSES - 1; i >= 0 && n->idle_bytes; i--) {
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

size_t pool_share(const struct pool *pool)
{
    return pool->counts.budget_bytes / 4; /* constant: no lock */
}

/* True when the peer would hold more than a quarter, and the others be left with less. */
static bool is_over_share(const struct pool *pool, const struct pool_peer *peer,
                          size_t more)
{
    const struct pool_counts *n = &pool->counts;
    const size_t share = pool_share(pool);
    const size_t held = n->used_bytes + n->reserved_bytes;
    return peer && (more > share || peer->held_bytes > share - more) &&
           (more > n->budget_bytes - held || n->budget_bytes - held - more < share);
}

static void hold(struct pool_peer *peer, size_t size_bytes)
{
    if (peer)
        peer->held_bytes += size_bytes;
}

static void let_go(struct pool_peer *peer, size_t size_bytes)
{
    if (peer)
        peer->held_bytes -= size_bytes;
}

enum pool_answer pool_reserve(struct pool *pool, struct pool_promise *promise,
                              size_t size_bytes, size_t other_bytes)
{
    const size_t more = whole_pages(pool, size_bytes) + whole_pages(pool, other_bytes);
    enum pool_answer answer = POOL_GRANTED;
    pthread_mutex_lock(&pool->lock);
    if (is_over_share(pool, promise->peer, more)) {
        pool->counts.n_over_share++;
        answer = POOL_OVER_SHARE;
    } else if (!has_room(pool, more)) {
        answer = POOL_FULL;
    } else {
        pool->counts.reserved_bytes += more;
        promise->size_bytes += more;
        hold(promise->peer, more);
    }
    pthread_mutex_unlock(&pool->lock);
    return answer;
}

void pool_unreserve(struct pool *pool, struct pool_promise *promise)
{
    if (!promise->size_bytes)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->counts.reserved_bytes -= promise->size_bytes;
    let_go(promise->peer, promise->size_bytes);
    pthread_mutex_unlock(&pool->lock);
    promise->size_bytes = 0;
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

static void give_slot(struct pool *pool, int number, uint32_t slot, size_t touched_bytes,
                      size_t pinned_bytes)
{
    struct class *class = &pool->classes[number];
    class->slots[slot] =
        (struct slot){class->idle, touched_bytes, pinned_bytes, clock_now_ns()};
    class->idle = slot;
    pool->counts.idle_bytes += touched_bytes;
}

/* Counts the buffer, first against what was promised; false when it does not fit. */
static bool pay(struct pool *pool, size_t wanted, struct pool_promise *promise)
{
    const size_t paid = promise->size_bytes < wanted ? promise->size_bytes : wanted;
    pool->counts.reserved_bytes -= paid;
    if (!has_room(pool, wanted)) {
        pool->counts.reserved_bytes += paid;
        return false;
    }
    promise->size_bytes -= paid;
    hold(promise->peer, wanted - paid);
    pool->counts.used_bytes += wanted;
    pool->counts.n_taken++;
    return true;
}

/* Pins a buffer that its taker has for itself, all of it: a device refuses memory of which only
 * a part is pinned, so what was for a smaller taker is done anew. It takes a while: not with
 * the lock held. */
static void pin_buffer(struct pool *pool, struct pool_buffer *buffer)
{
    const bool is_whole = pool_touch(pool, buffer, buffer->size_bytes);
    pthread_mutex_lock(&pool->lock);
    unpin(pool, buffer->data, &buffer->pinned_bytes);
    pthread_mutex_unlock(&pool->lock);
    if (is_whole && pool->pin(buffer->data, buffer->size_bytes))
        buffer->pinned_bytes = buffer->size_bytes;
    pthread_mutex_lock(&pool->lock);
    pool->counts.pinned_bytes += buffer->pinned_bytes;
    pool->counts.n_unpinned += !buffer->pinned_bytes;
    pthread_mutex_unlock(&pool->lock);
}

/* True when what the promise does not pay of `counted` bytes is more than the peer may hold. */
static bool is_beyond_share(struct pool *pool, const struct pool_promise *promise,
                            size_t counted)
{
    const size_t paid = promise->size_bytes < counted ? promise->size_bytes : counted;
    if (!is_over_share(pool, promise->peer, counted - paid))
        return false;
    pool->counts.n_over_share++;
    return true;
}

static enum pool_answer take_buffer(struct pool *pool, int arena, bool is_by_share,
                                    size_t size_bytes, struct pool_promise *promise,
                                    struct pool_buffer *buffer)
{
    struct pool_promise none = {0};
    *buffer = (struct pool_buffer){0};
    promise = promise ? promise : &none;
    int class = class_of(size_bytes);
    if (class < 0)
        return POOL_FULL;
    class += arena * N_CLASSES;
    const size_t size = whole_pages(pool, size_bytes ? size_bytes : 1);
    enum pool_answer answer = POOL_FULL;
    pthread_mutex_lock(&pool->lock);
    const uint32_t slot = take_slot(pool, class);
    if (slot != NO_SLOT) {
        struct slot *warm = &pool->classes[class].slots[slot];
        /* What an earlier taker left there must not cost this one its share. */
        if (warm->touched_bytes > size &&
            is_over_share(pool, promise->peer, warm->touched_bytes - size))
            punch(pool, class, warm, size);
        const size_t touched = warm->touched_bytes, pinned = warm->pinned_bytes;
        const size_t counted = touched > size ? touched : size;
        if (is_by_share && is_beyond_share(pool, promise, counted))
            answer = POOL_OVER_SHARE;
        else if (pay(pool, counted, promise))
            answer = POOL_GRANTED;
        if (answer == POOL_GRANTED)
            *buffer = (struct pool_buffer){slot_data(pool, class, slot),
                                           size,
                                           touched,
                                           counted,
                                           pinned,
                                           promise->peer};
        else
            give_slot(pool, class, slot, touched, pinned);
    }
    pthread_mutex_unlock(&pool->lock);
    if (answer == POOL_GRANTED && pool->pin && class % N_CLASSES >= FIRST_PINNED_CLASS &&
        buffer->pinned_bytes < size)
        pin_buffer(pool, buffer);
    return answer;
}

bool pool_take(struct pool *pool, size_t size_bytes, struct pool_promise *promise,
               struct pool_buffer *buffer)
{
    return take_buffer(pool, POOL_INPUTS, false, size_bytes, promise, buffer) ==
           POOL_GRANTED;
}

bool pool_take_output(struct pool *pool, size_t size_bytes, struct pool_promise *promise,
                      struct pool_buffer *buffer)
{
    return take_buffer(pool, pool->n_arenas - 1, false, size_bytes, promise, buffer) ==
           POOL_GRANTED;
}

enum pool_answer pool_buy(struct pool *pool, size_t size_bytes,
                          struct pool_promise *promise, struct pool_buffer *buffer)
{
    return take_buffer(pool, POOL_INPUTS, true, size_bytes, promise, buffer);
}

bool pool_touch(struct pool *pool, struct pool_buffer *buffer, size_t end)
{
    if (end <= buffer->touched_bytes)
        return true;
    size_t upto = round_up(end, AHEAD_BYTES);
    if (upto > buffer->size_bytes)
        upto = buffer->size_bytes;
    const size_t n = upto - buffer->touched_bytes;
    if (!pool_arena_touch(buffer->data + buffer->touched_bytes, n))
        return false;
    buffer->touched_bytes = upto;
    pthread_mutex_lock(&pool->lock);
    pool->counts.touched_bytes += n;
    pthread_mutex_unlock(&pool->lock);
    return true;
}

/* Pages that are put in place now are zeros. */
bool pool_touch_zeroed(struct pool *pool, struct pool_buffer *buffer, size_t end)
{
    const size_t warm = buffer->touched_bytes < end ? buffer->touched_bytes : end;
    const bool is_touched = pool_touch(pool, buffer, end);
    if (is_touched)
        memset(buffer->data, 0, warm);
    return is_touched;
}

/* Which arena a buffer is of. */
static int arena_of(const struct pool *pool, const struct pool_buffer *buffer)
{
    const struct pool_range *outputs = &pool->arenas[POOL_OUTPUTS];
    return pool->n_arenas > 1 &&
           (uintptr_t)buffer->data - (uintptr_t)outputs->base < outputs->size_bytes;
}

void pool_disown(struct pool *pool, struct pool_buffer *buffer)
{
    pthread_mutex_lock(&pool->lock);
    let_go(buffer->peer, buffer->counted_bytes);
    pthread_mutex_unlock(&pool->lock);
    buffer->peer = NULL;
}

void pool_give(struct pool *pool, struct pool_buffer *buffer)
{
    if (!buffer->data)
        return;
    const int arena = arena_of(pool, buffer);
    const size_t offset = (size_t)(buffer->data - pool->arenas[arena].base);
    const int class = arena * N_CLASSES + (int)(offset / pool->class_span);
    const uint32_t slot = (uint32_t)(offset % pool->class_span / class_bytes(class));
    pthread_mutex_lock(&pool->lock);
    pool->counts.used_bytes -= buffer->counted_bytes;
    let_go(buffer->peer, buffer->counted_bytes);
    give_slot(pool, class, slot, buffer->touched_bytes, buffer->pinned_bytes);
    pthread_mutex_unlock(&pool->lock);
    *buffer = (struct pool_buffer){0};
}

void pool_trim(struct pool *pool, int64_t idle_ns)
{
    const int64_t now = clock_now_ns();
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < pool->n_arenas * N_CLASSES && pool->counts.idle_bytes; i++) {
        struct class *class = &pool->classes[i];
        for (uint32_t at = class->idle; at != NO_SLOT; at = class->slots[at].next)
            if (now - class->slots[at].idle_since_ns >= idle_ns)
                chill(pool, i, &class->slots[at]);
    }
    pthread_mutex_unlock(&pool->lock);
}

const struct pool_range *pool_range(const struct pool *pool, enum pool_arena arena)
{
    return &pool->arenas[pool->n_arenas > 1 ? arena : 0];
}

size_t pool_offset(const struct pool *pool, const struct pool_buffer *buffer)
{
    return (size_t)(buffer->data - pool->arenas[arena_of(pool, buffer)].base);
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
    for (int i = 0; i < 2 * N_CLASSES; i++)
        for (uint32_t slot = 0; slot < pool->classes[i].n_slots; slot++)
            unpin(pool, slot_data(pool, i, slot),
                  &pool->classes[i].slots[slot].pinned_bytes);
    for (int i = 0; i < 2; i++)
        pool_arena_unmap(&pool->arenas[i]);
    for (int i = 0; i < 2 * N_CLASSES; i++)
        mem_free(pool->classes[i].slots);
    pthread_mutex_destroy(&pool->lock);
    mem_free(pool);
}
