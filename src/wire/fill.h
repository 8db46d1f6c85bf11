/* wire/fill.h - tensors with values as models expect them: floats from 0 to 1, like pixels and
 * features; integers below 100, small enough for indices; bytes of any value; strings of eight
 * letters.
 */
#ifndef GP_WIRE_FILL_H
#define GP_WIRE_FILL_H

#include "base/random.h"

#include <graphpipe/message.h>

/* The tensor has a type and a shape; its data is allocated in the arena. GP_TOO_LARGE if it does not fit
 * into a message. */
enum gp_status fill_tensor(struct gp_tensor *tensor, struct random *random,
                           struct gp_arena *arena, struct gp_error *err);

#endif
