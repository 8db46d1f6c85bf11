/* base/half.h - the two 16-bit floats, which C11 has no type for, to and from double. */
#ifndef GP_BASE_HALF_H
#define GP_BASE_HALF_H

#include <stdint.h>

double half_from_float16(uint16_t bits);
double half_from_bfloat16(uint16_t bits);

/* The nearest value, to even on a tie; infinity beyond the largest. */
uint16_t half_to_float16(double value);
uint16_t half_to_bfloat16(double value);

#endif
