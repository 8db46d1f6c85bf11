#include "chance.h"

#include <stdatomic.h>

unsigned long chance_seed;

unsigned any(unsigned n)
{
    static atomic_ulong n_threads;
    static _Thread_local unsigned long at;
    if (!at)
        at = (chance_seed +
              atomic_fetch_add_explicit(&n_threads, 1, memory_order_relaxed)) *
                 0x9e3779b97f4a7c15u |
             1;
    at ^= at << 13;
    at ^= at >> 7;
    at ^= at << 17;
    return (unsigned)(at >> 33) % n;
}
