/* A class takes a chunk when it needs a slot and none of its own is idle: from its home on, then
 * from the first chunk of all. It never has more slots than were in use at one time.
 *
 * A buffer counts more than half of its slot, so a class needs no more slots than the budget
 * has such halves. If there are addresses enough, each class has a home of that size: none
 * ever looks beyond its own, and every mix of buffers that fits the budget finds slots. (With
 * buffers that cannot move, a few times the budget is not enough: Robson, 1971.) With fewer
 * addresses homes overlap, and a class takes chunks whose slots are idle from others. If
 * buffers in use are scattered so that a large one finds no place, it is refused as if the
 * budget were short. */
#include "base/pool_space.h"

#include "base/mem.h"
#include "base/place.h"

#include <errno.h>

/* The budget has at least so many chunks. */
enum { BUDGET_CHUNKS = 64 };

/* The part of the addresses left that an arena takes if others are open and more may come: a
 * 128th, or up to a 16th while that is at most two budgets. With two budgets, two of a thousand
 * buffers of a mix that fills the budget find no place; with one and a quarter, a tenth. */
enum { MANY_PARTS = 128, FEW_PARTS = 16, GOOD_BUDGETS = 2 };

static size_t class_bytes(int class)
{
    return (size_t)1 << (POOL_SMALLEST_SHIFT + class);
}

static uint8_t chunk_shift(size_t budget_bytes)
{
    uint8_t shift = POOL_SMALLEST_SHIFT;
    while ((size_t)2 * BUDGET_CHUNKS << shift <= budget_bytes)
        shift++;
    return shift;
}

/* The budget need not be a power of two. */
static size_t slot_bytes(int class, size_t budget_bytes)
{
    const size_t chunk = (size_t)1 << chunk_shift(budget_bytes);
    const size_t most = round_up(budget_bytes, chunk > HUGE_BYTES ? chunk : HUGE_BYTES);
    return class_bytes(class) < most ? class_bytes(class) : most;
}

/* How many slots of the class can be in use at a time. */
static size_t most_slots(int class, size_t budget_bytes)
{
    return budget_bytes / (class ? class_bytes(class - 1) + PAGE_BYTES : PAGE_BYTES);
}

/* Gives it a home from the chunk `home` on, and returns the chunk behind that. */
static size_t lay_out(struct pool_class *class, int number, size_t budget_bytes,
                      size_t home)
{
    const uint8_t chunk = chunk_shift(budget_bytes);
    const uint8_t shift = (uint8_t)(POOL_SMALLEST_SHIFT + number);
    const size_t size = slot_bytes(number, budget_bytes);
    const size_t n = most_slots(number, budget_bytes);
    *class = (struct pool_class){.idle = POOL_NONE, .open = POOL_NONE};
    if (!n)
        return home;
    const size_t align = (size < HUGE_BYTES ? size : HUGE_BYTES) >> chunk;
    class->unit_shift = shift < chunk ? shift : chunk;
    class->slots_shift = (uint8_t)(chunk - class->unit_shift);
    class->n_chunks = shift < chunk ? 1 : (uint32_t)(size >> chunk);
    class->step = align ? (uint32_t)align : 1;
    home = round_up(home, class->step);
    class->home = (uint32_t)home;
    const size_t n_of_chunk = (size_t)1 << class->slots_shift;
    return home + (n + n_of_chunk - 1) / n_of_chunk * class->n_chunks;
}

static size_t lay_out_all(struct pool_class classes[POOL_N_CLASSES], size_t budget_bytes)
{
    size_t end = 0;
    for (int i = 0; i < POOL_N_CLASSES; i++)
        end = lay_out(&classes[i], i, budget_bytes, end);
    return end;
}

size_t pool_space_most_bytes(size_t budget_bytes)
{
    struct pool_class classes[POOL_N_CLASSES];
    return round_up(lay_out_all(classes, budget_bytes) << chunk_shift(budget_bytes),
                    HUGE_BYTES);
}

/* Room for a buffer as large as the budget, beside small ones. */
static size_t least_bytes(size_t budget_bytes)
{
    return round_up(budget_bytes + budget_bytes / 4, HUGE_BYTES);
}

/* What is wanted, as far as it is of use, or the least if just enough is left. */
static size_t choose_bytes(size_t budget_bytes, uint64_t wanted, uint64_t left)
{
    const size_t most = pool_space_most_bytes(budget_bytes);
    const size_t least = least_bytes(budget_bytes);
    if (wanted >= most)
        return most < POOL_SPACE_MAX_BYTES ? most : POOL_SPACE_MAX_BYTES;
    if (wanted >= least)
        return wanted / HUGE_BYTES * HUGE_BYTES;
    return left / 4 * 3 >= least ? least : 0;
}

size_t pool_space_first_bytes(size_t budget_bytes)
{
    const uint64_t left = place_addresses_left();
    return choose_bytes(budget_bytes, left / 8 * 3, left);
}

size_t pool_space_next_bytes(size_t budget_bytes, unsigned n_arenas)
{
    const uint64_t left = place_addresses_left();
    const uint64_t few = left / FEW_PARTS, good = (uint64_t)GOOD_BUDGETS * budget_bytes;
    const uint64_t wanted = good < few ? good : few;
    return choose_bytes(budget_bytes,
                        wanted > left / MANY_PARTS ? wanted : left / MANY_PARTS,
                        left / n_arenas);
}

bool pool_space_init(struct pool_space *space, size_t budget_bytes, size_t size_bytes)
{
    space->chunk_shift = chunk_shift(budget_bytes);
    const size_t n_wanted = lay_out_all(space->classes, budget_bytes);
    if (!pool_range_map(&space->range, size_bytes))
        return false;
    const size_t n_chunks = size_bytes >> space->chunk_shift;
    for (int i = 0; i < POOL_N_CLASSES && n_chunks < n_wanted; i++) {
        struct pool_class *class = &space->classes[i];
        class->home = (uint32_t)(class->home * n_chunks / n_wanted);
    }
    space->chunks = mem_array(n_chunks, sizeof *space->chunks);
    if (!space->chunks) {
        pool_range_unmap(&space->range);
        errno = ENOMEM;
        return false;
    }
    space->n_chunks = (uint32_t)n_chunks;
    return true;
}

void pool_space_finish(struct pool_space *space)
{
    for (uint32_t i = 0; i < space->n_chunks; i++)
        mem_free(space->chunks[i].slots);
    mem_free(space->chunks);
    pool_range_unmap(&space->range);
    *space = (struct pool_space){.range.fd = -1};
}

size_t pool_space_huge_at(const struct pool_space *space)
{
    const struct pool_class *class = &space->classes[POOL_FIRST_HUGE_CLASS];
    return class->n_chunks ? (size_t) class->home << space->chunk_shift
                           : space->range.size_bytes;
}

static bool is_free(const struct pool_space *space, uint32_t chunk, bool may_be_idle)
{
    const struct pool_chunk *c = &space->chunks[chunk];
    return !c->is_taken || (may_be_idle && space->chunks[c->first].n_live == 0);
}

/* Finds as many free chunks in a row as a slot needs, from `at` on. */
static uint32_t find_from(const struct pool_space *space, const struct pool_class *class,
                          uint32_t at, bool may_be_idle)
{
    uint32_t n = 0;
    for (at = (uint32_t)round_up(at, class->step);
         (size_t)at + class->n_chunks <= space->n_chunks;) {
        if (n == class->n_chunks)
            return at;
        if (is_free(space, at + n, may_be_idle)) {
            n++;
        } else {
            at = (uint32_t)round_up(at + n + 1, class->step);
            n = 0;
        }
    }
    return POOL_NONE;
}

static uint32_t find_chunks(const struct pool_space *space,
                            const struct pool_class *class, bool may_be_idle)
{
    if (!class->n_chunks)
        return POOL_NONE;
    const uint32_t at = find_from(space, class, class->home, may_be_idle);
    return at != POOL_NONE ? at : find_from(space, class, 0, may_be_idle);
}

static bool open_chunk(struct pool_space *space, int number)
{
    struct pool_class *class = &space->classes[number];
    const uint32_t at = find_chunks(space, class, false);
    struct pool_slot *slots =
        at != POOL_NONE ? mem_array((size_t)1 << class->slots_shift, sizeof *slots)
                        : NULL;
    if (!slots)
        return false;
    for (uint32_t i = 0; i < class->n_chunks; i++)
        space->chunks[at + i] =
            (struct pool_chunk){.first = at, .is_taken = true, .class = (uint8_t)number};
    space->chunks[at].slots = slots;
    class->open = at;
    return true;
}

uint32_t pool_space_add(struct pool_space *space, int number)
{
    struct pool_class *class = &space->classes[number];
    const bool is_open = class->open != POOL_NONE &&
                         space->chunks[class->open].n_made < 1u << class->slots_shift;
    if (!is_open && !open_chunk(space, number))
        return POOL_NONE;
    return (class->open << class->slots_shift) + space->chunks[class->open].n_made++;
}

uint32_t pool_space_idle_chunks(const struct pool_space *space, int class)
{
    return find_chunks(space, &space->classes[class], true);
}

void pool_space_drop(struct pool_space *space, uint32_t chunk)
{
    struct pool_chunk *first = &space->chunks[chunk];
    const int number = first->class;
    struct pool_class *class = &space->classes[number];
    uint32_t *link = &class->idle;
    while (*link != POOL_NONE) {
        struct pool_slot *slot = pool_space_slot(space, number, *link);
        if (pool_space_chunk(space, number, *link) == first)
            *link = slot->next;
        else
            link = &slot->next;
    }
    mem_free(first->slots);
    for (uint32_t i = 0; i < class->n_chunks; i++)
        first[i] = (struct pool_chunk){0};
    if (class->open == chunk)
        class->open = POOL_NONE;
}
