/* A repository that is followed (model/sync.h), in a tree of files (temp_tree.h), with a log that the
 * test reads, on a clock that it turns. The engine is the real echo. */
#ifndef GP_TESTS_SYNC_FIXTURE_H
#define GP_TESTS_SYNC_FIXTURE_H

#include "kept_log.h"
#include "model/sync.h"
#include "models_fixture.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

extern struct sync_fixture {
    struct models_fixture *f;
    struct sync sync;
    struct log log;
    struct gp_error err;              /* of what was done last */
    struct gp_model_options defaults; /* one slot of echo */
    atomic_bool is_ending;
} following;

/* Around each test of cmocka: the repository has version 1 of m, and is not followed yet. */
int sync_fixture_begin(void **state);
int sync_fixture_end(void **state);

/* The same, and it is: m is served from the first look on. */
int sync_fixture_follow(void **state);

#define SYNC_TEST(name)                                                                  \
    cmocka_unit_test_setup_teardown(name, sync_fixture_follow, sync_fixture_end)

enum gp_status sync_fixture_init(const char *path);

/* Looks again, so long after the last time, and reads the repository. */
void look_after(int64_t ms, const struct model_entry *at_once);

/* Looks until what has changed before has settled. */
void look_twice(void);

/* "m 2 1  n": the names and the versions that are ready. */
void assert_serves(const char *wanted);

#endif
