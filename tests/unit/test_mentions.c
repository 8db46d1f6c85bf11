/* Names in the bytes of a file, wherever they are in what is read at once. */
#include "model/mentions.h"
#include "temp_tree.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WINDOW = 1 << 20 };

static atomic_bool is_ending;

/* Of one file with this name at this place among so many bytes of another kind. */
static bool is_found(const char *name, size_t at, size_t size)
{
    struct gp_error err;
    struct mention mentions[] = {
        {.name = "not there", .size_bytes = 9},
        {.name = name, .size_bytes = strlen(name)},
        {.name = "nor this", .size_bytes = 8},
    };
    char *content = malloc(size + 1);
    memset(content, 'n', size);
    memcpy(content + at, name, strlen(name));
    content[size] = '\0';
    tree_put("/m", content);
    free(content);
    const int fd = open(tree_path("/m"), O_RDONLY);
    assert_int_equal(mentions_find(fd, "/m", mentions, 3, &is_ending, &err), GP_OK);
    assert_false(mentions[0].is_found || mentions[2].is_found);
    close(fd);
    return mentions[1].is_found;
}

static void wherever_it_is(void **state)
{
    (void)state;
    assert_true(is_found("weights", 0, 7));
    assert_true(is_found("weights", 0, 100));
    assert_true(is_found("weights", 93, 100));
    for (size_t at = WINDOW - 8; at <= WINDOW + 1; at++)
        assert_true(is_found("weights", at, 2 * WINDOW));
    assert_true(is_found("weights", 3 * WINDOW - 7, 3 * WINDOW));
    assert_true(is_found("note", 50, 100)); /* begins as what is around it */
}

static void several_that_begin_alike(void **state)
{
    struct mention mentions[] = {
        {.name = "a.bin", .size_bytes = 5}, {.name = "a.bin2", .size_bytes = 6},
        {.name = "a.txt", .size_bytes = 5}, {.name = "a.", .size_bytes = 2},
        {.name = "a/", .size_bytes = 2},    {.name = "z", .size_bytes = 1},
    };
    static const bool wanted[] = {true, false, true, true, false, true};
    struct gp_error err;
    (void)state;
    tree_put("/m", "a.txt a.bin");
    const int fd = open(tree_path("/m"), O_RDONLY);
    assert_int_equal(mentions_find(fd, "/m", mentions, 6, &is_ending, &err), GP_OK);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(mentions[i].is_found, wanted[i]);
    assert_int_equal(mentions_find(fd, "/m", NULL, 0, &is_ending, &err), GP_OK);
    close(fd);
}

static void nothing_to_find_in_nothing(void **state)
{
    struct mention mention = {.name = "weights", .size_bytes = 7};
    struct gp_error err;
    (void)state;
    tree_put("/m", "");
    const int fd = open(tree_path("/m"), O_RDONLY);
    assert_int_equal(mentions_find(fd, "/m", &mention, 1, &is_ending, &err), GP_OK);
    assert_false(mention.is_found);
    close(fd);
    assert_int_equal(mentions_find(fd, "/m", &mention, 1, &is_ending, &err), GP_IO);
    assert_string_equal(err.message, "cannot read /m: Bad file descriptor");
}

static void the_end_stops_it(void **state)
{
    struct mention mention = {.name = "weights", .size_bytes = 7};
    struct gp_error err;
    (void)state;
    tree_put("/m", "weights");
    const int fd = open(tree_path("/m"), O_RDONLY);
    atomic_store(&is_ending, true);
    assert_int_equal(mentions_find(fd, "/m", &mention, 1, &is_ending, &err),
                     GP_UNAVAILABLE);
    assert_string_equal(err.message, "the server is ending");
    atomic_store(&is_ending, false);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wherever_it_is),
        TEST(several_that_begin_alike),
        TEST(nothing_to_find_in_nothing),
        TEST(the_end_stops_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
