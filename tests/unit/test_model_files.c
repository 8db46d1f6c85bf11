/* The files that a model with a cache is known by, wherever they are, with those that it reads beside them; and
 * changes while it is opened. */
#include "digest_fixture.h"
#include "temp_tree.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void a_file_is_its_content(void **state)
{
    (void)state;
    tree_put("/a/m.onnx", "weights");
    tree_put("/b/other.onnx", "weights");
    const struct digest digest = digest_of("/a/m.onnx");
    digest_assert_same("/a/m.onnx", digest);
    digest_assert_same("/b/other.onnx", digest);
    assert_int_equal(chdir(tree_path("/b")), 0);
    assert_int_equal(digest_open("other.onnx"), GP_OK); /* from here */
    assert_true(digests_are_equal(digested.model.digest, digest));
    assert_int_equal(chdir("/"), 0);
    tree_put("/b/other.onnx", "weightt");
    digest_assert_other("/b/other.onnx", digest);
    tree_put("/b/other.onnx", "weight");
    digest_assert_other("/b/other.onnx", digest);
    tree_put("/b/other.onnx", "");
    digest_assert_other("/b/other.onnx", digest);
}

/* Longer than what is read at once: each bit counts, and the order. */
static void a_large_file_is_read_to_its_end(void **state)
{
    enum { SIZE = (5 << 20) / 2 };
    char *content = malloc(SIZE + 1);
    (void)state;
    memset(content, 'x', SIZE);
    content[SIZE] = '\0';
    tree_put("/m.onnx", content);
    const struct digest digest = digest_of("/m.onnx");
    static const size_t places[] = {0, (1 << 20) - 1, 1 << 20, SIZE - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        content[places[i]] ^= 1;
        tree_put("/m.onnx", content);
        digest_assert_other("/m.onnx", digest);
        content[places[i]] ^= 1;
    }
    tree_put("/m.onnx", content);
    digest_assert_same("/m.onnx", digest);
    free(content);
}

static void a_file_counts_with_those_that_it_names(void **state)
{
    (void)state;
    tree_put("/m.onnx", "location m_data; w/part.1; w/./part.2; .hidden");
    tree_put("/m_data", "1");
    tree_put("/w/part.1", "1");
    tree_put("/w/part.2", "1");
    tree_put("/.hidden", "1");
    struct digest digest = digest_of("/m.onnx");
    static const char *const named[] = {"/m_data", "/w/part.1", "/w/part.2", "/.hidden"};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        tree_put(named[i], "2");
        digest_assert_other("/m.onnx", digest);
        digest = digest_of("/m.onnx");
        tree_drop(named[i]);
        digest_assert_other("/m.onnx", digest);
        tree_put(named[i], "2");
        digest_assert_same("/m.onnx", digest);
    }
    tree_put("/m_dat", "unrelated, though its name occurs"); /* which costs a miss only */
    digest_assert_other("/m.onnx", digest);
}

/* Nor does who may read it. */
static void permissions_do_not_count(void **state)
{
    (void)state;
    tree_put("/m.onnx", "location m_data");
    tree_put("/m_data", "1");
    tree_put("/f/saved_model.pb", "graph");
    tree_put("/f/variables/index", "1");
    const struct digest file = digest_of("/m.onnx"), folder = digest_of("/f");
    static const char *const paths[] = {"/m.onnx", "/m_data", "/f/saved_model.pb"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_int_equal(chmod(tree_path(paths[i]), 0640), 0);
    assert_int_equal(chmod(tree_path("/f"), 0750), 0);
    assert_int_equal(chmod(tree_path("/f/variables"), 0750), 0);
    digest_assert_same("/m.onnx", file);
    digest_assert_same("/f", folder);
}

/* The weights of m.xml are in m.bin. */
static void a_file_counts_with_its_stem(void **state)
{
    (void)state;
    tree_put("/m.xml", "<net>");
    tree_put("/m.bin", "1");
    tree_put("/n.xml", "<net>");
    tree_put("/n.bin", "1");
    const struct digest digest = digest_of("/m.xml");
    digest_assert_same("/n.xml", digest);
    tree_put("/n.bin", "2");
    digest_assert_other("/n.xml", digest);
    tree_drop("/n.bin");
    digest_assert_other("/n.xml", digest);
    tree_put("/n.bim", "1");
    digest_assert_other("/n.xml", digest);
}

static void what_else_is_beside_does_not_count(void **state)
{
    (void)state;
    tree_put("/m.onnx", "location m_data");
    tree_put("/m_data", "1");
    const struct digest digest = digest_of("/m.onnx");
    tree_put("/other.onnx", "1");
    tree_put("/other", "1");
    tree_put("/location", "but a folder's name has a slash");
    tree_drop("/location");
    tree_folder("/location");
    tree_put("/unnamed/m_data", "1");
    tree_link("/dangling", "nowhere");
    tree_link("/loop", ".");
    assert_int_equal(mkfifo(tree_path("/pipe"), 0600), 0);
    digest_assert_same("/m.onnx", digest);
    tree_move("/other", "/renamed");
    digest_assert_same("/m.onnx", digest);
}

static void a_folder_is_all_that_it_holds(void **state)
{
    (void)state;
    tree_put("/a/saved_model.pb", "graph");
    tree_put("/a/variables/index", "1");
    tree_put("/b/c/saved_model.pb", "graph");
    tree_put("/b/c/variables/index", "1");
    digested.options.engine = "tensorflow";
    struct digest digest = digest_of("/a");
    digest_assert_same("/b/c", digest);
    digest_assert_same("/a/", digest);
    tree_put("/a/variables/index", "2");
    digest_assert_other("/a", digest);
    tree_put("/a/variables/index", "1");
    digest_assert_same("/a", digest);
    tree_put("/a/variables/data", "");
    digest_assert_other("/a", digest);
    digest = digest_of("/a");
    tree_move("/a/variables/data", "/a/variables/datb");
    digest_assert_other("/a", digest);
    digest = digest_of("/a");
    tree_folder("/a/assets");
    digest_assert_other("/a", digest);
    digest = digest_of("/a");
    tree_put("/a/.DS_Store", "1"); /* as for the repository */
    digest_assert_same("/a", digest);
}

/* The same bytes, but for where one file ends, and what comes behind that. */
static void files_do_not_flow_into_each_other(void **state)
{
    static const unsigned char behind[] = {
        1, 0, 0, 0, 0, 0, 0, 0,                     /* it has the stem, */
        4, 0, 0, 0, 0, 0, 0, 0, '.', 'b', 'i', 'n', /* and differs by this */
    };
    (void)state;
    tree_put("/one/m.xml", "abc");
    FILE *file = fopen(tree_path("/one/m.xml"), "a");
    assert_int_equal(fwrite(behind, 1, sizeof behind, file), sizeof behind);
    (void)fclose(file);
    tree_put("/two/m.xml", "abc");
    tree_put("/two/m.bin", "");
    digest_assert_other("/one/m.xml", digest_of("/two/m.xml"));
    tree_put("/a/saved_model.pb", "ab");
    tree_put("/a/x", "c");
    tree_put("/b/saved_model.pb", "a");
    tree_put("/b/x", "bc");
    digest_assert_other("/b", digest_of("/a"));
}

static void links_are_what_they_lead_to(void **state)
{
    (void)state;
    tree_put("/blobs/1", "location m_data");
    tree_put("/blobs/2", "1");
    tree_put("/real/m.onnx", "location m_data");
    tree_put("/real/m_data", "1");
    tree_folder("/linked");
    tree_link("/linked/m.onnx", "../blobs/1");
    tree_link("/linked/m_data", "../blobs/2");
    digest_assert_same("/linked/m.onnx", digest_of("/real/m.onnx"));
    digest_assert_same("/linked", digest_of("/real"));
    tree_put("/blobs/2", "2");
    digest_assert_other("/linked/m.onnx", digest_of("/real/m.onnx"));
    digest_assert_other("/linked", digest_of("/real"));
    tree_link("/linked/nowhere", "gone");
    digest_assert_refused("/linked", GP_INVALID, "linked/nowhere leads nowhere");
    tree_drop("/linked/nowhere");
    tree_link("/linked/loop", ".");
    digest_assert_refused("/linked", GP_TOO_LARGE, "more than 16 deep");
}

static void a_file_may_name_folders_so_deep(void **state)
{
    (void)state;
    tree_put("/m.onnx", "loop/ m_data");
    tree_put("/m_data", "1");
    tree_link("/loop", ".");
    digest_assert_refused("/m.onnx", GP_TOO_LARGE,
                          "m.onnx names folders more than 16 deep");
}

static void what_cannot_be_read_is_named(void **state)
{
    (void)state;
    digest_assert_refused("/gone.onnx", GP_NOT_FOUND, "gone.onnx: No such file");
    tree_put("/m.onnx", "location m_data");
    tree_put("/m_data", "1");
    if (geteuid() == 0)
        return; /* who may read everything */
    assert_int_equal(chmod(tree_path("/m_data"), 0), 0);
    digest_assert_refused("/m.onnx", GP_IO, "m_data: Permission denied");
}

static void a_device_is_no_model(void **state)
{
    (void)state;
    assert_int_equal(digest_open("/dev/null"), GP_UNAVAILABLE);
}

/* A file of no size that has content: as if it had grown. */
static void what_grows_while_it_is_read_is_refused(void **state)
{
    (void)state;
    assert_int_equal(digest_open("/proc/self/status"), GP_UNAVAILABLE);
    assert_string_equal(digested.err.message,
                        "/proc/self/status has changed since it was read: load "
                        "the model again");
}

static void reading_stops_at_the_end(void **state)
{
    (void)state;
    tree_put("/m.onnx", "weights");
    atomic_store(&digested.is_ending, true);
    digest_assert_refused("/m.onnx", GP_UNAVAILABLE, "the server is ending");
}

/* --- changes while it is opened --- */

static void assert_changed(const char *path, const char *what)
{
    assert_int_equal(model_digest_end(&digested.model, &digested.options, &digested.err),
                     GP_UNAVAILABLE);
    if (!strstr(digested.err.message, what) ||
        !strstr(digested.err.message, "has changed since it was read"))
        fail_msg("%s: %s", path, digested.err.message);
    assert_int_equal(digest_open_at(path), GP_OK);
}

static void a_change_while_it_is_opened_is_noticed(void **state)
{
    (void)state;
    tree_put("/m.onnx", "location m_data");
    tree_put("/m_data", "1");
    assert_int_equal(digest_open_at("/m.onnx"), GP_OK);
    tree_put("/m_data", "2"); /* of the same size */
    assert_changed("/m.onnx", "m_data");
    tree_put("/new", "1");
    tree_move("/new", "/m_data");
    assert_changed("/m.onnx", "m_data");
    tree_put("/m.onnx", "location m_data");
    assert_changed("/m.onnx", "m.onnx");
    const struct timespec times[2] = {0};
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/m_data"), times, 0), 0);
    assert_int_equal(digest_open_at("/m.onnx"), GP_OK);
    tree_put("/m_data", "2"); /* and its time is set back */
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/m_data"), times, 0), 0);
    assert_changed("/m.onnx", "m_data");
    tree_drop("/m_data");
    assert_changed("/m.onnx", "m_data");

    tree_put("/f/saved_model.pb", "graph");
    tree_put("/f/variables/index", "1");
    assert_int_equal(digest_open_at("/f"), GP_OK);
    tree_put("/f/variables/data", "1");
    assert_changed("/f", "variables");
    tree_drop("/f/variables/index");
    assert_changed("/f", "variables");
}

#define TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, digest_begin_test, digest_end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_its_content),
        TEST(a_large_file_is_read_to_its_end),
        TEST(a_file_counts_with_those_that_it_names),
        TEST(permissions_do_not_count),
        TEST(a_file_counts_with_its_stem),
        TEST(what_else_is_beside_does_not_count),
        TEST(a_folder_is_all_that_it_holds),
        TEST(files_do_not_flow_into_each_other),
        TEST(links_are_what_they_lead_to),
        TEST(a_file_may_name_folders_so_deep),
        TEST(what_cannot_be_read_is_named),
        TEST(a_device_is_no_model),
        TEST(what_grows_while_it_is_read_is_refused),
        TEST(reading_stops_at_the_end),
        TEST(a_change_while_it_is_opened_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
