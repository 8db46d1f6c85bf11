/* base/checked.h - arithmetic on numbers from outside: false instead of a wrapped
 * result. */
#ifndef GP_BASE_CHECKED_H
#define GP_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>

static inline bool checked_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool checked_mul(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

#endif
