/* server/convert.h - the types of 2018 that stand in for newer ones: Uint8 for Bool,
 * Float32 for BFloat16. */
#ifndef GP_SERVER_CONVERT_H
#define GP_SERVER_CONVERT_H

#include <graphpipe/message.h>

#include <stdbool.h>

/* True when a tensor of type `from` may come for an input of type `to`. */
bool convert_can(enum gp_dtype from, enum gp_dtype to);

/* Makes *tensor one of type `to`, its data in the arena where bytes must change; false
 * when memory is short. */
bool convert_tensor(struct gp_arena *arena, struct gp_tensor *tensor, enum gp_dtype to);

#endif
