/* What a model runs before it is served: an engine that takes notes. */
#include "base/clock.h"
#include "entries.h"
#include "model/warm_up.h"
#include "net/poller.h"
#include "recorded.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_SLOTS = 3, MAX_INPUTS = 4 };

/* What the engine saw, and what it should do. */
static struct {
    atomic_uint n_runs[N_SLOTS];
    pthread_t threads[N_SLOTS]; /* of the last run on each slot */
    char inputs[512];           /* of the last run */
    bool takes_notes;
    unsigned fails_at; /* this run of a slot; 0: none */
    bool hangs;        /* until it is cancelled */
    atomic_bool is_cancelled;
    atomic_bool ends_host; /* once it runs */
    int64_t takes_ns;      /* by a clock that is turned */
    /* Of /proc/self/task: both slots run their first at a time, slot 1 fails, and one of them ends it
     * once there are no more, since the other's thread has gone. 0: none of that. */
    size_t n_entries;
    uint32_t late_slot;
} engine;

static struct pool *pool;
static struct log silent;
static struct poller poller;
static atomic_bool is_ending;
static struct model_host host;
static struct model model;
static struct gp_error err;

static void note_input(const struct gp_tensor *tensor)
{
    char shape[128], text[200];
    const unsigned char *bytes = tensor->data;
    const struct gp_string *strings = tensor->data;
    size_t n = 0;
    if (tensor->dtype == GP_STRING)
        for (size_t i = 0; i < tensor->size_bytes / sizeof *strings; i++)
            n += strings[i].size_bytes;
    else
        for (size_t i = 0; i < tensor->size_bytes; i++)
            n += bytes[i] != 0;
    gp_shape_format(tensor->dtype, tensor->shape, tensor->rank, shape, sizeof shape);
    (void)snprintf(text, sizeof text, "%s%s=%zu", engine.inputs[0] ? " " : "", shape, n);
    strncat(engine.inputs, text, sizeof engine.inputs - strlen(engine.inputs) - 1);
}

static void stop_hanging(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static enum gp_status hang(const struct gp_call *call, struct gp_error *e)
{
    atomic_store(&engine.is_cancelled, false);
    gp_call_on_cancel(call, stop_hanging, &engine.is_cancelled);
    if (atomic_load(&engine.ends_host))
        atomic_store(&is_ending, true);
    while (!atomic_load(&engine.is_cancelled))
        (void)usleep(1000);
    return gp_error_set(e, GP_CANCELLED, "stopped");
}

static enum gp_status take_run(void *handle, uint32_t slot, const struct gp_call *call,
                               struct gp_outputs *outputs, struct gp_error *e)
{
    (void)handle;
    const int64_t shape[] = {1};
    const unsigned n = atomic_fetch_add(&engine.n_runs[slot], 1) + 1;
    engine.threads[slot] = pthread_self();
    if (engine.takes_notes) {
        engine.inputs[0] = '\0';
        for (uint32_t i = 0; i < call->n_inputs; i++)
            note_input(&call->inputs[i]);
    }
    if (engine.hangs)
        return hang(call, e);
    if (engine.takes_ns)
        turned_clock_add(engine.takes_ns);
    while (engine.n_entries && !atomic_load(&engine.n_runs[1 - slot]))
        (void)usleep(1000);
    while (engine.n_entries && slot == engine.late_slot &&
           count_entries("/proc/self/task") > engine.n_entries)
        (void)usleep(1000);
    if (engine.n_entries && slot == 1)
        return gp_error_set(e, GP_ENGINE, "nor this one");
    if (n == engine.fails_at)
        return gp_error_set(e, GP_ENGINE, "not this one");
    return gp_outputs_alloc(outputs, 0, GP_FLOAT32, shape, 1, e) ? GP_OK : e->status;
}

static const struct gp_engine fake = {
    .size_bytes = sizeof fake, .abi = GP_ENGINE_ABI, .name = "fake", .run = take_run};

static const struct gp_io output = {
    .name = "y", .dtype = GP_FLOAT32, .rank = 1, .shape = (const int64_t[]){1}};

static void make_model(const struct gp_io *inputs, uint32_t n, uint32_t n_slots)
{
    static uint32_t indexes[MAX_INPUTS];
    static const char *const outputs[] = {"y"};
    memset(&engine, 0, sizeof engine);
    atomic_store(&is_ending, false);
    model = (struct model){
        .host = &host,
        .engine = &fake,
        .description = {.n_slots = n_slots,
                        .n_inputs = n,
                        .inputs = inputs,
                        .n_outputs = 1,
                        .outputs = &output},
        .default_inputs = indexes,
        .default_outputs = outputs,
        .n_default_outputs = 1,
    };
    for (uint32_t i = 0; i < n; i++)
        if (!(inputs[i].flags & GP_IO_OPTIONAL))
            indexes[model.n_default_inputs++] = i;
    model.slots.poller = &poller;
    assert_int_equal(slots_init(&model.slots, n_slots, &err), GP_OK);
}

static const struct gp_io rows = {
    .name = "x", .dtype = GP_FLOAT32, .rank = 2, .shape = (const int64_t[]){-1, 3}};

static int set_up(void **state)
{
    host = (struct model_host){
        .poller = &poller, .log = &silent, .n_cores = 2, .is_ending = &is_ending};
    poller = (struct poller){0};
    assert_int_equal(poller_init(&poller, &silent, 1, &err), GP_OK);
    host.pool = pool = pool_create((size_t)64 << 20);
    assert_non_null(pool);
    return tree_make(state);
}

/* All memory has come back, and the watcher has nothing left to do. */
static int tear_down(void **state)
{
    turned_clock_end();
    slots_stop_threads(&model.slots);
    slots_finish(&model.slots);
    const struct pool_counts counts = pool_count(pool);
    assert_int_equal(counts.used_bytes + counts.reserved_bytes, 0);
    assert_int_equal(atomic_load(&poller.n_engaged), 0);
    pool_destroy(pool);
    poller_finish(&poller);
    return tree_remove(state);
}

static void assert_warm(const char *what, unsigned n_each)
{
    assert_int_equal(warm_up_model(&model, what, 60 * CLOCK_S, &err), GP_OK);
    for (uint32_t i = 0; i < model.slots.n; i++)
        assert_int_equal(atomic_load(&engine.n_runs[i]), n_each);
    assert_true((model.warm_up_ns > 0) == (n_each > 0));
}

static void assert_fails(const char *what, enum gp_status status, const char *message)
{
    assert_int_equal(warm_up_model(&model, what, 60 * CLOCK_S, &err), status);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" is not in \"%s\"", message, err.message);
}

/* --- generated --- */

static void every_slot_runs_all(void **state)
{
    (void)state;
    make_model(&rows, 1, N_SLOTS);
    assert_warm("5", 5);
    slots_finish(&model.slots);
    make_model(&rows, 1, 1);
    assert_warm("12", 12);
}

static void slots_with_threads(void **state)
{
    (void)state;
    make_model(&rows, 1, N_SLOTS);
    assert_int_equal(slots_start_threads(&model.slots, &err), GP_OK);
    assert_warm("2", 2);
    for (uint32_t i = 0; i < N_SLOTS; i++)
        assert_true(pthread_equal(engine.threads[i], model.slots.all[i].thread));
    slots_stop_threads(&model.slots);
    for (uint32_t i = 0; i < N_SLOTS; i++)
        assert_null(model.slots.all[i].worker); /* have ended */
}

static void none(void **state)
{
    (void)state;
    make_model(&rows, 1, N_SLOTS);
    assert_warm(NULL, 0);
    assert_warm("0", 0);
    assert_fails("10001", GP_INVALID, "at most 10000 requests, not 10001");
    assert_fails("99999999999999999999999", GP_INVALID, "at most 10000 requests");
}

static void zeros_of_every_kind(void **state)
{
    (void)state;
    static const int64_t dims[] = {-1, 2, -1};
    const struct gp_io inputs[] = {
        {.name = "words", .dtype = GP_STRING, .rank = 2, .shape = dims},
        {.name = "scalar", .dtype = GP_INT64},
        {.name = "extra",
         .dtype = GP_INT8,
         .rank = 3,
         .shape = dims,
         .flags = GP_IO_OPTIONAL},
        {.name = "any", .flags = GP_IO_ANY_RANK},
    };
    make_model(inputs, 4, 1);
    engine.takes_notes = true;
    assert_warm("1", 1);
    assert_string_equal(engine.inputs, "string[1,2]=0 int64[]=0 float32[1]=0");
}

static void sizes(void **state)
{
    (void)state;
    static const int64_t large[] = {1, 3, 1024, 1024}, empty[] = {0, 4};
    const struct gp_io inputs[] = {
        {.name = "large", .dtype = GP_FLOAT32, .rank = 4, .shape = large},
        {.name = "empty", .dtype = GP_BOOL, .rank = 2, .shape = empty},
        {.name = "half", .dtype = GP_FLOAT16, .rank = 4, .shape = large},
    };
    make_model(inputs, 3, 1);
    engine.takes_notes = true;
    assert_warm("2", 2);
    assert_string_equal(engine.inputs, "float32[1,3,1024,1024]=0 bool[0,4]=0 "
                                       "float16[1,3,1024,1024]=0");
}

/* As large as it is, for an input of any type. */
static void every_type_has_its_zeros(void **state)
{
    static const enum gp_dtype types[] = {GP_UINT8,   GP_INT8,    GP_UINT16,  GP_INT16,
                                          GP_UINT32,  GP_INT32,   GP_BOOL,    GP_INT64,
                                          GP_FLOAT16, GP_FLOAT32, GP_FLOAT64, GP_STRING};
    static const int64_t large[] = {1 << 16};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char wanted[64];
        const struct gp_io input = {
            .name = "x", .dtype = types[i], .rank = 1, .shape = large};
        make_model(&input, 1, 1);
        engine.takes_notes = true;
        assert_warm("1", 1);
        gp_shape_format(types[i], large, 1, wanted, sizeof wanted - 2);
        assert_string_equal(engine.inputs, strcat(wanted, "=0"));
        slots_finish(&model.slots);
    }
}

static void too_large(void **state)
{
    (void)state;
    static const int64_t dims[] = {1ll << 40, 1ll << 40}, beyond[] = {1 << 20, 100};
    const struct gp_io huge = {.name = "x", .dtype = GP_INT8, .rank = 2, .shape = dims};
    make_model(&huge, 1, 1);
    assert_fails("1", GP_TOO_LARGE, "input \"x\" is int8[1099511627776,1099511627776], ");
    slots_finish(&model.slots);
    const struct gp_io past_pool = {
        .name = "x", .dtype = GP_INT8, .rank = 2, .shape = beyond};
    make_model(&past_pool, 1, 1);
    assert_fails("1", GP_NO_MEMORY, "warm-up request 1 of 1: the pool (--pool) has no");
    assert_int_equal(engine.n_runs[0], 0);
}

static void without_inputs_and_unchecked(void **state)
{
    (void)state;
    make_model(NULL, 0, 1);
    engine.takes_notes = true;
    assert_warm("1", 1);
    assert_string_equal(engine.inputs, "");
    slots_finish(&model.slots);
    make_model(NULL, 0, 1);
    model.description.flags = GP_ANY_INPUTS;
    engine.takes_notes = true;
    assert_warm("1", 1);
    assert_string_equal(engine.inputs, "float32[1]=0");
    slots_finish(&model.slots);
    make_model(&rows, 1, 1);
    model.description.flags = GP_ANY_INPUTS;
    engine.takes_notes = true;
    assert_warm("1", 1);
    assert_string_equal(engine.inputs, "float32[1,3]=0");
}

/* --- what goes wrong --- */

static void failing_run(void **state)
{
    (void)state;
    make_model(&rows, 1, N_SLOTS);
    engine.fails_at = 2;
    host.n_cores = 1;
    assert_fails("3", GP_ENGINE, "warm-up request 2 of 3: not this one");
    assert_int_equal(atomic_load(&engine.n_runs[0]), 2); /* it ended there */
    assert_int_equal(atomic_load(&engine.n_runs[1]), 0);
}

/* The thread of the other slot has ended with its failure when this one fails. */
static void the_first_failure_is_told(void **state)
{
    (void)state;
    make_model(&rows, 1, 2);
    engine.fails_at = 1;
    engine.late_slot = 1;
    engine.n_entries = count_entries("/proc/self/task") + 1;
    assert_fails("3", GP_ENGINE, "warm-up request 1 of 3: not this one");
    assert_int_equal(atomic_load(&engine.n_runs[1]), 1);
}

/* What runs there goes on to its end, and no more begins. */
static void a_failure_stops_the_other_slots(void **state)
{
    (void)state;
    make_model(&rows, 1, 2);
    engine.n_entries = count_entries("/proc/self/task") + 1;
    assert_fails("3", GP_ENGINE, "warm-up request 1 of 3: nor this one");
    assert_int_equal(atomic_load(&engine.n_runs[0]), 1);
}

/* The limit is each request's, not all of theirs. */
static void each_has_the_whole_time(void **state)
{
    (void)state;
    turned_clock_set(1000000 * CLOCK_S);
    make_model(&rows, 1, 1);
    engine.takes_ns = 40 * CLOCK_S;
    assert_warm("3", 3);
    assert_int_equal(model.warm_up_ns, 120 * CLOCK_S);
    engine.takes_ns = 60 * CLOCK_S;
    assert_fails("1", GP_DEADLINE,
                 "warm-up request 1 of 1: still running after 60000 ms");
}

static void hanging_run(void **state)
{
    (void)state;
    make_model(&rows, 1, N_SLOTS);
    host.n_cores = 1;
    engine.hangs = true;
    assert_int_equal(warm_up_model(&model, "2", 30 * CLOCK_MS, &err), GP_DEADLINE);
    assert_string_equal(err.message, "warm-up request 1 of 2: still running after 30 ms");
    assert_int_equal(atomic_load(&engine.n_runs[0]), 1);
    assert_int_equal(atomic_load(&engine.n_runs[1]), 0); /* a thread for each core */
}

static void ending_host(void **state)
{
    (void)state;
    make_model(&rows, 1, N_SLOTS);
    engine.hangs = true;
    atomic_store(&engine.ends_host, true);
    assert_fails("2", GP_UNAVAILABLE, "the server ended during the warm-up");
}

static void slot_that_is_lost(void **state)
{
    (void)state;
    make_model(&rows, 1, 1);
    const uint32_t first_free = model.slots.first_free;
    model.slots.first_free = model.slots.n;
    assert_fails("1", GP_ENGINE, "the process of slot 0 has ended");
    model.slots.first_free = first_free;
}

/* --- recorded --- */

static void recorded(void **state)
{
    (void)state;
    recorded_put("/one", NULL, 1.0f, NULL);
    recorded_put("/all/b", "x", 0.0f, NULL);
    recorded_put("/all/a", "x", 1.0f, NULL);
    tree_put("/all/.hidden", "no request");
    make_model(&rows, 1, N_SLOTS);
    engine.takes_notes = true;
    host.n_cores = 1;
    assert_warm(tree_path("/one"), 1);
    assert_string_equal(engine.inputs, "float32[1,3]=6"); /* bytes of 0x3f800000 */
    slots_finish(&model.slots);
    make_model(&rows, 1, N_SLOTS);
    engine.takes_notes = true;
    assert_warm(tree_path("/all"), 2); /* the one by the last name last */
    assert_string_equal(engine.inputs, "float32[1,3]=0");
    slots_finish(&model.slots);
    for (int i = 0; i < 9; i++) {
        char path[24];
        (void)snprintf(path, sizeof path, "/many/%d", i);
        recorded_put(path, "x", 1.0f, NULL);
    }
    make_model(&rows, 1, 1);
    assert_warm(tree_path("/many"), 9);
}

static void bad_files(void **state)
{
    (void)state;
    make_model(&rows, 1, 1);
    assert_fails(tree_path("/none"), GP_INVALID, "/none\": No such file or directory");
    tree_folder("/empty");
    assert_fails(tree_path("/empty"), GP_INVALID, "warm-up: there is no file in /");
    assert_int_equal(mkfifo(tree_path("/all"), 0600),
                     0); /* for whose writer nobody waits */
    assert_fails(tree_path("/all"), GP_INVALID, "/all: not a file");
    tree_drop("/all");
    tree_put("/100%d", ""); /* is nobody's format */
    assert_fails(tree_path("/100%d"), GP_INVALID, "/100%d: not a file of 1 to ");
    recorded_put("/all/a", "x", 1.0f, NULL);
    tree_put("/all/b", "POST / HTTP/1.1\r\n\r\n");
    assert_fails(tree_path("/all"), GP_MALFORMED, "warm-up request 2 of 2, ");
    assert_non_null(strstr(err.message, "/all/b: "));
    tree_drop("/all/b");
    tree_folder("/all/c");
    assert_fails(tree_path("/all"), GP_INVALID, "/all/c: not a file");
    tree_drop("/all/c");
    recorded_put("/all/d", "z", 1.0f, NULL);
    assert_fails(tree_path("/all"), GP_INVALID, "/all/d: ");
    assert_non_null(strstr(err.message, "\"z\""));
}

static void metadata_request(void **state)
{
    (void)state;
    struct gp_encoding message;
    struct gp_arena *arena = gp_arena_create();
    assert_int_equal(gp_metadata_request_encode(arena, &message, &err), GP_OK);
    recorded_put_message("/ask", &message);
    gp_arena_destroy(arena);
    make_model(&rows, 1, 1);
    assert_fails(tree_path("/ask"), GP_INVALID, "it asks for metadata, not for a run");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_slot_runs_all),
        TEST(slots_with_threads),
        TEST(none),
        TEST(zeros_of_every_kind),
        TEST(sizes),
        TEST(every_type_has_its_zeros),
        TEST(too_large),
        TEST(without_inputs_and_unchecked),
        TEST(failing_run),
        TEST(the_first_failure_is_told),
        TEST(a_failure_stops_the_other_slots),
        TEST(each_has_the_whole_time),
        TEST(hanging_run),
        TEST(ending_host),
        TEST(slot_that_is_lost),
        TEST(recorded),
        TEST(bad_files),
        TEST(metadata_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
