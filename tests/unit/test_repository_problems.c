/* What cannot be served of a repository: it is said, and the rest goes on. */
#include "repository_fixture.h"

#include "model/listing.h"
#include "model/model_name.h"
#include "skipping.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- what cannot be served ------------------------------------------------------------ */

static void no_repository(void **state)
{
    (void)state;
    tree_put("/file", "");
    assert_refused("", GP_INVALID, "no folder was named");
    assert_refused(NULL, GP_INVALID, "no folder was named");
    assert_refused(tree_path("/none"), GP_NOT_FOUND, "is not there: create the folder");
    assert_refused(tree_path("/file"), GP_INVALID, "is a file, not a folder");
    assert_refused(tree_path("/file/x"), GP_IO, "Not a directory");
    assert_refused(tree_root, GP_NOT_FOUND, "holds no model: wanted a folder for each");
    char *path = test_malloc(5001);
    memset(path, 'x', 5000);
    path[5000] = '\0';
    assert_refused(path, GP_TOO_LARGE, "has 5000 bytes, the limit is 4095");
    test_free(path);
}

static void unreadable(void **state)
{
    (void)state;
    const uid_t me = geteuid();
    tree_put("/bert/1/model.onnx", "");
    tree_put("/open/1/model.onnx", "");
    assert_int_equal(chmod(tree_root, 0755), 0);
    assert_int_equal(chmod(tree_path("/open"), 0755), 0);
    assert_int_equal(chmod(tree_path("/open/1"), 0700), 0);
    assert_int_equal(chmod(tree_path("/bert"), 0), 0);
    tree_put("/shut/model.onnx", "");
    assert_int_equal(chmod(tree_path("/shut"), 0755), 0);
    assert_int_equal(chmod(tree_path("/shut/model.onnx"), 0), 0);
    if (me == 0)
        assert_int_equal(seteuid(65534), 0);
    else
        assert_int_equal(chmod(tree_path("/open/1"), 0), 0);
    assert_found("open 1: cannot read */open/1: Permission denied: let the server's user "
                 "read it\n"
                 "! bert cannot read */bert: Permission denied*\n"
                 "! shut cannot read */shut/model.onnx: Permission denied*\n");
    assert_int_equal(seteuid(me), 0);
    assert_int_equal(chmod(tree_root, 0), 0);
    assert_int_equal(seteuid(me ? me : 65534), 0);
    assert_refused(tree_root, GP_IO, "Permission denied: let the server's user read it");
    assert_int_equal(seteuid(me), 0);
    assert_int_equal(chmod(tree_root, 0700), 0);
    assert_int_equal(chmod(tree_path("/open/1"), 0700), 0);
    assert_int_equal(chmod(tree_path("/bert"), 0700), 0);
}

/* It is no model for that, so that the file beside it would be out of place. */
static void unreadable_beside_a_model(void **state)
{
    (void)state;
    const uid_t me = geteuid();
    tree_put("/net.onnx", "");
    tree_folder("/shut");
    assert_int_equal(chmod(tree_root, 0755), 0);
    assert_int_equal(chmod(tree_path("/net.onnx"), 0644), 0);
    assert_int_equal(chmod(tree_path("/shut"), 0), 0);
    assert_int_equal(seteuid(me ? me : 65534), 0);
    assert_found("model 1: cannot read */shut: Permission denied*\n");
    assert_int_equal(seteuid(me), 0);
    assert_int_equal(chmod(tree_path("/shut"), 0700), 0);
}

static void bad_names(void **state)
{
    (void)state;
    char name[300] = "/", wanted[600];
    memset(name + 1, 'n', 128);
    (void)snprintf(wanted, sizeof wanted, "%s/1/model.onnx", name);
    tree_put(wanted, "");
    name[129] = 'n';
    (void)snprintf(wanted, sizeof wanted, "%s/1/model.onnx", name);
    tree_put(wanted, "");
    static const char *const bad[] = {"/-a", "/_a",      "/a b",     "/a\xc3\xa9",
                                      "/v1", "/metrics", "/control", "/versions",
                                      "/v2", "/ui",      "/a\nb",    "/a\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(wanted, sizeof wanted, "%s/1/model.onnx", bad[i]);
        tree_put(wanted, "");
    }
    tree_put("/good/1/model.onnx", "");
    name[129] = '\0';
    (void)snprintf(wanted, sizeof wanted,
                   "good 1 *\n%s 1 *\n"
                   "! -a \"-a\" cannot be a model's name: wanted letters, digits*\n"
                   "! _a *\n! a\n"
                   "b \"a\\nb\" cannot*\n! a b *\n! a\xc3\xa9 *\n! a\xff \"a\\xff\" *\n"
                   "! control a model cannot be called \"control\", which is a route*\n"
                   "! metrics *\n! nnn* has 129 bytes, the limit is 128\n! ui *\n! v1 *\n"
                   "! v2 *\n! versions *\n",
                   name + 1);
    assert_found(wanted);
}

static void names(void **state)
{
    (void)state;
    assert_int_equal(model_name_check("7", NULL), GP_OK);
    assert_int_equal(model_name_check("V1", NULL), GP_OK);
    assert_int_equal(model_name_check("a..b", NULL), GP_OK);
    assert_int_equal(model_name_check("", &fixture.err), GP_INVALID);
    assert_int_equal(model_name_check(".", &fixture.err), GP_INVALID);
    assert_int_equal(model_name_check("..", &fixture.err), GP_INVALID);
    assert_int_equal(model_name_check("a/b", &fixture.err), GP_INVALID);
    assert_int_equal(model_name_check("a%2f", &fixture.err), GP_INVALID);
}

static void bad_versions(void **state)
{
    (void)state;
    tree_put("/a/1/model.onnx", "");
    tree_put("/a/01/model.onnx", "");
    tree_put("/a/001/model.onnx", "");
    tree_put("/a/2/model.onnx", "");
    tree_put("/a/18446744073709551616/model.onnx", "");
    tree_put("/a/v3/model.onnx", "");
    tree_put("/b/v1/model.onnx", "");
    tree_put("/c/notes.txt", "");
    tree_put("/d/-1/model.onnx", "");
    tree_put("/e/1", "a file");
    tree_put("/f/7/a.onnx", "");
    tree_put("/f/7/b.pt", "");
    tree_put("/g/8/one.bin", "");
    tree_put("/h/9/one.bin", "");
    tree_put("/h/9/two.bin", "");
    assert_found(
        "a 2 /a/2/model.onnx\n"
        "f 7: */f/7/a.onnx and */f/7/b.pt are both models: call the one*\n"
        "g 8 /g/8/one.bin\n"
        "h 9: */h/9 holds no model: wanted a saved_model.pb*\n"
        "! a *18446744073709551616: the largest version is 18446744073709551615\n"
        "! a */a/v3 holds a model, but is no version: call the folder by a number\n"
        "! a 1 */a/001 and */a/01 are the same version: remove one of them\n"
        "! b */b/v1 holds a model, but is no version*\n"
        "! c */c holds no model: wanted numbered folders*, as c/1/model.onnx\n"
        "! d */d/-1 holds a model, but is no version*\n"
        "! e */e holds no model*\n");
}

static void links(void **state)
{
    (void)state;
    tree_put("/.out/1/model.onnx", "");
    tree_put("/r/good/1/model.onnx", "");
    tree_link("/r/out", "../.out");
    tree_link("/r/absolute", tree_path("/.out"));
    tree_link("/r/top", "/");
    tree_link("/r/self", "..");
    tree_link("/r/round", ".");
    tree_link("/r/nowhere", "none");
    tree_link("/r/loop", "loop");
    tree_link("/r/good/2", "../../.out/1");
    tree_link("/r/good/3/model.onnx", "../../../.out/1/model.onnx");
    tree_link("/r/good/4/model.onnx", "gone.onnx");
    tree_link("/r/good/5", tree_path("/r/good/1"));
    tree_put("/r/good/6/model.onnx", "");
    tree_link("/r/good/6/data/more", "../../../../.out");
    tree_put("/r/ring/1/model.onnx", "");
    tree_link("/r/ring/1/up", "..");
    tree_link("/r/good/docs/out", "../../../.out"); /* is no version */
    tree_link("/r/good/latest", "none");            /* nor is this */
    tree_put("/r/net/net.onnx", ""); /* is a model, whatever lies beside it */
    tree_link("/r/net/out", "../../.out");
    tree_put("/r/called/model.onnx", "");
    tree_link("/r/called/out", "../../.out");
    tree_link("/r/rr", "../r23");
    tree_folder("/r23"); /* the root's name is a prefix of it */
    assert_int_equal(fixture_look(tree_path("/r")), GP_OK);
    assert_shows(
        "called 1: the symbolic link */r/called/out leads out*\n"
        "good 1 /r/good/1/model.onnx\n"
        "good 3: the symbolic link */r/good/3/model.onnx leads out of the repository, to "
        "*/.out/1/model.onnx: copy or mount that into the repository\n"
        "good 4: the symbolic link */r/good/4/model.onnx leads nowhere: No such file*\n"
        "good 5 /r/good/5/model.onnx\n"
        "good 6: the symbolic link */r/good/6/data/more leads out*\n"
        "net 1: the symbolic link */r/net/out leads out*\n"
        "ring 1: */r/ring/1 holds folders more than 16 deep: does a symbolic link lead "
        "back*\n"
        "! absolute *leads out*\n"
        "! good 2 *leads out*\n"
        "! loop *leads nowhere: Too many*\n"
        "! nowhere *leads nowhere: No such*\n"
        "! out *leads out*\n! round *leads out*\n! rr *leads out*\n! self *leads out*\n"
        "! top *leads out*\n");
}

/* A file that lies beside the folders of models does not make the repository one model. */
/* A whole system may be a repository, but is none of its models. */
static void the_root_is_not_inside_itself(void **state)
{
    const struct listing_root root = {.path = "/", .real = "/"};
    struct stat info;
    struct gp_error err;
    (void)state;
    tree_link("/all", "/");
    tree_link("/here", tree_root);
    assert_int_equal(listing_stat(&root, tree_path("/all"), &info, &err), GP_FORBIDDEN);
    assert_int_equal(listing_stat(&root, tree_path("/here"), &info, &err), GP_OK);
}

static void strays(void **state)
{
    (void)state;
    tree_put("/bert/1/model.onnx", "");
    tree_put("/model.onnx", "");
    tree_put("/2/model.onnx", "");
    tree_put("/code/inference.py", "");
    assert_found("bert 1 /bert/1/model.onnx\n"
                 "code 1 /code/inference.py\n"
                 "! model.onnx */model.onnx lies beside the folders of models*\n"
                 "! 2 */2 lies beside the folders of models: move it*\n");
    tree_drop("/bert");
    tree_drop("/2");
    assert_refused(tree_root, GP_INVALID,
                   "holds model.onnx, as if it were one model, and the model code/");
    tree_drop("/model.onnx");
    tree_folder("/2");
    assert_refused(tree_root, GP_INVALID, "holds numbered folders, as if it were one");
    tree_move("/code", "/-code");
    assert_found(
        "model 2: *holds no model*\n! model */-code holds a model, but is no*\n");
}

static void too_much(void **state)
{
    (void)state;
    tree_put("/model.onnx", "");
    for (int i = 0; i <= CATALOG_MAX_VERSIONS; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/many/%d", i);
        tree_folder(path);
    }
    assert_found("! many */many holds more than 1024 versions: remove old ones\n"
                 "! model.onnx *\n");
    tree_folder("/many/7/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q");
    tree_drop("/many/1024");
    assert_int_equal(fixture_look(tree_root), GP_OK);
    assert_int_equal(fixture.catalog.models[0].n_versions, 1024);
    assert_int_equal(repository_examine(&fixture.catalog,
                                        &fixture.catalog.models[0].versions[7],
                                        &fixture.err),
                     GP_TOO_LARGE);
    assert_non_null(strstr(fixture.err.message, "folders more than 16 deep"));
    for (int i = 0; i <= CATALOG_MAX_MODELS; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/m%d/1/x", i);
        tree_folder(path);
    }
    assert_refused(tree_root, GP_TOO_LARGE, "holds more than 1024 models");
}

/* A hundred folders with a hundred links to their folder: ten thousand files and more. */
static void too_many_files(void **state)
{
    (void)state;
    tree_put("/bert/1/model.onnx", "");
    for (int i = 0; i < 100; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/bert/1/all/%d", i);
        tree_folder(path);
        (void)snprintf(path, sizeof path, "/bert/1/link%d", i);
        tree_link(path, "all");
    }
    assert_found("bert 1: */bert/1 holds more than 10000 files\n");
}

static void too_many_names(void **state)
{
    (void)state;
    tree_put("/bert/1/model.onnx", "");
    for (int i = 0; i <= CATALOG_MAX_PROBLEMS; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/nowhere%d", i);
        tree_link(path, "none");
    }
    assert_refused(tree_root, GP_TOO_LARGE,
                   "more than 4096 folders of the repository cannot be served; the last: "
                   "the symbolic link");
    for (int i = CATALOG_MAX_PROBLEMS + 1; i < LISTING_MAX_NAMES; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/nowhere%d", i);
        tree_link(path, "none");
    }
    assert_refused(tree_root, GP_TOO_LARGE, "holds more than 10000 files and folders");
}

static void long_paths(void **state)
{
    char folder[4096], name[256];
    const char *path;
    (void)state;
    memset(folder, 'f', sizeof folder);
    memset(name, 'n', sizeof name);
    folder[3840] = name[254] = '\0';
    assert_int_equal(listing_join(fixture.arena, folder, name, &path, &fixture.err),
                     GP_OK);
    assert_int_equal(strlen(path), 4095);
    folder[3840] = 'f';
    folder[3841] = '\0';
    assert_int_equal(listing_join(fixture.arena, folder, name, &path, &fixture.err),
                     GP_TOO_LARGE);
    assert_non_null(strstr(fixture.err.message, "has more than 4095 bytes"));
}

static atomic_bool is_over;

static void *exchange(void *paths)
{
    const char *const *path = paths;
    while (!is_over &&
           renameat2(AT_FDCWD, path[0], AT_FDCWD, path[1], RENAME_EXCHANGE) == 0)
        ;
    return NULL;
}

/* A look at two repositories in turn, which were exchanged meanwhile, is none. */
static void replaced_meanwhile(void **state)
{
    const time_t until = time(NULL) + 60;
    enum gp_status status = GP_OK;
    pthread_t thread;
    (void)state;
    tree_put("/r/bert/1/model.onnx", "");
    tree_put("/s/bert/1/model.onnx", "");
    const char *paths[] = {tree_path("/r"), tree_path("/s")};
    if (renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) != 0)
        SKIP_BECAUSE("this file system cannot exchange two folders");
    is_over = false;
    assert_int_equal(pthread_create(&thread, NULL, exchange, paths), 0);
    while (status == GP_OK && time(NULL) < until) {
        status = fixture_look(paths[0]);
        assert_true(status != GP_OK || fixture.catalog.n_models == 1);
        gp_arena_reset(fixture.arena);
    }
    is_over = true;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(status, GP_UNAVAILABLE);
    assert_non_null(strstr(fixture.err.message, "it will be read again"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        REPOSITORY_TEST(no_repository),
        REPOSITORY_TEST(unreadable),
        REPOSITORY_TEST(unreadable_beside_a_model),
        REPOSITORY_TEST(bad_names),
        REPOSITORY_TEST(names),
        REPOSITORY_TEST(bad_versions),
        REPOSITORY_TEST(links),
        REPOSITORY_TEST(the_root_is_not_inside_itself),
        REPOSITORY_TEST(strays),
        REPOSITORY_TEST(too_much),
        REPOSITORY_TEST(too_many_files),
        REPOSITORY_TEST(too_many_names),
        REPOSITORY_TEST(long_paths),
        REPOSITORY_TEST(replaced_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
