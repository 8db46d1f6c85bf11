/* Tests that cannot run here. */
#ifndef GP_TESTS_SKIPPING_H
#define GP_TESTS_SKIPPING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Skips the test, and says why where tools/test reads it. */
#define SKIP_BECAUSE(...)                                                                \
    do {                                                                                 \
        print_message("skipped: " __VA_ARGS__);                                          \
        print_message("\n");                                                             \
        skip();                                                                          \
    } while (0)

#endif
