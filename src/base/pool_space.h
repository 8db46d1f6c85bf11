/* base/pool_space.h - where buffers lie in an arena: its addresses are cut into chunks, and a
 * chunk into slots of one size class. Called with the pool's lock held. */
#ifndef GP_BASE_POOL_SPACE_H
#define GP_BASE_POOL_SPACE_H

#include "base/pool_range.h"

enum {
    POOL_SMALLEST_SHIFT = 12,
    POOL_N_CLASSES = 20,
    POOL_FIRST_HUGE_CLASS = 9 /* its slots are of one huge page */
};

#define POOL_NONE UINT32_MAX

/* Slots have numbers of 32 bits, and the smallest are of a page. */
#define POOL_SPACE_MAX_BYTES ((size_t)1 << 43)

struct pool_slot {
    uint32_t next;        /* in the list of idle ones */
    size_t touched_bytes; /* 0 while in use: its buffer has the number then */
    size_t pinned_bytes;  /* from its start on, or 0 */
    int64_t idle_since_ns;
};

/* A slot that is larger than a chunk has several, and the first one describes it. Zero while no
 * class has it, so that few pages of a table that is hardly used are touched. */
struct pool_chunk {
    struct pool_slot *slots;
    uint32_t n_made; /* slots; the others were never used */
    uint32_t n_live; /* slots in use */
    uint32_t first;  /* chunk of the same slot */
    bool is_taken;
    uint8_t class;
};

struct pool_class {
    uint8_t unit_shift;  /* slot number x lies at x << unit_shift */
    uint8_t slots_shift; /* a chunk has 1 << slots_shift */
    uint32_t n_chunks;   /* of a slot; 0: the slots are too large for the budget */
    uint32_t step;       /* a slot's first chunk is a multiple of this */
    uint32_t home;       /* the chunk where the search for new ones begins */
    uint32_t open;       /* chunk with slots that were never used */
    uint32_t idle;       /* first of the idle slots */
};

struct pool_space {
    struct pool_range range;
    uint8_t chunk_shift; /* a chunk has 1 << chunk_shift bytes */
    uint32_t n_chunks;
    struct pool_chunk *chunks;
    struct pool_class classes[POOL_N_CLASSES];
};

/* The addresses with which every mix of buffers that fits the budget finds slots. */
size_t pool_space_most_bytes(size_t budget_bytes);

/* The size of the first arena: that many, or three eighths of the addresses left if they are
 * limited, since other arenas, threads, libraries and models need the rest. 0: too few are
 * left. */
size_t pool_space_first_bytes(size_t budget_bytes);

/* The size of each of n_arenas that are opened together later: as many, or a part of what is
 * left that leaves room for many more. 0: too few are left. */
size_t pool_space_next_bytes(size_t budget_bytes, unsigned n_arenas);

/* Maps size_bytes and cuts them; false and errno. */
bool pool_space_init(struct pool_space *space, size_t budget_bytes, size_t size_bytes);
void pool_space_finish(struct pool_space *space);

/* Where in the range the classes from POOL_FIRST_HUGE_CLASS on begin, if each has a home. */
size_t pool_space_huge_at(const struct pool_space *space);

/* A new slot of the class; POOL_NONE when addresses or memory are short. */
uint32_t pool_space_add(struct pool_space *space, int class);

/* The first of the chunks that a slot of this class would have if they were given up, with no
 * slot in use in any of them; POOL_NONE: there are none. */
uint32_t pool_space_idle_chunks(const struct pool_space *space, int class);

/* Gives up a chunk with all its slots, which are idle and have no pages. */
void pool_space_drop(struct pool_space *space, uint32_t chunk);

static inline struct pool_chunk *pool_space_chunk(const struct pool_space *space,
                                                  int class, uint32_t slot)
{
    return &space->chunks[slot >> space->classes[class].slots_shift];
}

static inline struct pool_slot *pool_space_slot(const struct pool_space *space, int class,
                                                uint32_t slot)
{
    const uint32_t mask = (1u << space->classes[class].slots_shift) - 1;
    return &pool_space_chunk(space, class, slot)->slots[slot & mask];
}

static inline unsigned char *pool_space_data(const struct pool_space *space, int class,
                                             uint32_t slot)
{
    return space->range.base + ((size_t)slot << space->classes[class].unit_shift);
}

#endif
