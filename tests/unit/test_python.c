/* What is asked of an interpreter: its package folders, and whether an engine can run in it. It may be
 * a program that says anything, or nothing for ever. */
#include "descriptors.h"
#include "engine/folders.h"
#include "engine/python.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A program in the tree, for sh. */
static void put_program(const char *path, const char *script)
{
    char whole[1024];
    (void)snprintf(whole, sizeof whole, "#!/bin/sh\n%s\n", script);
    tree_put(path, whole);
    assert_int_equal(chmod(tree_path(path), 0700), 0);
}

/* The folders that "python3" of a folder of programs names, each followed by a blank. */
static char *folders_of(const char *programs, char words[4096])
{
    char *before = strdup(getenv("PATH")), path[8192];
    struct text list = {0};
    (void)snprintf(path, sizeof path, "%s:%s", programs, before);
    assert_int_equal(setenv("PATH", path, 1), 0);
    engine_python_folders(&list);
    assert_int_equal(setenv("PATH", before, 1), 0);
    free(before);
    words[0] = '\0';
    for (const char *at = engine_folder_next(&list, NULL); at;
         at = engine_folder_next(&list, at))
        (void)snprintf(words + strlen(words), 4096 - strlen(words), "%s ", at);
    text_finish(&list);
    return words;
}

static void its_package_folders(void **state)
{
    char programs[4096], words[4096];
    (void)state;
    (void)snprintf(programs, sizeof programs, "%s/.deps/venv/bin",
                   getenv("GP_SOURCE_DIR"));
    assert_non_null(strstr(folders_of(programs, words), "/site-packages "));
    put_program("/python3", "echo /one; echo; echo /two; echo /one; echo lost >&2");
    assert_string_equal(folders_of(tree_root, words), "/one /two ");
    put_program("/python3", "printf /cut");
    assert_string_equal(folders_of(tree_root, words), "/cut ");
    put_program("/python3", "cat"); /* it has nothing to read */
    assert_string_equal(folders_of(tree_root, words), "");
}

static bool has_children(void)
{
    return waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD;
}

static void one_that_never_ends_is_ended(void **state)
{
    char words[4096];
    (void)state;
    put_program("/python3", "exec sleep 1000");
    turned_clock_set(1000 * CLOCK_S);
    turned_clock_add_at_each_look(6 * CLOCK_S);
    assert_string_equal(folders_of(tree_root, words), "");
    turned_clock_end();
    assert_false(has_children());
}

static void it_has_so_much_time(void **state)
{
    char words[4096];
    (void)state;
    put_program("/python3", "echo /one");
    turned_clock_set(1000 * CLOCK_S);
    turned_clock_add_at_each_look(2 * CLOCK_S); /* of five */
    assert_string_equal(folders_of(tree_root, words), "/one ");
    turned_clock_end();
}

/* --- engines --------------------------------------------------------------------------- */

static enum gp_status probe(const char *script, struct text *answer, struct gp_error *err)
{
    char python[600];
    const char *const texts[] = {"pythonic=no", python};
    const struct gp_engine_options options = {
        .size_bytes = sizeof options, .options = texts, .n_options = 2};
    (void)snprintf(python, sizeof python, "python=%s", tree_path("/mine"));
    if (script)
        put_program("/mine", script);
    *answer = (struct text){0};
    const enum gp_status status =
        engine_python_probe("/the/engine.py", &options, answer, err);
    assert_false(has_children());
    return status;
}

static void an_engine_is_asked(void **state)
{
    struct text answer;
    struct gp_error err;
    (void)state;
    assert_int_equal(probe("echo $1; echo $2", &answer, &err), GP_OK);
    assert_string_equal(answer.data, "/the/engine.py");
    assert_string_equal(engine_folder_next(&answer, answer.data), "probe");
    text_finish(&answer);
    assert_int_equal(probe("echo it lacks a package", &answer, &err), GP_UNAVAILABLE);
    assert_string_equal(err.message, "it lacks a package");
    text_finish(&answer);
    assert_int_equal(probe("true", &answer, &err), GP_UNAVAILABLE);
    assert_string_equal(err.message + strlen(tree_path("/mine")), " does not answer");
    text_finish(&answer);
}

static void an_interpreter_that_is_not_there(void **state)
{
    struct text answer;
    struct gp_error err;
    (void)state;
    const char *remedy = "; install Python 3.8 or newer, or name it with --python PATH";
    assert_int_equal(probe(NULL, &answer, &err), GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "cannot start the interpreter \""));
    assert_non_null(strstr(err.message, "/mine\": No such file or directory; install"));
    assert_non_null(strstr(err.message, remedy));
    tree_put("/mine", "");
    assert_int_equal(probe(NULL, &answer, &err), GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "/mine\": Permission denied; install"));
    descriptors_limit(0);
    const enum gp_status status =
        engine_python_probe("x", &(struct gp_engine_options){0}, &answer, &err);
    descriptors_unlimit();
    assert_int_equal(status, GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "Too many open files (ulimit -n is "));
    assert_int_equal(engine_python_failure("x", EMFILE, &err), GP_UNAVAILABLE);
    assert_null(strstr(err.message, "install"));
}

#define IN_A_TREE(test) cmocka_unit_test_setup_teardown(test, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_TREE(its_package_folders),
        IN_A_TREE(one_that_never_ends_is_ended),
        IN_A_TREE(it_has_so_much_time),
        IN_A_TREE(an_engine_is_asked),
        IN_A_TREE(an_interpreter_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
