/* What a model at a path of its own is known by: its file, or all files of its folder. */
#include "model/load.h"
#include "temp_tree.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t other_fingerprint(const char *path, uint64_t before)
{
    const uint64_t now = load_fingerprint(tree_path(path));
    assert_true(now != 0);
    assert_true(now != before);
    assert_true(load_fingerprint(tree_path(path)) == now);
    return now;
}

static void set_time(const char *path, time_t s, long ns)
{
    const struct timespec times[2] = {{.tv_sec = s}, {.tv_sec = s, .tv_nsec = ns}};
    assert_int_equal(utimensat(AT_FDCWD, tree_path(path), times, 0), 0);
}

/* Each of them alone. */
static void a_file_has_a_time_a_size_and_an_inode(void **state)
{
    (void)state;
    tree_put("/a", "1234");
    set_time("/a", 1000, 0);
    uint64_t now = other_fingerprint("/a", 0);
    for (int i = 1; i < 4; i++) {
        set_time("/a", 1000 + i, 999999990);
        now = other_fingerprint("/a", now);
    }
    for (int i = 1; i < 4; i++) {
        set_time("/a", 1003, 999999990 + i);
        now = other_fingerprint("/a", now);
    }
    assert_int_equal(truncate(tree_path("/a"), 5), 0);
    set_time("/a", 1003, 999999993);
    now = other_fingerprint("/a", now);
    tree_put("/b", "12345");
    set_time("/b", 1003, 999999993);
    tree_move("/b", "/a");
    (void)other_fingerprint("/a", now);
}

static void a_folder_has_those_of_its_files(void **state)
{
    (void)state;
    tree_put("/m/saved_model.pb", "1");
    tree_put("/m/variables/index", "1");
    uint64_t now = other_fingerprint("/m", 0);
    tree_put("/m/variables/index", "12");
    now = other_fingerprint("/m", now);
    tree_put("/m/variables/more", "");
    now = other_fingerprint("/m", now);
    tree_drop("/m/variables");
    now = other_fingerprint("/m", now);
    tree_link("/link", "m");
    assert_true(load_fingerprint(tree_path("/link")) == now);
    assert_true(load_fingerprint(tree_path("/m/")) == now);
}

static void what_is_not_there_has_none(void **state)
{
    (void)state;
    assert_true(load_fingerprint(tree_path("/none")) == 0);
    assert_true(load_fingerprint("") == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_has_a_time_a_size_and_an_inode),
        TEST(a_folder_has_those_of_its_files),
        TEST(what_is_not_there_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
