/* Where a framework's library is searched, in which order, and what is said of those that cannot be
 * used. Each test has a folder of its own; "libraries" are copies of the echo plug-in. */
#include "descriptors.h"
#include "engine/engine.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_SIZE = 4096 };

static const struct gp_library wanted = {
    .file = "libgp-none.so.1",
    .pattern = "libgpsearch.so*",
    .deps = "gpsearch",
    .package = "gpsearch/lib",
    .remedy = "make it",
    .symbol = "gp_engine_entry",
};

static char found[PATH_SIZE];
static struct gp_error err;

static int set_up(void **state)
{
    unsetenv("GRAPHPIPE_ENGINE_PATH");
    return tree_make(state);
}

static void write_library(const char *path)
{
    char command[3 * PATH_SIZE];
    (void)snprintf(command, sizeof command, "cp '%s/lib/graphpipe/%s' '%s'",
                   getenv("GP_BUILD_DIR"), "graphpipe-engine-echo.so", path);
    assert_int_equal(system(command), 0);
}

static void *open_library(const char *option)
{
    const char *const options_of[] = {"a=b", option};
    const struct gp_engine_options options = {
        .size_bytes = sizeof options, .options = options_of, .n_options = option ? 2 : 1};
    found[0] = '\0';
    err = (struct gp_error){.message = ""};
    return engine_library_open(&wanted, &options, found, sizeof found, &err);
}

static void assert_fails(const char *option, enum gp_status status, const char *begin,
                         const char *end)
{
    assert_null(open_library(option));
    const size_t n = strlen(err.message), m = strlen(end);
    if (err.status != status || strncmp(err.message, begin, strlen(begin)) != 0 ||
        n < m || strcmp(err.message + n - m, end) != 0)
        fail_msg("%s: \"%s\", not \"%s...%s\"", gp_status_name(err.status), err.message,
                 begin, end);
}

/* --- folders --------------------------------------------------------------------------- */

static void the_newest_is_taken(void **state)
{
    (void)state;
    write_library(tree_path("/libgpsearch.so.1.9.0"));
    write_library(tree_path("/libgpsearch.so.1.10.0"));
    tree_put("/libgpsearch.so", "");
    tree_put("/libothers.so.2", "");
    tree_put("/.libgpsearch.so.2", "");
    setenv("GRAPHPIPE_ENGINE_PATH", tree_root, 1);
    assert_non_null(open_library(NULL));
    assert_string_equal(found, tree_path("/libgpsearch.so.1.10.0"));
    assert_non_null(engine_library_open(&wanted, NULL, NULL, 0, &err));
}

/* In whichever order the folder lists them. */
static void the_newest_may_have_a_shorter_name(void **state)
{
    static const char *const paths[] = {"/a/libgpsearch.so.1.10.0", "/a/libgpsearch.so.2",
                                        "/b/libgpsearch.so.2",
                                        "/b/libgpsearch.so.1.10.0"};
    (void)state;
    assert_int_equal(mkdir(tree_path("/a"), 0700), 0);
    assert_int_equal(mkdir(tree_path("/b"), 0700), 0);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        write_library(tree_path(paths[i]));
    for (size_t i = 1; i < 3; i++) {
        setenv("GRAPHPIPE_ENGINE_PATH", tree_path(i == 1 ? "/a" : "/b"), 1);
        assert_non_null(open_library(NULL));
        assert_string_equal(found, tree_path(paths[i]));
    }
}

static void a_path_may_have_any_letters(void **state)
{
    (void)state;
    assert_int_equal(mkdir(tree_path("/100%d"), 0700), 0);
    write_library(tree_path("/100%d/libgpsearch.so"));
    setenv("GRAPHPIPE_ENGINE_PATH", tree_path("/100%d"), 1);
    assert_non_null(open_library(NULL));
    assert_string_equal(found, tree_path("/100%d/libgpsearch.so"));
}

/* The first folder that has one that can be used. */
static void unusable_ones_are_passed_over(void **state)
{
    char path[2 * PATH_SIZE];
    (void)state;
    tree_put("/a/libgpsearch.so.9", "not a library");
    tree_folder("/b");
    write_library(tree_path("/b/libgpsearch.so.1"));
    tree_folder("/c");
    write_library(tree_path("/c/libgpsearch.so.2"));
    (void)snprintf(path, sizeof path, "%s:/nowhere:%s:%s", tree_path("/a"),
                   tree_path("/b"), tree_path("/c"));
    setenv("GRAPHPIPE_ENGINE_PATH", path, 1);
    assert_non_null(open_library(NULL));
    assert_string_equal(found, tree_path("/b/libgpsearch.so.1"));
}

/* Where an installation puts a framework of several libraries. */
static void a_folder_beside_the_plugins_is_searched(void **state)
{
    (void)state;
    tree_folder("/gpsearch");
    write_library(tree_path("/gpsearch/libgpsearch.so.1"));
    setenv("GRAPHPIPE_ENGINE_PATH", tree_root, 1);
    assert_non_null(open_library(NULL));
    assert_string_equal(found, tree_path("/gpsearch/libgpsearch.so.1"));
}

/* Four folders up from the program, which lies in the build's folder tests/. */
static void what_set_up_has_fetched_is_found(void **state)
{
    char deps[PATH_SIZE], path[2 * PATH_SIZE];
    (void)state;
    (void)snprintf(deps, sizeof deps, "%s/.deps", getenv("GP_BUILD_DIR"));
    (void)mkdir(deps, 0755);
    (void)snprintf(deps, sizeof deps, "%s/.deps/gpsearch", getenv("GP_BUILD_DIR"));
    (void)mkdir(deps, 0755);
    (void)snprintf(path, sizeof path, "%s/libgpsearch.so.3", deps);
    write_library(path);
    void *handle = open_library(NULL);
    (void)unlink(path);
    (void)rmdir(deps);
    *strrchr(deps, '/') = '\0';
    (void)rmdir(deps);
    assert_non_null(handle);
    assert_string_equal(found, path);
}

static void the_systems_libraries_are_known(void **state)
{
    const struct gp_library libc = {
        .file = "libc.so.6", .pattern = "libgpnone.so*", .symbol = "printf"};
    (void)state;
    assert_non_null(engine_library_open(&libc, NULL, found, sizeof found, &err));
    assert_int_equal(found[0], '/'); /* where it was found */
    assert_int_equal(access(found, R_OK), 0);
}

/* A python3 that says what it is told, and the package folder that it names. */
static void the_packages_of_python_are_searched(void **state)
{
    char script[2 * PATH_SIZE], *path = strdup(getenv("PATH"));
    (void)state;
    tree_folder("/site/gpsearch/lib");
    write_library(tree_path("/site/gpsearch/lib/libgpsearch.so.4"));
    (void)snprintf(script, sizeof script, "#!/bin/sh\necho /nowhere\necho '%s'\n",
                   tree_path("/site"));
    tree_put("/bin/python3", script);
    assert_int_equal(chmod(tree_path("/bin/python3"), 0700), 0);
    (void)snprintf(script, sizeof script, "%s:%s", tree_path("/bin"), path);
    setenv("PATH", script, 1);
    assert_non_null(open_library(NULL));
    assert_string_equal(found, tree_path("/site/gpsearch/lib/libgpsearch.so.4"));

    /* a broken library is said, one that is not there is as well */
    tree_drop("/site/gpsearch/lib/libgpsearch.so.4");
    tree_put("/site/gpsearch/lib/libgpsearch.so.5", "not a library");
    assert_fails(NULL, GP_UNAVAILABLE,
                 "libgpsearch.so* cannot be used: ", "; to install it: make it");
    assert_non_null(strstr(err.message, "libgpsearch.so.5: "));
    tree_drop("/site/gpsearch/lib/libgpsearch.so.5");
    assert_fails(NULL, GP_UNAVAILABLE, "libgpsearch.so* is not there: looked in /",
                 "/site/gpsearch/lib; to install it: make it");
    assert_non_null(
        strstr(err.message, ", the system's libraries, the packages of python3, /"));
    setenv("PATH", "/nowhere", 1);
    assert_null(open_library(NULL));
    setenv("PATH", path, 1);
    free(path);
}

static void a_library_may_have_few_places(void **state)
{
    const struct gp_library poor = {.pattern = "libgpnone.so*"};
    (void)state;
    assert_null(engine_library_open(&poor, NULL, found, sizeof found, &err));
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "libgpnone.so* is not there: looked in /"));
    assert_null(strstr(err.message, "python3"));
    assert_null(strstr(err.message, "system"));
    assert_null(strstr(err.message, "install"));
}

static void a_search_leaves_nothing_open(void **state)
{
    char *path = strdup(getenv("PATH"));
    (void)state;
    tree_put("/python3", "#!/bin/sh\n"); /* it is asked, and knows no folders */
    assert_int_equal(chmod(tree_path("/python3"), 0700), 0);
    setenv("GRAPHPIPE_ENGINE_PATH", tree_root, 1);
    setenv("PATH", tree_root, 1);
    const unsigned n = descriptors_count();
    assert_null(open_library(NULL));
    assert_int_equal(descriptors_count(), n);
    setenv("PATH", path, 1);
    free(path);
}

/* --- by name --------------------------------------------------------------------------- */

static const char *option(const char *path)
{
    static char words[3 * PATH_SIZE];
    (void)snprintf(words, sizeof words, "library=%s", path);
    return words;
}

/* It alone, though others are found elsewhere. */
static void a_named_one_is_taken(void **state)
{
    char *before = getcwd(NULL, 0);
    (void)state;
    tree_folder("/c");
    write_library(tree_path("/c/libgpsearch.so.1"));
    write_library(tree_path("/c/mine.so"));
    setenv("GRAPHPIPE_ENGINE_PATH", tree_path("/c"), 1);
    assert_non_null(open_library(option(tree_path("/c/mine.so"))));
    assert_string_equal(found, tree_path("/c/mine.so"));
    assert_non_null(open_library(option(tree_path("/c"))));
    assert_string_equal(found, tree_path("/c/libgpsearch.so.1"));
    assert_int_equal(chdir(tree_path("/c")), 0);
    assert_non_null(open_library("library=mine.so")); /* not the system's */
    assert_int_equal(chdir(before), 0);
    free(before);
}

static void a_named_one_that_cannot_be_used(void **state)
{
    char end[2 * PATH_SIZE];
    (void)state;
    tree_put("/bad.so", "not a library");
    tree_folder("/empty");
    assert_fails(option(tree_path("/bad.so")), GP_UNAVAILABLE, "library=/",
                 "; to install it: make it");
    assert_non_null(strstr(err.message, "/bad.so: "));
    assert_null(strstr(err.message, "lacks")); /* what is true of a library only */
    (void)snprintf(end, sizeof end, "%s/lib/graphpipe-test/graphpipe-engine-noentry.so",
                   getenv("GP_BUILD_DIR"));
    assert_fails(
        option(end), GP_UNAVAILABLE, "library=/",
        "graphpipe-engine-noentry.so lacks gp_engine_entry; to install it: make it");
    assert_fails(option(tree_path("/empty")), GP_UNAVAILABLE, "library=/",
                 "/empty: no file in it matches; to install it: make it");
    assert_fails("library=/no/such/file", GP_NOT_FOUND,
                 "library=/no/such/file: there is no such file",
                 "; to install it: make it");
}

#define IN_A_TREE(test) cmocka_unit_test_setup_teardown(test, set_up, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_TREE(the_newest_is_taken),
        IN_A_TREE(the_newest_may_have_a_shorter_name),
        IN_A_TREE(a_path_may_have_any_letters),
        IN_A_TREE(unusable_ones_are_passed_over),
        IN_A_TREE(a_folder_beside_the_plugins_is_searched),
        IN_A_TREE(what_set_up_has_fetched_is_found),
        IN_A_TREE(the_systems_libraries_are_known),
        IN_A_TREE(the_packages_of_python_are_searched),
        IN_A_TREE(a_library_may_have_few_places),
        IN_A_TREE(a_search_leaves_nothing_open),
        IN_A_TREE(a_named_one_is_taken),
        IN_A_TREE(a_named_one_that_cannot_be_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
