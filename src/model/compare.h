/* model/compare.h - how far outputs differ that should be equal. */
#ifndef GP_MODEL_COMPARE_H
#define GP_MODEL_COMPARE_H

#include <graphpipe/message.h>

#include <stdbool.h>

/* A copy in the arena, with its strings; false if memory is short. */
bool compare_copy(struct gp_arena *arena, const struct gp_tensor *from,
                  struct gp_tensor *to);

/* The largest finite value of a tensor, or `least` if that is more; only floats have one. */
double compare_largest(const struct gp_tensor *tensor, double least);

/* The difference between `a`, which has one row, and row `at` of `b`: for floats, of which NaN equals NaN,
 * as a part of `largest`; for other types 0 or infinity, and so if types or shapes differ. */
double compare_row(const struct gp_tensor *a, const struct gp_tensor *b, uint32_t at,
                   double largest);

/* How far rows of a type may differ for which a framework chooses other instructions or another order of
 * adding by the number of rows. */
double compare_tolerance(enum gp_dtype dtype);

#endif
