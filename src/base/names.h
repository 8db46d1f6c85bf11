/* base/names.h - finds equal names.
 *
 * Names come from outside, thousands in a message; comparing each with each would let the
 * sender choose how long that takes. */
#ifndef GP_BASE_NAMES_H
#define GP_BASE_NAMES_H

#include <graphpipe/message.h>

/* For each of n names the index of the first equal one, allocated in the arena; NULL when
 * memory is short or n is 0. Takes time n log n. */
const uint32_t *names_find_first(struct gp_arena *arena, const char *const *names,
                                 uint32_t n);

#endif
