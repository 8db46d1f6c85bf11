/* Finding things: plug-ins by name, and the engine of a model. Each test has a folder of its own. */
#include "descriptors.h"
#include "engine/engine.h"
#include "engine/folders.h"
#include "self_copy.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_SIZE = 4096 };

static char folder[PATH_SIZE], test_plugins[PATH_SIZE];
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/gp-search-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(test_plugins, sizeof test_plugins, "%s/lib/graphpipe-test",
                   getenv("GP_BUILD_DIR"));
    unsetenv("GRAPHPIPE_ENGINE_PATH");
    memset(&err, 0, sizeof err);
    return 0;
}

static int tear_down(void **state)
{
    char command[PATH_SIZE + 16];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

/* The path of `name` in the test's folder; valid until the fourth call from now. */
static const char *in(const char *name)
{
    static char paths[4][2 * PATH_SIZE];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t size_bytes,
                       mode_t mode)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size_bytes), size_bytes);
    close(fd);
}

static void write_text(const char *path, const char *text)
{
    write_file(path, text, strlen(text), 0755);
}

static void assert_says(enum gp_status got, enum gp_status wanted, const char *words)
{
    if (got != wanted || err.status != wanted || !strstr(err.message, words) ||
        strchr(err.message, '\n'))
        fail_msg("%s: \"%s\", wanted %s with \"%s\"", gp_status_name(got), err.message,
                 gp_status_name(wanted), words);
}

/* --- plug-ins --- */

static void test_load(void **state)
{
    const struct gp_engine *engine;
    (void)state;
    assert_int_equal(engine_load("echo", NULL, &engine, &err), GP_OK);
    assert_string_equal(engine->name, "echo");
    assert_int_equal(engine_load("slow", test_plugins, &engine, &err), GP_OK);
    assert_string_equal(engine->name, "slow");
    setenv("GRAPHPIPE_ENGINE_PATH", "/nowhere::relative", 1);
    assert_says(engine_load("slow", NULL, &engine, &err), GP_NOT_FOUND,
                "no engine \"slow\": looked in /nowhere, relative, ");
    assert_null(engine);
    assert_non_null(strstr(err.message, "/lib/graphpipe; \"graphpipe engines\" lists"));
    setenv("GRAPHPIPE_ENGINE_PATH", test_plugins, 1);
    assert_int_equal(engine_load("slow", NULL, &engine, &err), GP_OK);
}

static void test_load_refuses(void **state)
{
    const struct gp_engine *engine;
    char path[2 * PATH_SIZE];
    (void)state;
    assert_says(engine_load("oldabi", test_plugins, &engine, &err), GP_UNSUPPORTED,
                "was built for engine contract 999, this is 1");
    assert_says(engine_load("noentry", test_plugins, &engine, &err), GP_UNSUPPORTED,
                "has no gp_engine_entry");
    (void)snprintf(path, sizeof path, "%s/graphpipe-engine-noentry.so", test_plugins);
    assert_says(engine_load(path, NULL, &engine, &err), GP_UNSUPPORTED,
                "has no gp_engine_entry");
    assert_says(engine_load("./none.so", NULL, &engine, &err), GP_NOT_FOUND,
                "no engine at ./none.so");
    assert_says(engine_load("", NULL, &engine, &err), GP_INVALID, "no engine");
    assert_says(engine_load(NULL, NULL, &engine, &err), GP_INVALID, "no engine");
    write_text(in("graphpipe-engine-onnx.so"), "not a library");
    assert_says(engine_load("onnx", folder, &engine, &err), GP_UNAVAILABLE,
                "tools/setup onnx");
    assert_null(engine);
}

/* What keeps the loader from opening it is said, with the remedy. */
static void test_load_without_descriptors(void **state)
{
    const struct gp_engine *engine;
    (void)state;
    write_text(in("graphpipe-engine-mine.so"), "");
    descriptors_limit(0);
    const enum gp_status status = engine_load("mine", folder, &engine, &err);
    descriptors_unlimit();
    assert_says(status, GP_UNAVAILABLE, "engine \"mine\" cannot load: ");
    assert_says(status, GP_UNAVAILABLE, "Too many open files (ulimit -n is ");
}

static void test_load_incomplete(void **state)
{
    static const char *const members[] = {"size",     "name", "open",
                                          "describe", "run",  "close"};
    const struct gp_engine *engine;
    (void)state;
    assert_int_equal(engine_load("incomplete", test_plugins, &engine, &err), GP_OK);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        assert_int_equal(setenv("GP_INCOMPLETE", members[i], 1), 0);
        assert_says(engine_load("incomplete", test_plugins, &engine, &err),
                    GP_UNSUPPORTED, "is not a complete engine: struct gp_engine needs");
        assert_null(engine);
    }
    assert_int_equal(setenv("GP_INCOMPLETE", "entry", 1), 0);
    assert_says(engine_load("incomplete", test_plugins, &engine, &err), GP_UNSUPPORTED,
                "does not work with this release of GraphPipe (engine contract 1)");
    assert_null(engine);
    assert_int_equal(unsetenv("GP_INCOMPLETE"), 0);
}

static const char *script(const char *name, const char *engine_dir, size_t size,
                          char *path)
{
    assert_int_equal(engine_script(name, engine_dir, path, size, &err), GP_OK);
    return path;
}

static void test_script(void **state)
{
    char path[2 * PATH_SIZE];
    (void)state;
    write_text(in("graphpipe-engine-both.py"), "");
    write_text(in("graphpipe-engine-both.so"), "");
    write_text(in("graphpipe-engine-mine.py"), "");
    assert_string_equal(script("mine", folder, sizeof path, path),
                        in("graphpipe-engine-mine.py"));
    assert_true(strlen(script("python", NULL, sizeof path, path)) > 0);
    assert_string_equal(script("both", folder, sizeof path, path), "");
    assert_string_equal(script("echo", folder, sizeof path, path), "");
    assert_string_equal(script("none", folder, sizeof path, path), "");
    assert_string_equal(script("./mine.py", NULL, sizeof path, path), "./mine.py");
    assert_string_equal(script("./mine.so", NULL, sizeof path, path), "");
    assert_string_equal(script("./mine.py", NULL, 5, path), ""); /* it does not fit */
}

static bool isolates(const char *name, const char *engine_dir)
{
    bool is_isolated = false;
    assert_int_equal(engine_isolates(name, engine_dir, &is_isolated, &err), GP_OK);
    return is_isolated;
}

static void test_isolates(void **state)
{
    bool is_isolated = true;
    (void)state;
    write_text(in("graphpipe-engine-mine.py"), "");
    assert_true(isolates("mine", folder));
    assert_true(isolates("python", NULL));
    assert_true(isolates("aside", test_plugins));
    assert_false(isolates("echo", NULL));
    assert_false(isolates("abi_0_1", test_plugins)); /* its struct has no flags */
    assert_says(engine_isolates("none", folder, &is_isolated, &err), GP_NOT_FOUND,
                "no engine \"none\"");
    assert_false(is_isolated);
}

/* Run elsewhere: prints the folders in which it would look. */
static int print_folders(void)
{
    struct text list = {0};
    engine_folders("/first", &list);
    for (const char *at = engine_folder_next(&list, NULL); at;
         at = engine_folder_next(&list, at))
        puts(at);
    text_finish(&list);
    return EXIT_SUCCESS;
}

/* The installation that a program belongs to comes after what its user names. */
static void test_folders(void **state)
{
    char words[4 * PATH_SIZE], wanted[4 * PATH_SIZE];
    (void)state;
    assert_int_equal(mkdir(in("bin"), 0700), 0);
    setenv("GRAPHPIPE_ENGINE_PATH", ":/a:/b::/a:/first:", 1);
    assert_string_equal(self_copy_run(in("bin/program"), "folders", words, sizeof words),
                        "/first\n/a\n/b");
    assert_int_equal(mkdir(in("lib"), 0700), 0);
    assert_int_equal(mkdir(in("lib/graphpipe"), 0700), 0);
    assert_int_equal(mkdir(in("bin/graphpipe"), 0700), 0);
    (void)snprintf(wanted, sizeof wanted, "/first\n/a\n/b\n%s\n%s", in("lib/graphpipe"),
                   in("bin/graphpipe"));
    assert_string_equal(self_copy_run(in("bin/program"), "folders", words, sizeof words),
                        wanted);
    assert_int_equal(rmdir(in("bin/graphpipe")), 0);
    write_text(in("bin/graphpipe"), ""); /* the program is no folder */
    unsetenv("GRAPHPIPE_ENGINE_PATH");
    (void)snprintf(wanted, sizeof wanted, "/first\n%s", in("lib/graphpipe"));
    assert_string_equal(self_copy_run(in("bin/program"), "folders", words, sizeof words),
                        wanted);
}

/* Run elsewhere, where no plug-ins are: prints why some engines cannot be loaded. */
static int print_refusals(void)
{
    static const char *const names[] = {"openvino", "echo", "mine"};
    const struct gp_engine *engine;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const enum gp_status status = engine_load(names[i], NULL, &engine, &err);
        printf("%s: %s\n", gp_status_name(status), err.message);
    }
    return EXIT_SUCCESS;
}

/* What comes with GraphPipe, but needs a framework, is told with the way to get it. */
static void test_load_tells_the_remedy(void **state)
{
    char words[4 * PATH_SIZE];
    (void)state;
    assert_int_equal(mkdir(in("bin"), 0700), 0);
    setenv("GRAPHPIPE_ENGINE_PATH", "/nowhere", 1);
    assert_string_equal(
        self_copy_run(in("bin/program"), "refusals", words, sizeof words),
        "not found: engine \"openvino\" is not installed; to install it: tools/setup "
        "openvino (59 MB), then make (looked in /nowhere)\n"
        "not found: no engine \"echo\": looked in /nowhere; \"graphpipe engines\" "
        "lists what is there\n"
        "not found: no engine \"mine\": looked in /nowhere; \"graphpipe engines\" "
        "lists what is there");
}

/* Whatever was in the buffer; one that has no room for the path and its end gets none. */
static void test_exe_folder(void **state)
{
    char exe[PATH_SIZE], wanted[PATH_SIZE], path[PATH_SIZE];
    (void)state;
    assert_non_null(realpath("/proc/self/exe", exe));
    const size_t size = strlen(exe);
    (void)snprintf(wanted, sizeof wanted, "%.*s", (int)(strrchr(exe, '/') - exe), exe);
    memset(path, '/', sizeof path);
    assert_true(engine_exe_folder(path, sizeof path));
    assert_string_equal(path, wanted);
    assert_true(engine_exe_folder(path, size + 2));
    assert_string_equal(path, wanted);
    assert_false(engine_exe_folder(path, size + 1));
}

struct seen {
    char names[512];
    char scripts[64];
    bool has_echo_path;
};

static void see(void *arg, const struct engine_known *known)
{
    struct seen *seen = arg;
    const size_t n = strlen(seen->names);
    (void)snprintf(seen->names + n, sizeof seen->names - n, "%s ", known->name);
    assert_non_null(known->remedy);
    assert_true(!*known->remedy || strncmp(known->remedy, "tools/setup ", 12) == 0);
    if (known->is_script)
        (void)snprintf(seen->scripts + strlen(seen->scripts),
                       sizeof seen->scripts - strlen(seen->scripts), "%s ", known->name);
    if (strcmp(known->name, "echo") == 0)
        seen->has_echo_path = known->path && access(known->path, R_OK) == 0;
}

static void test_each(void **state)
{
    struct seen seen = {.names = ""};
    (void)state;
    write_text(in("graphpipe-engine-mine.so"), "");
    write_text(in("graphpipe-engine-echo.so"), "");
    write_text(in("graphpipe-engine-.so"), "");
    write_text(in("libother.so"), "");
    write_text(in("a-file-with-a-long-name.so"), ""); /* before "graphpipe-engine-" */
    write_text(in("z-file-with-a-long-name.so"), "");
    write_text(in("graphpipe-engine-script.py"), "");
    write_text(in("graphpipe-engine-none.pyc"), "");
    engine_each(folder, see, &seen);
    assert_string_equal(seen.names, "echo remote onnx openvino tensorflow pytorch mxnet "
                                    "cntk caffe2 python mine script ");
    assert_true(seen.has_echo_path);
    assert_string_equal(seen.scripts, "python script ");
}

/* --- the engine of a model --- */

static void test_guess(void **state)
{
    static const struct {
        const char *file;
        const char *bytes;
        size_t size_bytes;
        const char *engine;
    } files[] = {
        {"a.onnx", "", 0, "onnx"},
        {"A.ONNX", "x", 1, "onnx"},
        {"a.ort", "", 0, "onnx"},
        {"plain", "\x08\x08\x12\x00", 4, "onnx"},
        {".onnx", "", 0, "onnx"},
        {"version1", "\x08\x01\x1a", 3, "onnx"},
        {"version63", "\x08\x3f\x42", 3, "onnx"},
        {"version0", "\x08\x00\x12", 3, NULL},
        {"version64", "\x08\x40\x12", 3, NULL},
        {"tag", "\x08\x08\x11", 3, NULL},
        {"first", "\x0a\x08\x12", 3, NULL},
        {"short", "\x08\x08", 2, NULL},
        {"graph.pb", "\x08\x07\x3a\x10", 4, "onnx"},
        {"frozen.pb", "\x0a\x20\x0a\x01", 4, "tensorflow"},
        {"my_saved_model.pb", "\x08\x01\x12\x00", 4, "tensorflow"},
        {"net-symbol.json", "{\n  \"no", 6, "mxnet"},
        {"net.model", "\x08\x01\x12\x20", 4, "cntk"},
        {"net.dnn", "\x08\x01\x12\x20", 4, "cntk"},
        {"net.cntk", "\x08\x01\x12\x20", 4, "cntk"},
        {"predict_net.pb", "\x0a\x03net", 5, "caffe2"},
        {"squeezenet.predict_net.pb", "\x0a\x00", 2, "caffe2"},
        {"model.graphdef", "\x0a\x20\x0a\x01", 4, "tensorflow"},
        {"a.pt", "PK", 2, "pytorch"},
        {"a.pt2", "PK", 2, "pytorch"},
        {"a.tflite", "", 0, "openvino"},
        {"a.xml", "<net>", 5, "openvino"},
        {"a.py", "def infer", 9, "python"},
        {"a.txt", "hello", 5, NULL},
        {"empty", "", 0, NULL},
    };
    const char *name;
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        write_file(in(files[i].file), files[i].bytes, files[i].size_bytes, 0644);
        const enum gp_status status = engine_guess(in(files[i].file), &name, &err);
        if (files[i].engine) {
            assert_int_equal(status, GP_OK);
            assert_string_equal(name, files[i].engine);
        } else {
            assert_says(status, GP_INVALID, "is not a known kind of model: .onnx");
            assert_null(name);
        }
    }
    assert_says(engine_guess(in("none.onnx"), &name, &err), GP_NOT_FOUND, "No such file");
    assert_says(engine_guess("", &name, &err), GP_INVALID, "no model was named");
    assert_says(engine_guess(NULL, &name, &err), GP_INVALID, "no model was named");
    write_text(in("init_net.pb"), "");
    assert_says(engine_guess(in("init_net.pb"), &name, &err), GP_INVALID,
                "name the predict_net.pb beside it");
    assert_int_equal(engine_guess(folder, &name, &err), GP_OK);
    assert_string_equal(name, "caffe2");
    assert_int_equal(unlink(in("predict_net.pb")), 0);
    assert_says(engine_guess(folder, &name, &err), GP_INVALID, "holds no saved_model.pb");
    write_text(in("saved_model.pb"), "");
    assert_int_equal(engine_guess(folder, &name, &err), GP_OK);
    assert_string_equal(name, "tensorflow");
    if (geteuid() != 0) {
        assert_int_equal(chmod(in("a.onnx"), 0), 0);
        assert_says(engine_guess(in("a.onnx"), &name, &err), GP_INVALID,
                    "Permission denied");
    }
}

/* What is neither a file nor a folder is not opened: a pipe would wait for its writer. */
static void test_guess_other(void **state)
{
    const char *name;
    (void)state;
    assert_int_equal(mkfifo(in("pipe.onnx"), 0600), 0);
    assert_says(engine_guess(in("pipe.onnx"), &name, &err), GP_INVALID,
                "is neither a file nor a folder: .onnx");
    write_text(in("file"), "");
    assert_says(engine_guess(in("file/a.onnx"), &name, &err), GP_NOT_FOUND,
                "Not a directory");
    assert_int_equal(symlink("circle", in("circle")), 0);
    assert_says(engine_guess(in("circle"), &name, &err), GP_INVALID,
                "cannot open the model");
}

static void test_model_name(void **state)
{
    static const char *const named[][2] = {
        {"mlp.onnx", "mlp"},
        {"/a/b/mlp.v2.onnx", "mlp.v2"},
        {"a/saved", "saved"},
        {"a/saved//", "saved"},
        {".hidden", ".hidden"},
        {"a.b/c", "c"},
        {"/", ""},
    };
    char name[16];
    (void)state;
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        assert_string_equal(engine_model_name(named[i][0], name, sizeof name),
                            named[i][1]);
    assert_string_equal(engine_model_name("efficientnet.onnx", name, 4), "eff");
}

int main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "folders") == 0)
        return print_folders();
    if (argc == 2 && strcmp(argv[1], "refusals") == 0)
        return print_refusals();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_load_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_load_without_descriptors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_load_incomplete, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_script, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_isolates, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_load_tells_the_remedy, set_up, tear_down),
        cmocka_unit_test(test_exe_folder),
        cmocka_unit_test_setup_teardown(test_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guess, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guess_other, set_up, tear_down),
        cmocka_unit_test(test_model_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
