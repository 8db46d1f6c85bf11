/* base/arena.h - arenas whose memory is paid for: what a request allocates comes from the pool.
 *
 * An arena of gp_arena_create is the heap's alone. One that has been given a pool keeps its first
 * block on the heap, so that a small request touches no pool; whatever is beyond that is bought from
 * the pool, in the name of the promise's peer. So a message cannot make a server take memory that
 * nobody has admitted, whichever step of its way asks for it.
 *
 * Threads: as gp_arena, one at a time.
 */
#ifndef GP_BASE_ARENA_H
#define GP_BASE_ARENA_H

#include "base/pool.h"

#include <graphpipe/message.h>

/* An arena whose memory, and nothing else of it, lies where child processes may see it. NULL when
 * memory is short. */
struct gp_arena *arena_create_shared(void);

/* From now on blocks are bought from the pool, paid from *promise as far as it goes. Called again
 * with another promise, that one pays. The arena borrows the promise until it is reset. */
void arena_pay_from(struct gp_arena *arena, struct pool *pool,
                    struct pool_promise *promise);

/* The same for a shared arena, which is empty: its blocks lie in this arena of the pool's. */
void arena_share_from(struct gp_arena *arena, struct pool *pool,
                      struct pool_arena *shared, struct pool_promise *promise);

/* The blocks are nobody's from now on, and none are added: the peer may go before the arena. */
void arena_disown(struct gp_arena *arena);

#endif
