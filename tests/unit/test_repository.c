/* Which models and versions a folder holds: the layouts of others, and what changed. */
#include "repository_fixture.h"

#include "model/model_name.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- layouts -------------------------------------------------------------------------- */

static void versions_of_models(void **state)
{
    (void)state;
    tree_put("/bert/2/model.onnx", "");
    tree_put("/bert/10/any.onnx", "");
    tree_put("/bert/000000003/model.py", "");
    tree_put("/bert/0/model.pt", "");
    tree_put("/a.b_c-1/18446744073709551615/net.xml", "");
    tree_put("/README.md", "a file that is no model");
    tree_put("/bert/labels.txt", "");
    tree_put("/bert/docs/notes.txt", "");
    assert_found("a.b_c-1 18446744073709551615 /a.b_c-1/18446744073709551615/net.xml\n"
                 "bert 0 /bert/0/model.pt\n"
                 "bert 2 /bert/2/model.onnx\n"
                 "bert 3 /bert/000000003/model.py\n"
                 "bert 10 /bert/10/any.onnx\n");
}

static void without_versions(void **state)
{
    (void)state;
    tree_put("/bert/bert.onnx", "");
    tree_put("/bert/vocabulary.txt", "");
    tree_put("/plain/weights", "\x08\x08\x12\x01");
    tree_put("/unet/saved_model.pb", "");
    tree_put("/unet/variables/variables.index", "");
    assert_found("bert 1 /bert/bert.onnx\n"
                 "plain 1 /plain/weights\n"
                 "unet 1 /unet\n");
}

static void tensorflow_serving(void **state)
{
    (void)state;
    tree_put("/half_plus_two/00000123/saved_model.pb", "");
    tree_put("/half_plus_two/00000123/variables/variables.index", "");
    tree_put("/half_plus_two/00000123/assets/foo.txt", "");
    tree_put("/half_plus_two/124/saved_model.pb", "");
    assert_found("half_plus_two 123 /half_plus_two/00000123\n"
                 "half_plus_two 124 /half_plus_two/124\n");
}

static void triton(void **state)
{
    (void)state;
    static const char *const files[] = {
        "/bare/1/config.pbtxt",
        "/bare/1/weights",
        "/folder/1/model.onnx/model.onnx",
        "/folder/1/model.onnx/weights.bin",
        "/graph/1/model.graphdef",
        "/graph/config.pbtxt",
        "/onnx/1/model.onnx",
        "/onnx/1/model.onnx.data",
        "/onnx/config.pbtxt",
        "/onnx/configs/other.pbtxt",
        "/onnx/labels.txt",
        "/openvino/1/model.bin",
        "/openvino/1/model.xml",
        "/plan/1/model.plan",
        "/plan/1/config.pbtxt",
        "/plan/1/labels.txt",
        "/python/1/model.py",
        "/python/1/helper.py",
        "/saved/1/model.savedmodel/saved_model.pb",
        "/saved/1/model.savedmodel/variables/variables.index",
        "/torch/1/model.pt",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        tree_put(files[i], "");
    tree_put("/onnx/1/model.onnx.data", "\x08\x08\x12 which begins like an ONNX model");
    tree_folder("/ensemble/1");
    tree_put("/ensemble/config.pbtxt", "platform: \"ensemble\"");
    assert_found("bare 1 /bare/1/weights\n"
                 "ensemble 1: */ensemble/1 holds no model*\n"
                 "folder 1 /folder/1/model.onnx/model.onnx\n"
                 "graph 1 /graph/1/model.graphdef\n"
                 "onnx 1 /onnx/1/model.onnx\n"
                 "openvino 1 /openvino/1/model.xml\n"
                 "plan 1 /plan/1/model.plan\n"
                 "python 1 /python/1/model.py\n"
                 "saved 1 /saved/1/model.savedmodel\n"
                 "torch 1 /torch/1/model.pt\n");
}

static void one_model_is_the_root(void **state)
{
    (void)state;
    tree_put("/saved_model.pb", "");
    tree_put("/variables/variables.index", "");
    tree_put("/assets extra/foo.txt", "");
    assert_found("model 1 \n");
    tree_drop("/saved_model.pb");
    tree_put("/resnet.onnx", "");
    tree_put("/config.pbtxt", "");
    assert_found("model 1 /resnet.onnx\n");
    assert_int_equal(
        repository_look(fixture.arena, tree_root, "mine", &fixture.catalog, &fixture.err),
        GP_OK);
    assert_shows("mine 1 /resnet.onnx\n");
    assert_int_equal(repository_look(fixture.arena, tree_root, "metrics",
                                     &fixture.catalog, &fixture.err),
                     GP_OK);
    assert_shows("! metrics *route*\n");
}

static void versions_in_the_root(void **state)
{
    (void)state;
    tree_put("/1/saved_model.pb", "");
    tree_put("/2/saved_model.pb", "");
    tree_put("/README.md", "");
    assert_found("model 1 /1\nmodel 2 /2\n");
    tree_put("/02/saved_model.pb", "");
    assert_found("model 1 /1\n! model 2 */02 and */2 are the same version*\n");
}

/* As Kubernetes mounts a ConfigMap, or a projected volume. */
static void config_map(void **state)
{
    (void)state;
    tree_put("/..2024_01/model.onnx", "");
    tree_link("/..data", "..2024_01");
    tree_link("/model.onnx", "..data/model.onnx");
    assert_found("model 1 /model.onnx\n");
    tree_drop("/model.onnx");
    tree_put("/..2024_01/bert/1/model.onnx", "");
    tree_link("/bert", "..data/bert");
    tree_put("/..2024_01/2/model.onnx", "");
    tree_link("/other/2", "../..data/2");
    tree_link("/third/3/model.onnx", "../../..data/model.onnx");
    assert_found("bert 1 /bert/1/model.onnx\n"
                 "other 2 /other/2/model.onnx\n"
                 "third 3 /third/3/model.onnx\n");
}

static void root_is_a_link(void **state)
{
    (void)state;
    tree_put("/.worktrees/a/bert/1/model.onnx", "");
    tree_link("/.worktrees/a/link", "bert");
    tree_link("/current", ".worktrees/a");
    assert_int_equal(fixture_look(tree_path("/current//")), GP_OK);
    assert_shows("bert 1 /current/bert/1/model.onnx\n"
                 "link 1 /current/link/1/model.onnx\n");
}

static void left_out(void **state)
{
    (void)state;
    tree_put("/.git/1/model.onnx", "");
    tree_folder("/lost+found");
    tree_put("/bert/1/.model.onnx.Xa81", "");
    tree_put("/bert/1/model.onnx", "");
    tree_put("/bert/.2/model.onnx", "");
    tree_put("/bert/1/__pycache__/model.pyc", "");
    assert_found("bert 1 /bert/1/model.onnx\n");
    const uint64_t before = fixture.catalog.models[0].versions[0].fingerprint;
    tree_put("/bert/1/.model.onnx.Xa81", "more");
    tree_put("/bert/1/__pycache__/other.pyc", "");
    assert_found("bert 1 /bert/1/model.onnx\n");
    assert_int_equal(fixture.catalog.models[0].versions[0].fingerprint, before);
}

/* --- what changes --------------------------------------------------------------------- */

static uint64_t fingerprint(void)
{
    assert_int_equal(fixture_look(tree_root), GP_OK);
    assert_int_equal(repository_examine(&fixture.catalog,
                                        &fixture.catalog.models[0].versions[0],
                                        &fixture.err),
                     GP_OK);
    return fixture.catalog.models[0].versions[0].fingerprint;
}

static uint64_t other_fingerprint(uint64_t before)
{
    const uint64_t now = fingerprint();
    assert_true(now != before);
    assert_true(fingerprint() == now);
    return now;
}

static void changes_are_noticed(void **state)
{
    (void)state;
    tree_put("/bert/1/model.onnx", "1234");
    uint64_t now = fingerprint();
    assert_true(fingerprint() == now);
    tree_put("/bert/1/model.onnx", "12345");
    now = other_fingerprint(now);
    tree_put("/bert/1/weights/a", "");
    now = other_fingerprint(now);
    tree_move("/bert/1/weights/a", "/bert/1/weights/b");
    now = other_fingerprint(now);
    tree_folder("/bert/1/more");
    now = other_fingerprint(now);
    tree_drop("/bert/1/weights");
    now = other_fingerprint(now);
    struct timespec same[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/bert/1/model.onnx"), same, 0), 0);
    now = other_fingerprint(now);
    same[1].tv_sec = 2;
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/bert/1/model.onnx"), same, 0), 0);
    now = other_fingerprint(now);
    same[1].tv_nsec = 1;
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/bert/1/model.onnx"), same, 0), 0);
    now = other_fingerprint(now);
    assert_int_equal(truncate(tree_path("/bert/1/model.onnx"), 4), 0);
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/bert/1/model.onnx"), same, 0), 0);
    now = other_fingerprint(now);
    tree_put("/bert/next", "4321"); /* of the same size and time */
    assert_int_equal(utimensat(AT_FDCWD, tree_path("/bert/next"), same, 0), 0);
    tree_move("/bert/next", "/bert/1/model.onnx");
    now = other_fingerprint(now);
    tree_put("/bert/2/model.onnx", ""); /* of another version */
    assert_true(fingerprint() == now);
}

static void settled(void **state)
{
    (void)state;
    struct catalog before;
    tree_put("/bert/1/model.onnx", "12");
    tree_put("/bert/2/model.onnx", "12");
    fingerprint();
    const struct catalog_version *version = &fixture.catalog.models[0].versions[0];
    assert_false(catalog_is_settled(NULL, "bert", version));
    before = fixture.catalog;
    fingerprint();
    version = &fixture.catalog.models[0].versions[0];
    assert_true(catalog_is_settled(&before, "bert", version));
    assert_false(catalog_is_settled(&before, "other", version));
    assert_false(
        catalog_is_settled(&before, "bert", &fixture.catalog.models[0].versions[1]));
    tree_put("/bert/1/model.onnx", "123");
    before = fixture.catalog;
    fingerprint();
    assert_false(
        catalog_is_settled(&before, "bert", &fixture.catalog.models[0].versions[0]));
    assert_int_equal(fixture_look(tree_root), GP_OK); /* which is not examined */
    before = fixture.catalog;
    fingerprint();
    assert_false(
        catalog_is_settled(&before, "bert", &fixture.catalog.models[0].versions[0]));
    assert_null(catalog_find(&fixture.catalog, "bert", 3));
    assert_null(catalog_find(&fixture.catalog, "bert", 0));
    assert_null(catalog_find(&fixture.catalog, "other", 1));
    assert_ptr_equal(catalog_find(&fixture.catalog, "bert", 2),
                     &fixture.catalog.models[0].versions[1]);
}

/* --- anything ------------------------------------------------------------------------- */

static unsigned seed = 1;

static unsigned any(unsigned n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % n;
}

static void grow_anything(void)
{
    static const char *const parts[] = {"1",         "01",
                                        "2",         "model.onnx",
                                        "a.pt",      "saved_model.pb",
                                        "a",         "variables",
                                        "b c",       "config.pbtxt",
                                        "..data",    "model.savedmodel",
                                        "x.bin",     "metrics",
                                        "model.bin", "9999999999999999",
                                        "v1"};
    static const char *const targets[] = {"..", ".", "../a",     "a/1",
                                          "/",  "1", "..data/a", "none"};
    char path[256] = "";
    for (unsigned depth = 1 + any(4); depth; depth--) {
        struct stat info;
        const size_t n = strlen(path);
        (void)snprintf(path + n, sizeof path - n, "/%s",
                       parts[any(sizeof parts / sizeof *parts)]);
        if (lstat(tree_path(path), &info) == 0 && !S_ISDIR(info.st_mode))
            return;
        if (depth == 1 && lstat(tree_path(path), &info) != 0) {
            if (any(4) == 0)
                tree_link(path, targets[any(sizeof targets / sizeof *targets)]);
            else
                tree_put(path, any(2) ? "\x08\x08\x12" : "");
        }
    }
}

static void assert_in_order(void)
{
    for (size_t i = 0; i < fixture.catalog.n_models; i++) {
        const struct catalog_model *model = &fixture.catalog.models[i];
        assert_int_equal(model_name_check(model->name, NULL), GP_OK);
        assert_true(i == 0 || strcmp(model[-1].name, model->name) < 0);
        assert_true(model->n_versions > 0);
        for (size_t k = 1; k < model->n_versions; k++)
            assert_true(model->versions[k - 1].number < model->versions[k].number);
    }
}

static void any_tree(void **state)
{
    for (unsigned i = 0; i < 300; i++) {
        struct text text = {0};
        for (unsigned n = any(24); n; n--)
            grow_anything();
        if (fixture_look(tree_root) == GP_OK) {
            assert_true(fixture.catalog.n_models || fixture.catalog.n_problems);
            assert_in_order();
            fixture_describe(&text);
        } else {
            assert_true(fixture.err.message[0]);
        }
        text_finish(&text);
        gp_arena_reset(fixture.arena);
        tree_remove(state);
        assert_int_equal(tree_make(state), 0);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        REPOSITORY_TEST(versions_of_models),
        REPOSITORY_TEST(without_versions),
        REPOSITORY_TEST(tensorflow_serving),
        REPOSITORY_TEST(triton),
        REPOSITORY_TEST(one_model_is_the_root),
        REPOSITORY_TEST(versions_in_the_root),
        REPOSITORY_TEST(config_map),
        REPOSITORY_TEST(root_is_a_link),
        REPOSITORY_TEST(left_out),
        REPOSITORY_TEST(changes_are_noticed),
        REPOSITORY_TEST(settled),
        REPOSITORY_TEST(any_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
