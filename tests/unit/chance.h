/* Choices at random, which GP_SEED repeats, and checks that say what it was. Any thread. */
#ifndef GP_TESTS_CHANCE_H
#define GP_TESTS_CHANCE_H

#include <stdio.h>
#include <stdlib.h>

extern unsigned long chance_seed;

/* 0 to n - 1; each thread has a sequence of its own. */
unsigned any(unsigned n);

/* Asserts of cmocka are for the test's own thread. */
#define CHECK(condition)                                                                 \
    do                                                                                   \
        if (!(condition)) {                                                              \
            (void)fprintf(stderr, "%s:%d: %s does not hold (GP_SEED=%lu)\n", __FILE__,   \
                          __LINE__, #condition, chance_seed);                            \
            abort();                                                                     \
        }                                                                                \
    while (0)

#endif
