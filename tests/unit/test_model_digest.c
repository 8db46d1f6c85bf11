/* What a model with a cache is known by: its files, wherever they are, with those that it reads beside
 * them; its engine and the options of that. Whatever decides what it answers has another digest. */
#include "kept_log.h"
#include "model/model.h"
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

static atomic_bool is_ending;
static struct gp_engine engine;
static struct model model;
static struct model_host host;
static struct log kept;
static struct gp_model_options options;
static struct gp_error err;

static int begin(void **state)
{
    atomic_store(&is_ending, false);
    kept_log_begin(&kept);
    host = (struct model_host){.log = &kept, .is_ending = &is_ending};
    engine = (struct gp_engine){.name = "onnx"};
    model = (struct model){.host = &host,
                           .arena = gp_arena_create(),
                           .engine = &engine,
                           .engine_version = "1.2"};
    options = (struct gp_model_options){.engine = "onnx"};
    err = (struct gp_error){0};
    return tree_make(state);
}

static int end(void **state)
{
    model_digest_drop(&model);
    gp_arena_destroy(model.arena);
    kept_log_end(&kept);
    return tree_remove(state);
}

static enum gp_status open_whole(const char *path)
{
    model_digest_drop(&model);
    model.files = NULL;
    options.path = path;
    const enum gp_status status = model_digest_begin(&model, &options, &err);
    return status == GP_OK ? model_digest_end(&model, &options, &err) : status;
}

static enum gp_status open_at(const char *path)
{
    return open_whole(path ? tree_path(path) : NULL);
}

static struct digest digest_of(const char *path)
{
    if (open_at(path) != GP_OK)
        fail_msg("%s: %s", path ? path : "no file", err.message);
    return model.digest;
}

static bool are_equal(struct digest a, struct digest b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

#define assert_same(path, digest) assert_true(are_equal(digest_of(path), digest))
#define assert_other(path, digest) assert_false(are_equal(digest_of(path), digest))

static void assert_refused(const char *path, enum gp_status status, const char *words)
{
    assert_int_equal(open_at(path), status);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" is not in \"%s\"", words, err.message);
}

/* --- files --- */

static void a_file_is_its_content(void **state)
{
    (void)state;
    tree_put("/a/m.onnx", "weights");
    tree_put("/b/other.onnx", "weights");
    const struct digest digest = digest_of("/a/m.onnx");
    assert_same("/a/m.onnx", digest);
    assert_same("/b/other.onnx", digest);
    assert_int_equal(chdir(tree_path("/b")), 0);
    assert_int_equal(open_whole("other.onnx"), GP_OK); /* from here */
    assert_true(are_equal(model.digest, digest));
    assert_int_equal(chdir("/"), 0);
    tree_put("/b/other.onnx", "weightt");
    assert_other("/b/other.onnx", digest);
    tree_put("/b/other.onnx", "weight");
    assert_other("/b/other.onnx", digest);
    tree_put("/b/other.onnx", "");
    assert_other("/b/other.onnx", digest);
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
        assert_other("/m.onnx", digest);
        content[places[i]] ^= 1;
    }
    tree_put("/m.onnx", content);
    assert_same("/m.onnx", digest);
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
        assert_other("/m.onnx", digest);
        digest = digest_of("/m.onnx");
        tree_drop(named[i]);
        assert_other("/m.onnx", digest);
        tree_put(named[i], "2");
        assert_same("/m.onnx", digest);
    }
    tree_put("/m_dat", "unrelated, though its name occurs"); /* which costs a miss only */
    assert_other("/m.onnx", digest);
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
    assert_same("/n.xml", digest);
    tree_put("/n.bin", "2");
    assert_other("/n.xml", digest);
    tree_drop("/n.bin");
    assert_other("/n.xml", digest);
    tree_put("/n.bim", "1");
    assert_other("/n.xml", digest);
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
    assert_same("/m.onnx", digest);
    tree_move("/other", "/renamed");
    assert_same("/m.onnx", digest);
}

static void a_folder_is_all_that_it_holds(void **state)
{
    (void)state;
    tree_put("/a/saved_model.pb", "graph");
    tree_put("/a/variables/index", "1");
    tree_put("/b/c/saved_model.pb", "graph");
    tree_put("/b/c/variables/index", "1");
    options.engine = "tensorflow";
    struct digest digest = digest_of("/a");
    assert_same("/b/c", digest);
    assert_same("/a/", digest);
    tree_put("/a/variables/index", "2");
    assert_other("/a", digest);
    tree_put("/a/variables/index", "1");
    assert_same("/a", digest);
    tree_put("/a/variables/data", "");
    assert_other("/a", digest);
    digest = digest_of("/a");
    tree_move("/a/variables/data", "/a/variables/datb");
    assert_other("/a", digest);
    digest = digest_of("/a");
    tree_folder("/a/assets");
    assert_other("/a", digest);
    digest = digest_of("/a");
    tree_put("/a/.DS_Store", "1"); /* as for the repository */
    assert_same("/a", digest);
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
    assert_other("/one/m.xml", digest_of("/two/m.xml"));
    tree_put("/a/saved_model.pb", "ab");
    tree_put("/a/x", "c");
    tree_put("/b/saved_model.pb", "a");
    tree_put("/b/x", "bc");
    assert_other("/b", digest_of("/a"));
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
    assert_same("/linked/m.onnx", digest_of("/real/m.onnx"));
    assert_same("/linked", digest_of("/real"));
    tree_put("/blobs/2", "2");
    assert_other("/linked/m.onnx", digest_of("/real/m.onnx"));
    assert_other("/linked", digest_of("/real"));
    tree_link("/linked/nowhere", "gone");
    assert_refused("/linked", GP_INVALID, "linked/nowhere leads nowhere");
    tree_drop("/linked/nowhere");
    tree_link("/linked/loop", ".");
    assert_refused("/linked", GP_TOO_LARGE, "more than 16 deep");
}

static void a_file_may_name_folders_so_deep(void **state)
{
    (void)state;
    tree_put("/m.onnx", "loop/ m_data");
    tree_put("/m_data", "1");
    tree_link("/loop", ".");
    assert_refused("/m.onnx", GP_TOO_LARGE, "m.onnx names folders more than 16 deep");
}

static void what_cannot_be_read_is_named(void **state)
{
    (void)state;
    assert_refused("/gone.onnx", GP_NOT_FOUND, "gone.onnx: No such file");
    tree_put("/m.onnx", "location m_data");
    tree_put("/m_data", "1");
    if (geteuid() == 0)
        return; /* who may read everything */
    assert_int_equal(chmod(tree_path("/m_data"), 0), 0);
    assert_refused("/m.onnx", GP_IO, "m_data: Permission denied");
}

/* A file of no size that has content: as if it had grown. */
static void what_grows_while_it_is_read_is_refused(void **state)
{
    (void)state;
    assert_int_equal(open_whole("/proc/self/status"), GP_UNAVAILABLE);
    assert_string_equal(err.message,
                        "/proc/self/status has changed since it was read: load "
                        "the model again");
}

static void reading_stops_at_the_end(void **state)
{
    (void)state;
    tree_put("/m.onnx", "weights");
    atomic_store(&is_ending, true);
    assert_refused("/m.onnx", GP_UNAVAILABLE, "the server is ending");
}

/* --- changes while it is opened --- */

static void assert_changed(const char *path, const char *what)
{
    assert_int_equal(model_digest_end(&model, &options, &err), GP_UNAVAILABLE);
    if (!strstr(err.message, what) ||
        !strstr(err.message, "has changed since it was read"))
        fail_msg("%s: %s", path, err.message);
    assert_int_equal(open_at(path), GP_OK);
}

static void a_change_while_it_is_opened_is_noticed(void **state)
{
    (void)state;
    tree_put("/m.onnx", "location m_data");
    tree_put("/m_data", "1");
    assert_int_equal(open_at("/m.onnx"), GP_OK);
    tree_put("/m_data", "2"); /* of the same size */
    assert_changed("/m.onnx", "m_data");
    tree_put("/new", "1");
    tree_move("/new", "/m_data");
    assert_changed("/m.onnx", "m_data");
    tree_put("/m.onnx", "location m_data");
    assert_changed("/m.onnx", "m.onnx");
    const struct timespec times[2] = {0};
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/m_data"), times, 0), 0);
    assert_int_equal(open_at("/m.onnx"), GP_OK);
    tree_put("/m_data", "2"); /* and its time is set back */
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/m_data"), times, 0), 0);
    assert_changed("/m.onnx", "m_data");
    tree_drop("/m_data");
    assert_changed("/m.onnx", "m_data");

    tree_put("/f/saved_model.pb", "graph");
    tree_put("/f/variables/index", "1");
    assert_int_equal(open_at("/f"), GP_OK);
    tree_put("/f/variables/data", "1");
    assert_changed("/f", "variables");
    tree_drop("/f/variables/index");
    assert_changed("/f", "variables");
}

/* --- all else --- */

static void the_engine_counts(void **state)
{
    static const char *const some[] = {"device=cpu", "library=/l"},
                             *const turned[] = {"library=/l", "device=cpu"},
                             *const joined[] = {"device=cpulibrary=/l", ""};
    (void)state;
    tree_put("/m.onnx", "weights");
    const struct digest none = digest_of("/m.onnx");
    options.engine_options = some;
    options.n_engine_options = 2;
    const struct digest two = digest_of("/m.onnx");
    assert_false(are_equal(none, two));
    options.n_engine_options = 1;
    assert_other("/m.onnx", two);
    options.n_engine_options = 2;
    options.engine_options = joined;
    assert_other("/m.onnx", two);
    options.engine_options = turned; /* the last of two with a name may count */
    assert_other("/m.onnx", two);
    options.engine_options = some;
    assert_same("/m.onnx", two);
    model.engine_version = "1.3";
    assert_other("/m.onnx", two);
    model.engine_version = "1.2";
    options.engine = "openvino";
    assert_other("/m.onnx", two);
}

static void what_does_not_change_answers_does_not_count(void **state)
{
    static const char *const names[] = {"x"};
    (void)state;
    tree_put("/m.onnx", "weights");
    const struct digest digest = digest_of("/m.onnx");
    options.isolate = 1;
    options.name = "other";
    options.inputs = options.outputs = names;
    options.n_inputs = options.n_outputs = 1;
    options.n_slots = 3;
    options.max_batch = 8;
    assert_same("/m.onnx", digest);
}

static void an_engine_without_a_file(void **state)
{
    (void)state;
    options.engine = "echo";
    const struct digest digest = digest_of(NULL);
    assert_same(NULL, digest);
    assert_same("/gone", digest); /* it does not look */
}

/* Its rows are for this very opening. */
static void code_is_other_each_time(void **state)
{
    static const char *const engines[] = {"python", "some", "./graphpipe-engine-onnx.so"};
    (void)state;
    tree_put("/m.py", "import other");
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) {
        options.engine = engines[i];
        assert_other("/m.py", digest_of("/m.py"));
    }
    model.files = NULL;
    options.engine = NULL; /* a function */
    assert_int_equal(model_digest_end(&model, &options, &err), GP_OK);
    const struct digest digest = model.digest;
    assert_int_equal(model_digest_end(&model, &options, &err), GP_OK);
    assert_false(are_equal(model.digest, digest));
}

static void another_server_is_not_cached(void **state)
{
    (void)state;
    options.engine = "remote";
    assert_refused(NULL, GP_UNSUPPORTED, "--cache is not for the engine remote: ");
    options.engine = "/lib/graphpipe-engine-remote.so";
    engine.name = "remote";
    assert_refused(NULL, GP_UNSUPPORTED, "--cache is not for the engine remote: ");
}

/* --- processes of it that are started anew --- */

static void the_same_files_are_the_same_model(void **state)
{
    (void)state;
    model.store = (struct store *)(void *)&model; /* it has one */
    tree_put("/m.onnx", "weights");
    (void)digest_of("/m.onnx");
    model_digest_reopened(&model);
    assert_true(atomic_load(&model.salt) == 0);
    options.engine = "echo";
    (void)digest_of("/gone");
    model_digest_reopened(&model);
    assert_true(atomic_load(&model.salt) == 0);
    assert_logged(&kept, "");
}

static void other_files_are_another_model(void **state)
{
    (void)state;
    model.store = (struct store *)(void *)&model;
    tree_put("/m.onnx", "weights");
    (void)digest_of("/m.onnx");
    tree_put("/m.onnx", "others!");
    model_digest_reopened(&model);
    const uint64_t salt = atomic_load(&model.salt);
    assert_true(salt != 0);
    model_digest_reopened(&model);
    assert_true(atomic_load(&model.salt) != salt && atomic_load(&model.salt) != 0);
    assert_logged(&kept,
                  "warning: */m.onnx has changed since it was read: load the model "
                  "again; until then what was cached of it is not answered any more\n*");
}

static void code_is_another_model(void **state)
{
    (void)state;
    options.engine = "python";
    tree_put("/m.py", "import other");
    (void)digest_of("/m.py");
    model_digest_reopened(&model); /* without a cache nothing is of interest */
    assert_true(atomic_load(&model.salt) == 0);
    model.store = (struct store *)(void *)&model;
    model_digest_reopened(&model);
    assert_true(atomic_load(&model.salt) != 0);
    assert_logged(&kept, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_its_content),
        TEST(a_large_file_is_read_to_its_end),
        TEST(a_file_counts_with_those_that_it_names),
        TEST(a_file_counts_with_its_stem),
        TEST(what_else_is_beside_does_not_count),
        TEST(a_folder_is_all_that_it_holds),
        TEST(files_do_not_flow_into_each_other),
        TEST(links_are_what_they_lead_to),
        TEST(a_file_may_name_folders_so_deep),
        TEST(what_cannot_be_read_is_named),
        TEST(what_grows_while_it_is_read_is_refused),
        TEST(reading_stops_at_the_end),
        TEST(a_change_while_it_is_opened_is_noticed),
        TEST(the_engine_counts),
        TEST(what_does_not_change_answers_does_not_count),
        TEST(an_engine_without_a_file),
        TEST(code_is_other_each_time),
        TEST(another_server_is_not_cached),
        TEST(the_same_files_are_the_same_model),
        TEST(other_files_are_another_model),
        TEST(code_is_another_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
