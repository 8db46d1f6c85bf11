/* What a real child makes of what it is sent: an engine tells in it what it was told, and gives its
 * outputs in each way; it is stopped, it prints, and it closes its model. */
#include "descriptors.h"
#include "isolated.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

struct fixture {
    struct pool *pool;
    struct gp_arena *arena;
    struct engine_run run;
    struct gp_error err;
    struct isolate *isolate;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->pool = pool_create(64 * MIB);
    f->arena = gp_arena_create();
    engine_run_init(&f->run, f->pool, f->arena);
    *state = f;
    return tree_make(NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    engine_run_finish(&f->run);
    gp_arena_destroy(f->arena);
    if (f->isolate)
        isolated_close(f->isolate);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    pool_destroy(f->pool);
    free(f);
    return tree_remove(NULL);
}

static void open_told(struct fixture *f)
{
    f->isolate = isolated_open_plain(f->pool, isolated_plugin("told"));
}

/* A run that goes well: its first output. */
static const struct gp_tensor *run(struct fixture *f, const char *config,
                                   const struct gp_tensor *inputs, uint32_t n_inputs)
{
    engine_run_drop(&f->run);
    gp_arena_reset(f->arena);
    if (isolated_run(&f->run, f->isolate, config, inputs, n_inputs, &f->err) != GP_OK)
        fail_msg("%s: %s", config, f->err.message);
    return &f->run.outputs[0].tensor;
}

static void assert_words(const struct gp_tensor *tensor, const char *words)
{
    const struct gp_string *string = tensor->data;
    assert_int_equal(tensor->dtype, GP_STRING);
    if (string->size_bytes != strlen(words) ||
        memcmp(string->data, words, strlen(words)) != 0)
        fail_msg("\"%.*s\", not \"%s\"", (int)string->size_bytes, string->data, words);
}

/* --- opening --------------------------------------------------------------------------- */

static void test_the_options_reach_the_engine(void **state)
{
    static const char *const texts[] = {"a=1", "b=two words"};
    struct fixture *f = *state;
    const struct gp_engine_options engine = {.size_bytes = sizeof engine,
                                             .n_slots = 2,
                                             .n_threads = 3,
                                             .n_cores = 5,
                                             .model_path = "/the/model",
                                             .options = texts,
                                             .n_options = 2};
    struct gp_description d = {.size_bytes = sizeof d};
    char folder[4096];
    (void)snprintf(folder, sizeof folder, "%s", isolated_plugin("told"));
    *strrchr(folder, '/') = '\0';
    f->isolate = isolated_open((struct isolate_options){
        .name = "told", .engine_dir = folder, .pool = f->pool, .engine = &engine});
    assert_int_equal(isolate_engine(f->isolate)->describe(f->isolate, &d, &f->err),
                     GP_OK);
    assert_string_equal(d.summary, "model /the/model, 1 slots, 3 threads, 5 cores, "
                                   "2 options a=1 b=two words");
    assert_int_equal(d.n_slots, 2);
}

static void test_its_description_arrives(void **state)
{
    struct fixture *f = *state;
    struct gp_description d = {.size_bytes = sizeof d};
    open_told(f);
    const struct gp_engine *engine = isolate_engine(f->isolate);
    assert_string_equal(engine->name, "told");
    assert_string_equal(engine->version, "2.0 as it was found");
    assert_int_equal(engine->describe(f->isolate, &d, &f->err), GP_OK);
    assert_int_equal(d.size_bytes, sizeof d);
    assert_string_equal(d.summary, "model none, 1 slots, 0 threads, 1 cores, 0 options");
    assert_string_equal(d.version, "7");
    assert_string_equal(d.description, "of the model");
    assert_string_equal(d.name, "its name");
    assert_int_equal(d.flags, GP_ANY_INPUTS | GP_ANY_OUTPUT);
    assert_int_equal(d.max_batch, 64);
    assert_int_equal(d.n_inputs, 2);
    assert_string_equal(d.inputs[0].description, "an input");
    assert_int_equal(d.inputs[0].shape[1], 3);
    assert_int_equal(d.outputs[0].dtype, GP_NULL);
    assert_string_equal(d.files[1], "/two");
}

static void test_a_model_without_slots_is_refused(void **state)
{
    static const char *const option = "describe=none";
    struct fixture *f = *state;
    const struct gp_engine_options engine = {.size_bytes = sizeof engine,
                                             .n_slots = 1,
                                             .n_cores = 1,
                                             .options = &option,
                                             .n_options = 1};
    const struct isolate_options options = {.name = isolated_plugin("faulty"),
                                            .worker = getenv("GP_BIN"),
                                            .pool = f->pool,
                                            .engine = &engine};
    assert_int_equal(isolate_open(&options, &f->isolate, &f->err), GP_ENGINE);
    assert_string_equal(f->err.message, "engine faulty describes a model without slots");
}

/* --- runs ------------------------------------------------------------------------------ */

static void test_a_call_reaches_the_engine(void **state)
{
    static const char *const names[] = {"y"};
    static const int64_t shape[] = {2, 3};
    static const float data[6] = {0};
    const struct gp_tensor input = {"x", shape, data, sizeof data, GP_FLOAT32, 2};
    const struct gp_engine_options engine = {
        .size_bytes = sizeof engine, .n_slots = 2, .n_cores = 1};
    struct fixture *f = *state;
    f->isolate = isolated_open((struct isolate_options){
        .name = isolated_plugin("told"), .pool = f->pool, .engine = &engine});
    engine_run_begin(&f->run);
    f->run.memory = isolate_memory(f->isolate);
    f->run.call = (struct gp_call){.inputs = &input,
                                   .n_inputs = 1,
                                   .config = "as it is",
                                   .output_names = names,
                                   .n_outputs = 1,
                                   .n_free_cores = 9,
                                   .deadline_ns = INT64_C(1) << 62};
    if (engine_run_execute(&f->run, isolate_engine(f->isolate), f->isolate, 1, &f->err) !=
        GP_OK)
        fail_msg("%s", f->err.message);
    assert_words(&f->run.outputs[0].tensor,
                 "slot 1, until 4611686018427387904, 9 free cores, config as it is, "
                 "outputs y, inputs x of type 10, 24 bytes [2] [3]");
}

/* What is small travels with the answer, other memory of the engine's is copied, and what the host
 * gave it stays where it is. */
static void test_outputs_come_as_they_were_set(void **state)
{
    static const int64_t small[] = {5}, large[] = {3, 100000}, none[] = {0},
                         three[] = {3};
    static unsigned char bytes[300000];
    const struct gp_string strings[] = {{"", 0}, {"abc", 3}, {"defgh", 5}};
    const struct gp_tensor inputs[] = {
        gp_tensor_view(GP_UINT8, small, 1, "hello"),
        gp_tensor_view(GP_UINT8, large, 2, bytes),
        gp_tensor_view(GP_STRING, three, 1, strings),
        gp_tensor_view(GP_UINT8, none, 1, ""),
        gp_tensor_view(GP_STRING, none, 1, strings),
    };
    enum { N = sizeof inputs / sizeof *inputs };
    struct fixture *f = *state;
    open_told(f);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i % 251);
    for (int i = 0; i < 4; i++) { /* with memory that was used before, too */
        (void)run(f, i % 2 ? "copy" : "adopt", inputs, N);
        assert_int_equal(f->run.n_outputs, N);
        const struct engine_output *out = f->run.outputs;
        assert_memory_equal(out[0].tensor.data, "hello", 5);
        assert_int_equal(out[1].tensor.rank, 2);
        assert_int_equal(out[1].tensor.shape[1], 100000);
        assert_memory_equal(out[1].tensor.data, bytes, sizeof bytes);
        const struct gp_string *got = out[2].tensor.data;
        assert_int_equal(got[0].size_bytes, 0);
        assert_int_equal(got[1].size_bytes, 3);
        assert_memory_equal(got[1].data, "abc", 3);
        assert_int_equal(got[2].size_bytes, 5);
        assert_memory_equal(got[2].data, "defgh", 5);
        assert_int_equal(out[3].tensor.size_bytes + out[4].tensor.size_bytes, 0);
    }
}

/* More than travels with one answer. */
static void test_many_small_outputs_find_room(void **state)
{
    struct fixture *f = *state;
    open_told(f);
    (void)run(f, "many", NULL, 0);
    assert_int_equal(f->run.n_outputs, 200);
    for (uint32_t i = 0; i < 200; i++) {
        const unsigned char *data = f->run.outputs[i].tensor.data;
        assert_int_equal(f->run.outputs[i].tensor.size_bytes, 4096);
        assert_true(data[0] == i && data[4095] == i);
    }
}

static void test_shapes_have_a_limit(void **state)
{
    struct fixture *f = *state;
    open_told(f);
    assert_int_equal(isolated_run(&f->run, f->isolate, "shapes", NULL, 0, &f->err),
                     GP_TOO_LARGE);
    assert_string_equal(f->err.message,
                        "the outputs' shapes are over what an isolated engine can give");
    (void)run(f, "", NULL, 0);
}

static void test_failures_are_told(void **state)
{
    struct fixture *f = *state;
    f->isolate = isolated_open_plain(f->pool, isolated_plugin("faulty"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(isolated_run(&f->run, f->isolate, "fail", NULL, 0, &f->err),
                         GP_ENGINE);
        assert_string_equal(f->err.message, "it broke\\nin two lines");
    }
    assert_int_equal(isolate_count(f->isolate).children[ISOLATE_READY], 1);
}

/* --- lines ----------------------------------------------------------------------------- */

/* Any thread: what a child prints comes by the supervisor's. */
struct lines {
    pthread_mutex_t lock;
    char text[4096];
    struct engine_run *to_stop; /* at the next line */
};

/* Of the last isolate that was opened; its end is logged too, after the test. */
static struct lines lines = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void take_line(void *context, enum gp_log_level level, const char *message)
{
    (void)context, (void)level;
    pthread_mutex_lock(&lines.lock);
    const size_t n = strlen(lines.text);
    (void)snprintf(lines.text + n, sizeof lines.text - n, "%s\n", message);
    pthread_mutex_unlock(&lines.lock);
    if (lines.to_stop)
        engine_run_cancel(lines.to_stop);
}

static bool has_line(const char *line)
{
    pthread_mutex_lock(&lines.lock);
    const bool is_there = strstr(lines.text, line);
    pthread_mutex_unlock(&lines.lock);
    return is_there;
}

static void open_logged(struct fixture *f, const char *name, const char *option)
{
    lines.text[0] = '\0';
    lines.to_stop = NULL;
    const struct gp_engine_options engine = {.size_bytes = sizeof engine,
                                             .n_slots = 1,
                                             .n_cores = 1,
                                             .options = &option,
                                             .n_options = option != NULL,
                                             .log = take_line};
    f->isolate = isolated_open((struct isolate_options){
        .name = isolated_plugin(name), .pool = f->pool, .engine = &engine});
}

/* Each is stopped when its engine says that it waits, and those between them are not. */
static void test_a_run_is_stopped_in_the_child(void **state)
{
    struct fixture *f = *state;
    open_logged(f, "told", NULL);
    for (int i = 0; i < 3; i++) {
        lines.to_stop = &f->run;
        assert_int_equal(isolated_run(&f->run, f->isolate, "wait", NULL, 0, &f->err),
                         GP_CANCELLED);
        assert_string_equal(f->err.message, "stopped as it was told");
        lines.to_stop = NULL;
        (void)run(f, "", NULL, 0);
    }
    assert_string_equal(lines.text, "waits\nwaits\nwaits\n");
}

static void test_what_it_logs_cannot_forge_lines(void **state)
{
    struct fixture *f = *state;
    open_logged(f, "faulty", NULL);
    assert_int_equal(isolated_run(&f->run, f->isolate, "hostile", NULL, 0, &f->err),
                     GP_ENGINE);
    assert_non_null(strstr(lines.text, "\\n"));
    assert_ptr_equal(strchr(lines.text, '\n'), lines.text + strlen(lines.text) - 1);
    assert_null(strchr(lines.text, '\x1b'));
}

static void test_what_it_prints_is_logged(void **state)
{
    struct fixture *f = *state;
    open_logged(f, "told", NULL);
    (void)run(f, "print", NULL, 0);
    while (!has_line("slot 0: on standard output\n") ||
           !has_line("slot 0: on standard error\n"))
        poll(NULL, 0, 1);
}

/* What was printed until its end, though the line has none, and somebody else can print still. */
static void test_its_last_words_are_logged(void **state)
{
    struct fixture *f = *state;
    char path[64];
    const unsigned n_before = descriptors_count();
    open_logged(f, "told", NULL);
    (void)snprintf(path, sizeof path, "/proc/%d/fd/1", (int)f->isolate->children[0].pid);
    const int end = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(end, "last words", 10), 10);
    isolated_close(f->isolate);
    f->isolate = NULL;
    assert_true(has_line("slot 0: last words\n"));
    assert_int_equal(close(end), 0);
    assert_int_equal(descriptors_count(), n_before);
}

/* --- the process ----------------------------------------------------------------------- */

/* Its value in a file of /proc/PID that has "name:\tvalue" lines; in hexadecimal where it is. */
static unsigned long long status_of(pid_t pid, const char *file, const char *name,
                                    int base)
{
    char path[64], line[256];
    unsigned long long value = ULLONG_MAX;
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *status = fopen(path, "re");
    assert_non_null(status);
    while (fgets(line, sizeof line, status))
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoull(line + strlen(name) + 1, NULL, base);
    (void)fclose(status);
    return value;
}

static void test_its_process_is_its_own(void **state)
{
    struct fixture *f = *state;
    sigset_t blocked, before;
    char path[64], target[64];
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
    void (*ignored)(int) = signal(SIGUSR2, SIG_IGN);
    const int inherited = dup2(0, 40); /* not close-on-exec */
    open_told(f);
    const pid_t pid = f->isolate->children[0].pid;
    assert_int_equal(close(inherited), 0);
    (void)signal(SIGUSR2, ignored);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    assert_int_equal(getpgid(pid), pid);
    assert_int_equal(status_of(pid, "status", "SigBlk", 16), 0);
    assert_int_equal(status_of(pid, "status", "SigIgn", 16) & 1 << (SIGUSR2 - 1), 0);
    for (int fd = CHILD_SOCKET; fd < CHILD_N_FDS; fd++) { /* not for what it starts */
        (void)snprintf(path, sizeof path, "fdinfo/%d", fd);
        assert_true(status_of(pid, path, "flags", 8) & O_CLOEXEC);
    }
    (void)snprintf(path, sizeof path, "/proc/%d/fd/40", (int)pid);
    assert_int_equal(readlink(path, target, sizeof target), -1);
    (void)snprintf(path, sizeof path, "/proc/%d/fd/0", (int)pid);
    assert_int_equal(readlink(path, target, sizeof target), strlen("/dev/null"));
}

static void test_its_model_is_closed(void **state)
{
    char option[128];
    struct fixture *f = *state;
    (void)snprintf(option, sizeof option, "end=%s", tree_path("/end"));
    open_logged(f, "told", option);
    assert_int_equal(access(tree_path("/end"), F_OK), -1);
    turned_clock_set(clock_now_ns()); /* it is waited for, however long it takes */
    isolated_close(f->isolate);
    turned_clock_end();
    f->isolate = NULL;
    assert_int_equal(access(tree_path("/end"), F_OK), 0);
    assert_string_equal(lines.text, "");
}

#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_POOL(test_the_options_reach_the_engine),
        WITH_POOL(test_its_description_arrives),
        WITH_POOL(test_a_model_without_slots_is_refused),
        WITH_POOL(test_a_call_reaches_the_engine),
        WITH_POOL(test_outputs_come_as_they_were_set),
        WITH_POOL(test_many_small_outputs_find_room),
        WITH_POOL(test_shapes_have_a_limit),
        WITH_POOL(test_failures_are_told),
        WITH_POOL(test_a_run_is_stopped_in_the_child),
        WITH_POOL(test_what_it_logs_cannot_forge_lines),
        WITH_POOL(test_what_it_prints_is_logged),
        WITH_POOL(test_its_last_words_are_logged),
        WITH_POOL(test_its_process_is_its_own),
        WITH_POOL(test_its_model_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
