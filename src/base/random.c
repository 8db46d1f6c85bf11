/* SplitMix64; and exponential variates by von Neumann's comparisons (1951), which need no
 * logarithm and so no libm: uniform numbers are drawn while they fall, and runs of odd
 * length are just likely enough that the first number of such a run, plus the number of
 * even runs before it, is exponential. */
#include "base/random.h"

#include <stdbool.h>

uint64_t random_bits(struct random *random)
{
    uint64_t bits = random->state += UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94d049bb133111eb);
    return bits ^ (bits >> 31);
}

double random_uniform(struct random *random)
{
    return (double)(random_bits(random) >> 11) * 0x1p-53;
}

double random_exponential(struct random *random)
{
    for (unsigned n_even = 0;; n_even++) {
        const double first = random_uniform(random);
        double last = first, next = random_uniform(random);
        bool is_odd = true;
        while (next < last) {
            is_odd = !is_odd;
            last = next;
            next = random_uniform(random);
        }
        if (is_odd)
            return n_even + first;
    }
}
