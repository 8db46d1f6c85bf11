/* base/random.h - numbers that look random and repeat with the same seed. */
#ifndef GP_BASE_RANDOM_H
#define GP_BASE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state; /* any seed will do */
};

uint64_t random_bits(struct random *random);

/* 0 <= value < 1 */
double random_uniform(struct random *random);

/* With mean 1: the gaps between independent arrivals. */
double random_exponential(struct random *random);

#endif
