/* base/pool.h - the buffers of tensors: shared memory, cut into size classes.
 *
 * Bodies are received into buffers, and outputs are written into them. Buffers lie in
 * arenas, each of which is a memfd, so that another process can be told of a buffer as
 * {descriptor, offset, length}; the addresses of an arena are reserved once and never move.
 * Only touched pages cost memory: they count against the budget, stay warm for the next
 * taker (receiving 77 MB into fresh pages costs two and a half times as much as into warm
 * ones), and are returned to the system when others need them or after a while. Any thread
 * may call.
 *
 * One arena is private to this process. A model whose engine runs in other processes, or
 * pins memory, has arenas of its own, which are opened and closed at any time. All arenas
 * share one budget and one set of counts.
 *
 * Memory is counted by peer, and peers by their site: neither may hold more than its share
 * (share.h) when others would find too little. */
#ifndef GP_BASE_POOL_H
#define GP_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;
struct pool_arena;

/* A client of the pool. Zeroed by its owner, then protected by the pool's lock. */
struct pool_peer {
    size_t held_bytes;      /* used and promised */
    struct pool_peer *site; /* counted with it, or NULL */
};

/* Memory promised to a taker, for buffers to come. */
struct pool_promise {
    struct pool_peer *peer; /* NULL: nobody's, and no share is checked */
    size_t size_bytes;
};

/* The mapping of an arena, and its file for those who map it elsewhere. */
struct pool_range {
    int fd; /* -1: none, since `ulimit -f` forbids one of this size */
    unsigned char *base;
    size_t size_bytes;
};

/* The arenas for the requests and answers of a model. NULL: the private arena. */
struct pool_pair {
    struct pool_arena *inputs;
    struct pool_arena *outputs;
};

/* Aligned to a page, or from 1 MiB on to 2 MiB. The pages up to touched_bytes are in place. */
struct pool_buffer {
    unsigned char *data;
    size_t size_bytes;    /* as asked for, in whole pages */
    size_t touched_bytes; /* more than that if an earlier taker touched more */
    size_t counted_bytes; /* against the budget */
    struct pool_arena *arena;
    struct pool_peer *peer;
};

enum pool_answer {
    POOL_GRANTED,
    POOL_FULL,
    POOL_OVER_SHARE /* there is room, but not for this peer */
};

struct pool_counts {
    size_t budget_bytes;
    size_t used_bytes;     /* taken and not given back */
    size_t reserved_bytes; /* promised */
    size_t idle_bytes;     /* kept warm for the next taker */
    uint64_t n_taken;
    uint64_t n_refused;     /* for lack of budget */
    uint64_t n_over_share;  /* refused to a peer that holds its share */
    uint64_t touched_bytes; /* put in place so far: constant under a steady load */
    size_t pinned_bytes;
    uint64_t n_unpinned; /* buffers that could not be pinned */
};

/* A pool that never holds more than budget_bytes. NULL and errno when memory, addresses or
 * descriptors are short. */
struct pool *pool_create(size_t budget_bytes);

/* Opens a pair of arenas: inputs, which other processes read, and outputs, which they
 * write. False and errno when memory, addresses or descriptors are short; *pair is empty
 * then. */
bool pool_open(struct pool *pool, struct pool_pair *pair);

/* Opens one arena for both, for devices that copy from and to its buffers: those of 256 KiB
 * and more are pinned when first taken, after all their pages were put in place, and stay
 * pinned while they are warm. pin returns 0 if it cannot; the buffer is used all the same.
 * Neither function may call the pool; unpin is called with its lock held. */
bool pool_open_pinned(struct pool *pool, int (*pin)(void *memory, size_t size_bytes),
                      void (*unpin)(void *memory), struct pool_pair *pair);

/* Closes what was opened, and empties *pair; an empty one is ignored. No buffer may be taken
 * there from now on. Buffers that are still held stay valid, but nothing is pinned when this
 * returns, and pin and unpin are not called again. The arenas are unmapped when the last
 * buffer is given back. */
void pool_close(struct pool *pool, struct pool_pair *pair);

/* The share of a peer whatever others hold, and the most that one request may take: a
 * quarter. */
size_t pool_share(const struct pool *pool);

/* Adds to the promise what two buffers of these sizes will count. pool_take uses the promise
 * up, pool_unreserve gives it up. */
enum pool_answer pool_reserve(struct pool *pool, struct pool_promise *promise,
                              size_t size_bytes, size_t other_bytes);
void pool_unreserve(struct pool *pool, struct pool_promise *promise);

/* Takes a buffer of size_bytes from the arena (NULL: the private one). The promise pays as far
 * as it goes (NULL: nobody's), then the budget, whatever the peer's share. False when budget
 * or memory is short. */
bool pool_take(struct pool *pool, struct pool_arena *arena, size_t size_bytes,
               struct pool_promise *promise, struct pool_buffer *buffer);

/* As pool_take, but what the promise does not pay must be within the peer's share: for memory
 * that was not admitted. */
enum pool_answer pool_buy(struct pool *pool, struct pool_arena *arena, size_t size_bytes,
                          struct pool_promise *promise, struct pool_buffer *buffer);

/* The buffer no longer counts for its peer, which may go before it is given back. */
void pool_disown(struct pool *pool, struct pool_buffer *buffer);

/* Puts the pages up to `end` bytes in place, 4 MiB ahead of need, before anything is written
 * there. False when memory is short; the buffer is unchanged then. */
bool pool_touch(struct pool *pool, struct pool_buffer *buffer, size_t end);

/* The same, and clears what an earlier taker left up to `end`. */
bool pool_touch_zeroed(struct pool *pool, struct pool_buffer *buffer, size_t end);

/* Gives the buffer back and empties *buffer; an empty one is ignored. */
void pool_give(struct pool *pool, struct pool_buffer *buffer);

/* Returns the pages of buffers that have been idle for idle_ns to the system. */
void pool_trim(struct pool *pool, int64_t idle_ns);

/* The mapping of an arena (NULL: the private one), and the offset of a buffer in its own. */
const struct pool_range *pool_range(const struct pool *pool,
                                    const struct pool_arena *arena);
size_t pool_offset(const struct pool_buffer *buffer);

struct pool_counts pool_count(struct pool *pool);

/* Every pair was closed, and every buffer given back. Takes NULL. */
void pool_destroy(struct pool *pool);

#endif
