/* Several models in processes of their own: what the children of one can see of the others, and
 * that one can come and go while another runs. */
#include "entries.h"
#include "isolated.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static struct isolate *open_wild(struct pool *pool)
{
    return isolated_open_plain(pool, isolated_plugin("wild"));
}

static enum gp_status run_once(struct engine_run *run, struct isolate *isolate,
                               const char *config, const void *data, size_t size,
                               struct gp_error *err)
{
    const int64_t shape[] = {(int64_t)size};
    const struct gp_tensor input = gp_tensor_view(GP_UINT8, shape, 1, data);
    return isolated_run(run, isolate, config, &input, 1, err);
}

/* --- what a child sees ---------------------------------------------------------------- */

static const unsigned char mark[] = "what a client of B's has said in confidence";

/* Has the mark lie where a body would. */
static void take_marked(struct pool *pool, struct pool_arena *arena,
                        struct pool_buffer *buffer)
{
    assert_true(pool_take(pool, arena, 100000, NULL, buffer));
    assert_true(pool_touch(pool, buffer, 100000));
    memset(buffer->data, 0, 100000);
    memcpy(buffer->data + 70000, mark, sizeof mark);
}

/* {files of the pool's, marks} that the model's child finds. */
static void search(struct pool *pool, struct isolate *isolate, int64_t found[2])
{
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    struct gp_error err = {.message = ""};
    unsigned char inverted[sizeof mark];
    for (size_t i = 0; i < sizeof mark; i++)
        inverted[i] = (unsigned char)~mark[i];
    engine_run_init(&run, pool, arena);
    if (run_once(&run, isolate, "search", inverted, sizeof inverted, &err) != GP_OK)
        fail_msg("%s", err.message);
    assert_int_equal(run.outputs[0].tensor.size_bytes, 2 * sizeof *found);
    memcpy(found, run.outputs[0].tensor.data, 2 * sizeof *found);
    engine_run_finish(&run);
    gp_arena_destroy(arena);
}

/* Ends it, and waits for the next. */
static void restart_child(struct isolate *isolate)
{
    uint32_t slot;
    kill(isolate->children[0].pid, SIGKILL);
    do
        isolate_look(isolate, 0);
    while (isolate_let_go(isolate, 0));
    while (isolate_next(isolate, &slot) != ISOLATE_USABLE)
        poll(NULL, 0, 1);
}

static void test_a_child_sees_its_own_model_only(void **state)
{
    (void)state;
    struct pool *pool = pool_create(64 * MIB);
    struct isolate *a = open_wild(pool), *b = open_wild(pool), *c;
    struct pool_buffer of_b[2], private, of_a;
    int64_t found[2];
    take_marked(pool, isolate_memory(b).inputs, &of_b[0]);
    take_marked(pool, isolate_memory(b).outputs, &of_b[1]);
    take_marked(pool, NULL, &private);
    search(pool, a, found);
    assert_int_equal(found[0], 2);
    assert_int_equal(found[1], 0);
    search(pool, b, found); /* the search does find */
    assert_int_equal(found[0], 2);
    assert_int_equal(found[1], 2);
    c = open_wild(pool); /* started when there is something to inherit */
    search(pool, c, found);
    assert_int_equal(found[0], 2);
    assert_int_equal(found[1], 0);
    isolated_close(c);
    restart_child(a);
    take_marked(pool, isolate_memory(a).inputs, &of_a);
    search(pool, a, found);
    assert_int_equal(found[0], 2);
    assert_int_equal(found[1], 1);
    for (int i = 0; i < 2; i++)
        pool_give(pool, &of_b[i]);
    pool_give(pool, &private);
    pool_give(pool, &of_a);
    isolated_close(a);
    isolated_close(b);
    pool_destroy(pool);
}

/* Which is another program, in another language. */
static void test_an_interpreter_sees_its_own_model_only(void **state)
{
    static const char source[] =
        "import glob, os\n"
        "def is_pools(name): return 'memfd:graphpipe-pool' in name\n"
        "def infer(inputs):\n"
        "    links = [f for f in glob.glob('/proc/self/fd/*') if os.path.exists(f)]\n"
        "    seen = {os.stat(f).st_ino for f in links if is_pools(os.readlink(f))}\n"
        "    maps = [line.split() for line in open('/proc/self/maps') if "
        "is_pools(line)]\n"
        "    return len(seen | {int(line[4]) for line in maps})\n";
    char path[] = "/tmp/gp-isolate-XXXXXX", python[4096];
    (void)state;
    const int fd = mkstemp(path);
    assert_int_equal(write(fd, source, sizeof source - 1), sizeof source - 1);
    close(fd);
    (void)snprintf(python, sizeof python, "python=%s/.deps/venv/bin/python",
                   getenv("GP_SOURCE_DIR"));
    struct pool *pool = pool_create(64 * MIB);
    struct isolate *other = open_wild(pool);
    const char *option = python;
    const struct gp_engine_options engine = {.size_bytes = sizeof engine,
                                             .n_slots = 1,
                                             .n_cores = 1,
                                             .model_path = path,
                                             .options = &option,
                                             .n_options = 1};
    struct isolate *isolate = isolated_open(
        (struct isolate_options){.name = "python", .pool = pool, .engine = &engine});
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    struct gp_error err = {.message = ""};
    int64_t n_files;
    engine_run_init(&run, pool, arena);
    if (run_once(&run, isolate, "", "x", 1, &err) != GP_OK)
        fail_msg("%s", err.message);
    assert_int_equal(run.outputs[0].tensor.size_bytes, sizeof n_files);
    memcpy(&n_files, run.outputs[0].tensor.data, sizeof n_files);
    assert_int_equal(n_files, 2);
    engine_run_finish(&run);
    gp_arena_destroy(arena);
    isolated_close(isolate);
    isolated_close(other);
    (void)unlink(path);
    pool_destroy(pool);
}

/* A request's memory is used again, for another model: strings and what lies elsewhere are copied
 * to where that one's children read them. */
static void test_one_run_for_many_models(void **state)
{
    (void)state;
    struct pool *pool = pool_create(64 * MIB);
    struct isolate *isolates[] = {open_wild(pool), open_wild(pool)};
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    struct gp_error err = {.message = ""};
    engine_run_init(&run, pool, arena);
    for (int i = 0; i < 6; i++) {
        char data[9000];
        memset(data, 'a' + i, sizeof data);
        if (run_once(&run, isolates[i % 2], "", data, sizeof data, &err) != GP_OK)
            fail_msg("%s", err.message);
        assert_memory_equal(run.outputs[0].tensor.data, data, sizeof data);
        engine_run_drop(&run);
        gp_arena_reset(arena);
        if (i == 4)
            isolated_close(isolates[0]);
    }
    engine_run_finish(&run);
    gp_arena_destroy(arena);
    isolated_close(isolates[1]);
    pool_destroy(pool);
}

/* --- coming and going ----------------------------------------------------------------- */

struct traffic {
    struct pool *pool;
    struct isolate *isolate;
    atomic_bool is_over;
    unsigned n_runs;
};

/* Requests to a model that stays, one after the other. */
static void *keep_running(void *arg)
{
    static unsigned char data[100000];
    struct traffic *traffic = arg;
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    struct gp_error err = {.message = ""};
    engine_run_init(&run, traffic->pool, arena);
    while (!atomic_load(&traffic->is_over)) {
        data[sizeof data - 1]++;
        if (run_once(&run, traffic->isolate, "", data, sizeof data, &err) != GP_OK)
            fail_msg("%s", err.message);
        assert_memory_equal(run.outputs[0].tensor.data, data, sizeof data);
        engine_run_drop(&run);
        gp_arena_reset(arena);
        traffic->n_runs++;
    }
    engine_run_finish(&run);
    gp_arena_destroy(arena);
    return NULL;
}

/* One life of a model, with what can be in the way of its end. */
static void come_and_go(struct pool *pool, unsigned round)
{
    static unsigned char data[20000];
    struct isolate *isolate = open_wild(pool);
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    struct gp_error err = {.message = ""};
    engine_run_init(&run, pool, arena);
    memset(data, (int)round, sizeof data);
    assert_int_equal(run_once(&run, isolate, "", data, sizeof data, &err), GP_OK);
    if (round % 3 == 0)
        kill(isolate->children[0].pid, SIGKILL);
    isolated_close(isolate);
    assert_memory_equal(run.outputs[0].tensor.data, data, sizeof data); /* still held */
    engine_run_finish(&run);
    gp_arena_destroy(arena);
}

static void test_models_come_and_go_while_another_runs(void **state)
{
    const char *sanitizer = getenv("GP_SANITIZE");
    const unsigned n_rounds = sanitizer && *sanitizer ? 20 : 200;
    struct traffic traffic = {.pool = pool_create(64 * MIB)};
    pthread_t thread;
    size_t n_descriptors = 0, n_threads = 0, heap_bytes = 0;
    (void)state;
    traffic.isolate = open_wild(traffic.pool);
    assert_int_equal(pthread_create(&thread, NULL, keep_running, &traffic), 0);
    for (unsigned i = 0; i < n_rounds; i++) {
        come_and_go(traffic.pool, i);
        if (i == 10) {
            n_descriptors = count_entries("/proc/self/fd");
            n_threads = count_entries("/proc/self/task");
            heap_bytes = mallinfo2().uordblks;
        }
    }
    assert_int_equal(count_entries("/proc/self/fd"), n_descriptors);
    assert_int_equal(count_entries("/proc/self/task"), n_threads);
    assert_in_range(mallinfo2().uordblks, 0, heap_bytes + 64 * 1024);
    atomic_store(&traffic.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(traffic.n_runs > 0);
    isolated_close(traffic.isolate);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child, not even a dead one */
    assert_int_equal(errno, ECHILD);
    const struct pool_counts counts = pool_count(traffic.pool);
    assert_int_equal(counts.used_bytes + counts.reserved_bytes + counts.idle_bytes, 0);
    pool_destroy(traffic.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_child_sees_its_own_model_only),
        cmocka_unit_test(test_an_interpreter_sees_its_own_model_only),
        cmocka_unit_test(test_one_run_for_many_models),
        cmocka_unit_test(test_models_come_and_go_while_another_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
