/* Children that are started by a program that is not graphpipe: with the worker that it names or that is
 * found, and with those that are none; and what the server is given then. */
#include "descriptors.h"
#include "isolated.h"
#include "self_copy.h"
#include "temp_tree.h"

#include "base/clock.h"

#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static struct isolate *open_whole(struct pool *pool, const char *worker, const char *name,
                                  struct gp_error *err)
{
    const struct gp_engine_options engine = {
        .size_bytes = sizeof engine, .n_slots = 2, .n_cores = 1};
    const struct isolate_options options = {.name = name,
                                            .worker = worker,
                                            .hang_ns = CLOCK_S,
                                            .pool = pool,
                                            .engine = &engine};
    struct isolate *isolate = NULL;
    return isolate_open(&options, &isolate, err) == GP_OK ? isolate : NULL;
}

static void test_another_program_has_a_worker(void **state)
{
    static const int64_t shape[] = {5};
    struct pool *pool = pool_create(64 * MIB);
    struct gp_arena *arena = gp_arena_create();
    struct gp_description d = {.size_bytes = sizeof d};
    struct engine_run run;
    struct gp_error err;
    (void)state;
    assert_non_null(getenv("GP_BIN"));
    struct isolate *isolate = open_whole(pool, getenv("GP_BIN"), "echo", &err);
    assert_non_null(isolate);
    const struct gp_engine *engine = isolate_engine(isolate);
    assert_string_equal(engine->name, "echo");
    assert_int_equal(engine->describe(isolate, &d, &err), GP_OK);
    assert_int_equal(d.n_slots, 2);
    assert_string_equal(d.inputs[0].name, "input0");
    const struct gp_tensor input = gp_tensor_view(GP_UINT8, shape, 1, "hello");
    engine_run_init(&run, pool, arena);
    run.memory = isolate_memory(isolate);
    for (uint32_t slot = 0; slot < 2; slot++) {
        engine_run_begin(&run);
        run.call.inputs = &input;
        run.call.n_inputs = 1;
        assert_int_equal(engine_run_execute(&run, engine, isolate, slot, &err), GP_OK);
        assert_memory_equal(run.outputs[0].tensor.data, "hello", 5);
        assert_true(isolate_let_go(isolate, slot));
    }
    assert_int_equal(isolate_count(isolate).children[ISOLATE_READY], 2);
    engine_run_finish(&run);
    engine->close(isolate);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    gp_arena_destroy(arena);
    pool_destroy(pool);
}

/* That each child is told to use. */
static uint32_t threads_of(const struct isolate *isolate)
{
    enum { HEAD_BYTES = 16 };
    const struct text *open = &isolate->open;
    struct record record = {.at = (const unsigned char *)open->data + HEAD_BYTES,
                            .end = (const unsigned char *)open->data + open->size_bytes};
    (void)record_u32(&record);
    for (int i = 0; i < 3; i++)
        (void)record_text(&record);
    assert_int_equal(record_u32(&record), 1); /* its slots */
    (void)record_u32(&record);
    return record_u32(&record);
}

/* The engine that is a Python program, whatever worker is named: it needs none. */
static void test_another_program_has_python(void **state)
{
    char model[] = "/tmp/gp-isolate-XXXXXX", python[4096];
    static const char source[] = "def infer(inputs): return 1\n";
    const char *option = python;
    const struct gp_engine_options engine = {.size_bytes = sizeof engine,
                                             .n_slots = 2,
                                             .n_cores = 5,
                                             .model_path = model,
                                             .options = &option,
                                             .n_options = 1};
    struct pool *pool = pool_create(64 * MIB);
    const struct isolate_options options = {.name = "python",
                                            .worker = "/nowhere/graphpipe",
                                            .hang_ns = CLOCK_S,
                                            .pool = pool,
                                            .engine = &engine};
    struct isolate *isolate;
    struct gp_description d = {.size_bytes = sizeof d};
    struct gp_error err;
    (void)state;
    const int fd = mkstemp(model);
    assert_int_equal(write(fd, source, sizeof source - 1), sizeof source - 1);
    close(fd);
    (void)snprintf(python, sizeof python, "python=%s/.deps/venv/bin/python",
                   getenv("GP_SOURCE_DIR"));
    if (isolate_open(&options, &isolate, &err) != GP_OK)
        fail_msg("%s", err.message);
    assert_int_equal(isolate_engine(isolate)->describe(isolate, &d, &err), GP_OK);
    assert_int_equal(d.flags, GP_ANY_INPUTS | GP_ANY_OUTPUT | GP_WRITES_OUTPUTS);
    assert_string_equal(d.files[0], model);
    assert_int_equal(threads_of(isolate), 2); /* no more than the machine has */
    isolate_engine(isolate)->close(isolate);
    option = "python=/nowhere/python";
    assert_int_equal(isolate_open(&options, &isolate, &err), GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "cannot start the interpreter"));
    (void)unlink(model);
    pool_destroy(pool);
}

static void test_what_cannot_start(void **state)
{
    struct pool *pool = pool_create(64 * MIB);
    struct gp_error err;
    (void)state;
    assert_null(open_whole(pool, "/nowhere/graphpipe", "echo", &err));
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "/nowhere/graphpipe"));
    assert_null(open_whole(pool, "/bin/true", "echo", &err)); /* which does not speak */
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_null(open_whole(pool, getenv("GP_BIN"), "nosuch", &err));
    assert_int_equal(err.status, GP_NOT_FOUND);
    pool_destroy(pool);
}

/* Under `ulimit -f` the pool is no file, which children could map. */
static void test_children_need_a_pool_that_is_a_file(void **state)
{
    struct rlimit before;
    struct gp_error err;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, before.rlim_max}), 0);
    struct pool *pool = pool_create(64 * MIB);
    struct isolate *isolate = open_whole(pool, getenv("GP_BIN"), "echo", &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_null(isolate);
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_string_equal(err.message, "cannot open the pool again, for another process: "
                                     "File too large (ulimit -f is 4: raise it)");
    pool_destroy(pool);
}

/* However few there are it is told, and all is given back. */
static void test_children_need_descriptors(void **state)
{
    const struct gp_engine_options engine = {
        .size_bytes = sizeof engine, .n_slots = 2, .n_cores = 1};
    struct pool *pool = pool_create(64 * MIB);
    const struct isolate_options options = {.name = "echo",
                                            .worker = getenv("GP_BIN"),
                                            .hang_ns = CLOCK_S,
                                            .pool = pool,
                                            .engine = &engine};
    struct isolate *isolate = NULL;
    struct gp_error err;
    enum gp_status status;
    unsigned n = 0;
    (void)state;
    const unsigned n_before = descriptors_count();
    do {
        descriptors_limit(n);
        status = isolate_open(&options, &isolate, &err);
        descriptors_unlimit();
        if (status == GP_OK)
            isolate_engine(isolate)->close(isolate);
        else if (!strstr(err.message, "Too many open files (ulimit -n is "))
            fail_msg("with %u: %s", n, err.message);
        assert_int_equal(descriptors_count(), n_before);
    } while (status != GP_OK && n++ < 50);
    assert_int_equal(status, GP_OK);
    assert_in_range(n, 10, 50);
    pool_destroy(pool);
}

/* --- what the server is given ---------------------------------------------------------- */

static void count_news(void *context)
{
    assert_int_equal(sem_post(context), 0);
}

static void await_news(struct isolate *isolate, sem_t *told, enum isolate_news wanted)
{
    struct timespec until;
    uint32_t slot;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    do
        assert_int_equal(sem_timedwait(told, &until), 0);
    while (isolate_next(isolate, &slot) != wanted);
}

/* One of its children ends, and starts again. */
static void test_the_server_is_told(void **state)
{
    const struct gp_engine_options engine = {
        .size_bytes = sizeof engine, .n_slots = 1, .n_cores = 1};
    struct pool *pool = pool_create(64 * MIB);
    sem_t told;
    (void)state;
    assert_int_equal(sem_init(&told, 0, 0), 0);
    struct isolate *isolate =
        isolated_open((struct isolate_options){.name = "echo",
                                               .pool = pool,
                                               .engine = &engine,
                                               .tell = count_news,
                                               .tell_context = &told});
    const pid_t first = isolate->children[0].pid;
    assert_int_equal(isolate->hang_ns, CLOCK_S);
    assert_int_equal(kill(first, SIGKILL), 0);
    await_news(isolate, &told, ISOLATE_LOST);
    isolate_look(isolate, 0);
    assert_false(isolate_let_go(isolate, 0));
    await_news(isolate, &told, ISOLATE_USABLE);
    assert_true(isolate->children[0].pid != first);
    assert_int_equal(isolate_count(isolate).n_restarts, 1);
    isolated_close(isolate);
    assert_int_equal(sem_destroy(&told), 0);
    pool_destroy(pool);
}

/* A child cannot write there, even if it opens the file again. */
static void test_inputs_are_for_reading(void **state)
{
    struct pool *pool = pool_create(64 * MIB);
    struct isolate *isolate = isolated_open_plain(pool, "echo");
    struct stat file;
    (void)state;
    assert_int_equal(fcntl(isolate->inputs_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(fstat(isolate->inputs_fd, &file), 0);
    assert_int_equal(file.st_mode & 0777, S_IRUSR);
    isolated_close(isolate);
    pool_destroy(pool);
}

/* Also one that does not see that its socket is closed. */
static void test_a_child_ends_with_its_server(void **state)
{
    int ends[2], status = 0;
    pid_t child = 0;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1),
                     0); /* the test waits for it then */
    const pid_t server = fork();
    if (server == 0) {
        struct isolate *isolate = isolated_open_plain(pool_create(64 * MIB), "echo");
        child = isolate->children[0].pid;
        if (write(ends[1], &child, sizeof child) == sizeof child)
            pause();
        _exit(EXIT_FAILURE);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &child, sizeof child), sizeof child);
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(kill(server, SIGKILL), 0);
    assert_int_equal(waitpid(server, NULL, 0), server);
    for (int i = 0; i < 20000 && waitpid(child, &status, WNOHANG) == 0; i++)
        poll(NULL, 0, 1);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
    close(ends[0]);
}

/* --- the worker's program -------------------------------------------------------------- */

/* Run as another program: prints which worker it would start. */
static int find_main(void)
{
    struct isolate isolate = {.arena = gp_arena_create()};
    const struct isolate_options options = {.name = "echo"};
    struct gp_error err;
    const bool is_found = spawn_find(&isolate, &options, &err);
    puts(is_found ? isolate.worker : err.message);
    gp_arena_destroy(isolate.arena);
    return is_found ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* What the program of this name in the tree would start; `words` has room for it. */
static const char *worker_of(const char *name, char words[4096])
{
    return self_copy_run(tree_path(name), "find", words, 4096);
}

static void test_the_worker_is_found(void **state)
{
    char words[4096];
    (void)state;
    assert_string_equal(worker_of("/graphpipe-7", words), "/proc/self/exe");
    assert_string_equal(worker_of("/another", words), "graphpipe"); /* on PATH */
    assert_string_equal(worker_of("/zgraphpipe", words), "graphpipe");
    tree_put("/graphpipe", "");
    assert_string_equal(worker_of("/another", words), "graphpipe");
    assert_int_equal(chmod(tree_path("/graphpipe"), 0700), 0);
    assert_string_equal(worker_of("/another", words), tree_path("/graphpipe"));
}

static void test_a_script_has_an_interpreter(void **state)
{
    static const char *const options[] = {"a=1", "python=/usr/bin/mine"};
    struct gp_engine_options engine = {.size_bytes = sizeof engine, .options = options};
    struct isolate isolate = {.arena = gp_arena_create()};
    const struct isolate_options script = {
        .name = "./engine.py", .worker = "/not/this", .engine = &engine};
    struct gp_error err = {.message = ""};
    (void)state;
    assert_true(spawn_find(&isolate, &script, &err));
    assert_string_equal(isolate.script, "./engine.py");
    assert_string_equal(isolate.worker, "python3");
    engine.n_options = 2;
    assert_true(spawn_find(&isolate, &script, &err));
    assert_string_equal(isolate.worker, "/usr/bin/mine");
    assert_string_equal(err.message, "");
    gp_arena_destroy(isolate.arena);
}

int main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "find") == 0)
        return find_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_program_has_a_worker),
        cmocka_unit_test(test_another_program_has_python),
        cmocka_unit_test(test_what_cannot_start),
        cmocka_unit_test(test_children_need_a_pool_that_is_a_file),
        cmocka_unit_test(test_children_need_descriptors),
        cmocka_unit_test(test_the_server_is_told),
        cmocka_unit_test(test_inputs_are_for_reading),
        cmocka_unit_test(test_a_child_ends_with_its_server),
        cmocka_unit_test_setup_teardown(test_the_worker_is_found, tree_make, tree_remove),
        cmocka_unit_test(test_a_script_has_an_interpreter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
