/* Classes are powers of two from 4 KiB on, so nothing is ever split or joined; pool_space.c has
 * their slots. Idle slots are in a list of their class, the warmest in front. What a slot costs is
 * the memory behind its touched pages, not its size, so large classes waste nothing.
 *
 * Huge pages, where the system gives them to shared memory, come whole: classes from 2 MiB on
 * then count, touch and punch in units of 2 MiB, and no others get any, so that what is counted
 * is what is held. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/pool_space.h"
#include "base/share.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum {
    N_CLASSES = POOL_N_CLASSES,
    FIRST_PINNED_CLASS = 6, /* of 256 KiB; drivers copy smaller ones aside as quickly */
    AHEAD_BYTES = 4 << 20
};

#define NO_SLOT POOL_NONE

enum { N_ARENAS = POOL_PRIVATE + 1 };

/* All arenas have the same classes: number a * N_CLASSES + i is class i of arena a. */
struct pool {
    struct pool_space spaces[N_ARENAS]; /* by enum pool_arena */
    int n_arenas;                       /* 1: one for all */
    bool has_huge_pages;
    int (*pin)(void *memory, size_t size_bytes); /* NULL: nothing is pinned */
    void (*unpin)(void *memory);
    pthread_mutex_t lock;
    struct pool_counts counts;
};

/* The smallest class that holds size_bytes; -1 when none does. */
static int class_of(size_t size_bytes)
{
    int class = 0;
    while (class < N_CLASSES && (size_t)1 << (POOL_SMALLEST_SHIFT + class) < size_bytes)
        class ++;
    return class < N_CLASSES ? class : -1;
}

static struct pool_space *space_of(struct pool *pool, int class)
{
    return &pool->spaces[class / N_CLASSES];
}

static struct pool_class *class_at(struct pool *pool, int class)
{
    return &space_of(pool, class)->classes[class % N_CLASSES];
}

static struct pool_slot *slot_at(struct pool *pool, int class, uint32_t slot)
{
    return pool_space_slot(space_of(pool, class), class % N_CLASSES, slot);
}

static unsigned char *slot_data(struct pool *pool, int class, uint32_t slot)
{
    return pool_space_data(space_of(pool, class), class % N_CLASSES, slot);
}

/* What a buffer of size_bytes is counted as when its slot has no pages yet. */
static size_t whole_pages(const struct pool *pool, size_t size_bytes)
{
    const bool is_huge =
        pool->has_huge_pages && class_of(size_bytes) >= POOL_FIRST_HUGE_CLASS;
    return round_up(size_bytes, is_huge ? HUGE_BYTES : PAGE_BYTES);
}

static bool map_arenas(struct pool *pool)
{
    const size_t budget = pool->counts.budget_bytes;
    const size_t size_bytes = pool_space_choose_bytes(budget, pool->n_arenas);
    errno = ENOMEM;
    if (!size_bytes)
        return false;
    pool->has_huge_pages =
        pool_range_has_huge_pages() && size_bytes == pool_space_most_bytes(budget);
    for (int i = 0; i < pool->n_arenas; i++) {
        if (!pool_space_init(&pool->spaces[i], budget, size_bytes))
            return false;
        if ((uintptr_t)pool->spaces[i].range.base % HUGE_BYTES != 0)
            pool->has_huge_pages = false;
    }
    /* huge pages for the classes that can fill them, and for no others */
    for (int i = 0; i < pool->n_arenas; i++)
        pool_range_choose_pages(&pool->spaces[i].range,
                                pool->has_huge_pages
                                    ? pool_space_huge_at(&pool->spaces[i])
                                    : pool->spaces[i].range.size_bytes);
    return true;
}

static struct pool *create(size_t budget_bytes, int n_arenas)
{
    struct pool *pool = mem_zalloc(sizeof *pool);
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    for (int i = 0; i < N_ARENAS; i++)
        pool->spaces[i].range.fd = -1;
    pool->n_arenas = n_arenas;
    pool->counts.budget_bytes = round_up(budget_bytes ? budget_bytes : 1, PAGE_BYTES);
    if (map_arenas(pool))
        return pool;
    const int error = errno;
    pool_destroy(pool);
    errno = error;
    return NULL;
}

struct pool *pool_create(size_t budget_bytes)
{
    return create(budget_bytes, 1);
}

struct pool *pool_create_split(size_t budget_bytes)
{
    return create(budget_bytes, N_ARENAS);
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
static void punch(struct pool *pool, int class, uint32_t number, size_t keep)
{
    struct pool_slot *slot = slot_at(pool, class, number);
    unsigned char *data = slot_data(pool, class, number);
    if (slot->touched_bytes <= keep)
        return;
    unpin(pool, data, &slot->pinned_bytes);
    if (pool_range_punch(&space_of(pool, class)->range, data + keep,
                         slot->touched_bytes - keep))
        slot->touched_bytes = keep;
}

/* Gives the pages of an idle slot back; with the lock held. */
static void chill(struct pool *pool, int class, uint32_t number)
{
    const struct pool_slot *slot = slot_at(pool, class, number);
    pool->counts.idle_bytes -= slot->touched_bytes;
    punch(pool, class, number, 0);
    pool->counts.idle_bytes += slot->touched_bytes;
}

/* Chills idle slots, largest class first, until `wanted` bytes are free or none is warm. */
static void make_room(struct pool *pool, size_t wanted)
{
    const struct pool_counts *n = &pool->counts;
    for (int i = pool->n_arenas * N_CLASSES - 1; i >= 0 && n->idle_bytes; i--) {
        uint32_t at = class_at(pool, i)->idle;
        for (; at != NO_SLOT; at = slot_at(pool, i, at)->next) {
            if (n->budget_bytes - n->used_bytes - n->reserved_bytes - n->idle_bytes >=
                wanted)
                return;
            chill(pool, i, at);
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

/* True when the peer, or its site, must leave what is left to others. */
static bool is_over_share(const struct pool *pool, const struct pool_peer *peer,
                          size_t more)
{
    const struct pool_counts *n = &pool->counts;
    const size_t used = n->used_bytes + n->reserved_bytes;
    enum share_of whose = SHARE_OF_ADDRESS;
    for (; peer; peer = peer->site, whose = SHARE_OF_SITE)
        if (share_is_over(whose, n->budget_bytes, used, peer->held_bytes, more))
            return true;
    return false;
}

static void hold(struct pool_peer *peer, size_t size_bytes)
{
    for (; peer; peer = peer->site)
        peer->held_bytes += size_bytes;
}

static void let_go(struct pool_peer *peer, size_t size_bytes)
{
    for (; peer; peer = peer->site)
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

/* Gives up chunks of idle slots, where that makes addresses for a slot of this class; with the
 * lock held. */
static bool clear_chunks(struct pool *pool, int class)
{
    struct pool_space *space = space_of(pool, class);
    const uint32_t n = space->classes[class % N_CLASSES].n_chunks;
    const uint32_t at = pool_space_idle_chunks(space, class % N_CLASSES);
    for (uint32_t i = 0; i < n && at != POOL_NONE; i++) {
        const struct pool_chunk *chunk = &space->chunks[at + i];
        if (!chunk->is_taken)
            continue;
        const uint32_t first = chunk->first;
        const int owner = class / N_CLASSES * N_CLASSES + chunk->class;
        for (uint32_t k = 0; k < space->chunks[first].n_made; k++) {
            const uint32_t slot = (first << class_at(pool, owner)->slots_shift) + k;
            chill(pool, owner, slot);
            if (slot_at(pool, owner, slot)->touched_bytes)
                return false;
        }
        pool_space_drop(space, first);
    }
    return at != POOL_NONE;
}

/* Takes the warmest idle slot of the class, or a new one; NO_SLOT when memory or addresses are
 * short. */
static uint32_t take_slot(struct pool *pool, int number)
{
    struct pool_class *class = class_at(pool, number);
    struct pool_space *space = space_of(pool, number);
    uint32_t slot = class->idle;
    if (slot != NO_SLOT) {
        class->idle = slot_at(pool, number, slot)->next;
        pool->counts.idle_bytes -= slot_at(pool, number, slot)->touched_bytes;
    } else {
        slot = pool_space_add(space, number % N_CLASSES);
        if (slot == NO_SLOT && clear_chunks(pool, number))
            slot = pool_space_add(space, number % N_CLASSES);
    }
    if (slot != NO_SLOT)
        pool_space_chunk(space, number % N_CLASSES, slot)->n_live++;
    return slot;
}

static void give_slot(struct pool *pool, int number, uint32_t slot, size_t touched_bytes,
                      size_t pinned_bytes)
{
    struct pool_class *class = class_at(pool, number);
    *slot_at(pool, number, slot) =
        (struct pool_slot){class->idle, touched_bytes, pinned_bytes, clock_now_ns()};
    class->idle = slot;
    pool->counts.idle_bytes += touched_bytes;
    pool_space_chunk(space_of(pool, number), number % N_CLASSES, slot)->n_live--;
}

/* True when the budget has room for it, idle memory aside: a slot that cannot be paid for must
 * not be made either. */
static bool is_affordable(const struct pool *pool, size_t wanted,
                          const struct pool_promise *promise)
{
    const struct pool_counts *n = &pool->counts;
    const size_t paid = promise->size_bytes < wanted ? promise->size_bytes : wanted;
    return wanted - paid <= n->budget_bytes - n->used_bytes - n->reserved_bytes;
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
    if (paid == counted || !is_over_share(pool, promise->peer, counted - paid))
        return false;
    pool->counts.n_over_share++;
    return true;
}

static enum pool_answer take_buffer(struct pool *pool, enum pool_arena arena,
                                    bool is_by_share, size_t size_bytes,
                                    struct pool_promise *promise,
                                    struct pool_buffer *buffer)
{
    struct pool_promise none = {0};
    *buffer = (struct pool_buffer){0};
    promise = promise ? promise : &none;
    int class = class_of(size_bytes);
    if (class < 0)
        return POOL_FULL;
    class += pool->n_arenas > 1 ? (int)arena * N_CLASSES : 0;
    const size_t size = whole_pages(pool, size_bytes ? size_bytes : 1);
    pthread_mutex_lock(&pool->lock);
    const bool is_over = is_by_share && is_beyond_share(pool, promise, size);
    const uint32_t slot =
        !is_over && is_affordable(pool, size, promise) ? take_slot(pool, class) : NO_SLOT;
    enum pool_answer answer = is_over ? POOL_OVER_SHARE : POOL_FULL;
    pool->counts.n_refused += slot == NO_SLOT && !is_over;
    if (slot != NO_SLOT) {
        const struct pool_slot *warm = slot_at(pool, class, slot);
        /* What an earlier taker left there must not cost this one its share. */
        if (warm->touched_bytes > size &&
            is_over_share(pool, promise->peer, warm->touched_bytes - size))
            punch(pool, class, slot, size);
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
    return take_buffer(pool, POOL_OUTPUTS, false, size_bytes, promise, buffer) ==
           POOL_GRANTED;
}

enum pool_answer pool_buy(struct pool *pool, enum pool_arena arena, size_t size_bytes,
                          struct pool_promise *promise, struct pool_buffer *buffer)
{
    return take_buffer(pool, arena, true, size_bytes, promise, buffer);
}

bool pool_touch(struct pool *pool, struct pool_buffer *buffer, size_t end)
{
    if (end <= buffer->touched_bytes)
        return true;
    size_t upto = round_up(end, AHEAD_BYTES);
    if (upto > buffer->size_bytes)
        upto = buffer->size_bytes;
    const size_t n = upto - buffer->touched_bytes;
    if (!pool_range_touch(buffer->data + buffer->touched_bytes, n))
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
    int arena = pool->n_arenas - 1;
    while (arena && (uintptr_t)buffer->data - (uintptr_t)pool->spaces[arena].range.base >=
                        pool->spaces[arena].range.size_bytes)
        arena--;
    return arena;
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
    const struct pool_space *space = &pool->spaces[arena];
    const size_t offset = (size_t)(buffer->data - space->range.base);
    pthread_mutex_lock(&pool->lock);
    const int number = space->chunks[offset >> space->chunk_shift].class;
    const uint32_t slot = (uint32_t)(offset >> space->classes[number].unit_shift);
    const int class = arena * N_CLASSES + number;
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
        uint32_t at = class_at(pool, i)->idle;
        for (; at != NO_SLOT; at = slot_at(pool, i, at)->next)
            if (now - slot_at(pool, i, at)->idle_since_ns >= idle_ns)
                chill(pool, i, at);
    }
    pthread_mutex_unlock(&pool->lock);
}

const struct pool_range *pool_range(const struct pool *pool, enum pool_arena arena)
{
    return &pool->spaces[pool->n_arenas > 1 ? arena : 0].range;
}

size_t pool_offset(const struct pool *pool, const struct pool_buffer *buffer)
{
    return (size_t)(buffer->data - pool->spaces[arena_of(pool, buffer)].range.base);
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
    for (int i = 0; i < pool->n_arenas * N_CLASSES; i++) {
        uint32_t at = class_at(pool, i)->idle;
        for (; pool->spaces[i / N_CLASSES].n_chunks && at != NO_SLOT;
             at = slot_at(pool, i, at)->next)
            unpin(pool, slot_data(pool, i, at), &slot_at(pool, i, at)->pinned_bytes);
    }
    for (int i = 0; i < N_ARENAS; i++) {
        pool_space_finish(&pool->spaces[i]);
        pool_range_unmap(&pool->spaces[i].range);
    }
    pthread_mutex_destroy(&pool->lock);
    mem_free(pool);
}
