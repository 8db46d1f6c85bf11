/* Looks at the repository of a test (temp_tree.h) and says what was found, a line for each. */
#ifndef GP_TESTS_REPOSITORY_FIXTURE_H
#define GP_TESTS_REPOSITORY_FIXTURE_H

#include "base/text.h"
#include "model/repository.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Where looks go, and how the last of them failed. */
extern struct fixture {
    struct gp_arena *arena;
    struct catalog catalog;
    struct gp_error err;
} fixture;

int fixture_make(void **state);
int fixture_remove(void **state);

#define REPOSITORY_TEST(name)                                                            \
    cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)

enum gp_status fixture_look(const char *path);

/* One line for each version, examined, "NAME NUMBER PATH", or "NAME NUMBER: " and why there is none;
 * then one for each problem, "! NAME NUMBER MESSAGE". */
void fixture_describe(struct text *text);

/* That is what the last look found, or one of the whole tree that goes well. A "*" in a wanted line
 * stands for anything. */
void assert_shows(const char *wanted);
void assert_found(const char *wanted);

/* The look fails. */
void assert_refused(const char *path, enum gp_status status, const char *message);

#endif
