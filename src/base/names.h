/* base/names.h - which of many names are the same.
 *
 * Names come from outside, thousands in a message: comparing each with each takes time that the
 * sender chooses.
 */
#ifndef GP_BASE_NAMES_H
#define GP_BASE_NAMES_H

#include <graphpipe/message.h>

/* For each of n names the index of the first one equal to it, in the arena; NULL when memory is
 * short, or n is 0. Takes time n log n. */
const uint32_t *names_find_first(struct gp_arena *arena, const char *const *names,
                                 uint32_t n);

#endif
