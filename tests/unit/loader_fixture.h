/* A loader of models, with a table, a log that the test reads, and a tree of files (temp_tree.h). */
#ifndef GP_TESTS_LOADER_FIXTURE_H
#define GP_TESTS_LOADER_FIXTURE_H

#include "kept_log.h"
#include "model/loader.h"
#include "models_fixture.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

extern struct loader_fixture {
    struct models_fixture *f;
    struct loader loader;
    struct log log;
    struct gp_error err;  /* of what was done last */
    bool is_refused;      /* likewise, of an order */
    size_t n_descriptors; /* of the process, before */
} loading;

/* Around each test of cmocka; the thread need not be started, and is stopped. */
int loader_fixture_begin(void **state);
int loader_fixture_end(void **state);

#define LOADER_TEST(name)                                                                \
    cmocka_unit_test_setup_teardown(name, loader_fixture_begin, loader_fixture_end)

void loading_start(void);

/* Opens a lone model of that name, and its path or NULL, with the echo engine and one slot. */
struct model *loading_open(const char *name, const char *path);

/* Waits until the command is done. */
enum gp_status loading_order(enum loader_ask ask, const char *name);
enum gp_status loading_configure(const struct gp_server_options *options);

/* The model that an address leads to; NULL: loading.err says why there is none. */
struct model *loading_find(const char *path);

/* No model is there, and that is why. A "*" stands for anything. */
void assert_finds_none(const char *path, const char *message);

/* What was done last has failed so. */
void assert_error(enum gp_status status, const char *message);

#endif
