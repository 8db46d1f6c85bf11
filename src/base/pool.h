/* base/pool.h - the buffers of tensors: shared memory, cut into size classes.
 *
 * Bodies are received into them and outputs written into them. They lie in arenas, each of them a
 * memfd, so that a buffer can be named to another process as {descriptor, offset, length}; an
 * arena's range of addresses is reserved once and never moves. Only touched pages cost memory: they
 * are counted against the budget, kept warm for the next taker (receiving 77 MB into fresh pages
 * costs two and a half times as much as into warm ones), and given back when others need them or
 * after a while. Any thread may call.
 *
 * One arena is private to this process. A model whose engine runs in other processes, or pins
 * memory, has its own, opened and closed at any time. There is one budget and one set of counts.
 *
 * Takers are counted by peer, and peers by the site that they are of: neither may hold more than
 * its share (share.h) when others would find too little.
 */
#ifndef GP_BASE_POOL_H
#define GP_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;
struct pool_arena;

/* One of those who share the pool; the owner's storage, zero at first, the pool's lock. */
struct pool_peer {
    size_t held_bytes;      /* used, and promised */
    struct pool_peer *site; /* which is counted with it; or NULL */
};

/* What is promised to a taker, for buffers to come. */
struct pool_promise {
    struct pool_peer *peer; /* whose; NULL: nobody's, whose share is not looked at */
    size_t size_bytes;
};

/* Where an arena lies here, and the file for those who map it elsewhere. */
struct pool_range {
    int fd; /* -1: none, where `ulimit -f` forbids one of this size */
    unsigned char *base;
    size_t size_bytes;
};

/* Where a model's requests and answers lie. NULL: in the private arena. */
struct pool_pair {
    struct pool_arena *inputs;
    struct pool_arena *outputs;
};

/* Aligned to the page, from 1 MiB on to 2 MiB. The pages up to touched_bytes are in place. */
struct pool_buffer {
    unsigned char *data;
    size_t size_bytes;    /* what was asked for, in whole pages */
    size_t touched_bytes; /* may be more: what an earlier taker touched */
    size_t counted_bytes; /* against the budget */
    struct pool_arena *arena;
    struct pool_peer *peer;
};

enum pool_answer {
    POOL_GRANTED,
    POOL_FULL,      /* there is no room */
    POOL_OVER_SHARE /* there is, but not for this peer */
};

struct pool_counts {
    size_t budget_bytes;
    size_t used_bytes;     /* taken and not given back */
    size_t reserved_bytes; /* promised to answers to come */
    size_t idle_bytes;     /* kept warm for the next taker */
    uint64_t n_taken;
    uint64_t n_refused;    /* for want of budget */
    uint64_t n_over_share; /* refused to a peer that holds much, for the sake of others */
    uint64_t touched_bytes; /* pages put in place, ever: constant under a steady load */
    size_t pinned_bytes;
    uint64_t n_unpinned; /* buffers taken that could not be pinned */
};

/* A pool that never holds more than budget_bytes. NULL and errno when memory, addresses or
 * descriptors are short. */
struct pool *pool_create(size_t budget_bytes);

/* Opens a pair of arenas: inputs, which other processes read, and outputs, which they write. False
 * and errno when memory, addresses or descriptors are short; *pair is empty then. */
bool pool_open(struct pool *pool, struct pool_pair *pair);

/* Opens an arena, for both, whose buffers of 256 KiB and more are pinned when they are first taken,
 * all their pages put in place for that, and stay so while they are warm: for devices that copy from
 * and to them. pin gives 0 when it cannot, and the buffer is then as good as before. Neither
 * function may call the pool; unpin is called with its lock held. */
bool pool_open_pinned(struct pool *pool, int (*pin)(void *memory, size_t size_bytes),
                      void (*unpin)(void *memory), struct pool_pair *pair);

/* Closes what was opened, and empties *pair; an empty one is ignored. Nobody takes a buffer there any
 * more. Those that are still held stay as they are, but none is pinned when this returns, and neither
 * function is called again. The arenas go with the last buffer that is given back. */
void pool_close(struct pool *pool, struct pool_pair *pair);

/* What a peer may hold whatever others do, and a single request at most: a quarter. */
size_t pool_share(const struct pool *pool);

/* Adds to the promise what two buffers of these sizes will be counted as. The promise is used up
 * by pool_take or given up by pool_unreserve. */
enum pool_answer pool_reserve(struct pool *pool, struct pool_promise *promise,
                              size_t size_bytes, size_t other_bytes);
void pool_unreserve(struct pool *pool, struct pool_promise *promise);

/* A buffer of size_bytes in the arena (NULL: the private one), paid from the promise as far as that
 * goes (NULL: nobody's), then from the budget, whatever the peer's share; false when budget or memory
 * is short. */
bool pool_take(struct pool *pool, struct pool_arena *arena, size_t size_bytes,
               struct pool_promise *promise, struct pool_buffer *buffer);

/* As pool_take, but what the promise does not pay has to be within its peer's share: for what
 * nobody has admitted yet. */
enum pool_answer pool_buy(struct pool *pool, struct pool_arena *arena, size_t size_bytes,
                          struct pool_promise *promise, struct pool_buffer *buffer);

/* The buffer is nobody's from now on: its peer may go before it is given back. */
void pool_disown(struct pool *pool, struct pool_buffer *buffer);

/* Puts the pages up to `end` bytes in place, 4 MiB ahead of need; false when memory is short
 * (the buffer is then as it was). To be called before anything is written there. */
bool pool_touch(struct pool *pool, struct pool_buffer *buffer, size_t end);

/* The same, and what an earlier taker left up to `end` is cleared. */
bool pool_touch_zeroed(struct pool *pool, struct pool_buffer *buffer, size_t end);

/* Gives it back and empties *buffer; an empty one is ignored. */
void pool_give(struct pool *pool, struct pool_buffer *buffer);

/* Gives the pages of buffers that have been idle for idle_ns back to the system. */
void pool_trim(struct pool *pool, int64_t idle_ns);

/* Where an arena (NULL: the private one) lies, and a buffer in its own. */
const struct pool_range *pool_range(const struct pool *pool,
                                    const struct pool_arena *arena);
size_t pool_offset(const struct pool_buffer *buffer);

struct pool_counts pool_count(struct pool *pool);

/* Frees it; all that was opened is closed, and every buffer given back. Takes NULL. */
void pool_destroy(struct pool *pool);

#endif
