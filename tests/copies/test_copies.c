/* Counts the bytes of tensors that user space copies on each way of a request, and looks whether
 * a tensor stays where it was put: by the kernel until the engine has it, by the engine until the
 * kernel takes it. The tables are ARCHITECTURE.md's promise: what is not in them is 0. */
#include "copies.h"
#include "visitor.h"

#include "../unit/skipping.h"
#include "server/server.h"

#include <graphpipe/client.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { KIB = 1024, MIB = 1024 * KIB, WINDOW = 16 * KIB, N_PIPELINED = 20 };

enum { LARGE = 5 * MIB, STRING_BYTES = 1000, N_STRINGS = 1000 };

enum engine {
    ALLOCATES, /* its output from the host */
    ADOPTED,   /* gives the host its own */
    ECHO,      /* gives the input back: the plug-in */
    ONNX,      /* the plug-in, with the framework */
};

/* How many bytes of a request's tensor may be copied, at most. */
struct row {
    const char *name;
    enum way way;
    enum engine engine;
    size_t tensor; /* bytes of it, in and out */
    size_t n_requests;
    enum { FLOATS, MISALIGNED, STRINGS } kind;
    size_t window; /* came into the window, and is moved to the pool */
    size_t saved;  /* of later requests, put aside while the engine ran and back again */
    size_t moved;  /* within the pool: a body that grows; what cannot be read in place */
    size_t copied; /* exactly: copied for any other reason */
};

static const struct row rows[] = {
    {"1 KiB", WHOLE, ALLOCATES, KIB, .window = KIB, .copied = KIB},
    {"1 KiB, adopted", WHOLE, ADOPTED, KIB, .window = KIB, .copied = KIB},
    {"1 KiB, echo", WHOLE, ECHO, KIB, .window = KIB, .copied = KIB},
    {"5 MiB", WHOLE, ALLOCATES, LARGE, .window = WINDOW},
    {"5 MiB, adopted", WHOLE, ADOPTED, LARGE, .window = WINDOW},
    {"5 MiB, echo", WHOLE, ECHO, LARGE, .window = WINDOW},
    {"5 MiB in odd pieces", PIECES, ALLOCATES, LARGE, .window = WINDOW},
    {"5 MiB after 100 Continue", EXPECT, ALLOCATES, .tensor = LARGE},
    {"5 MiB in one chunk", ONE_CHUNK, ALLOCATES, LARGE, .window = WINDOW, .moved = LARGE},
    {"5 MiB chunk in odd pieces", CHUNK_PIECES, ALLOCATES, LARGE, .window = WINDOW,
     .moved = LARGE},
    {"5 MiB in chunks of 1 MiB", LARGE_CHUNKS, ALLOCATES, LARGE, .window = 6 * WINDOW,
     .moved = 2 * LARGE},
    {"5 MiB in chunks of 9 KB", SMALL_CHUNKS, ALLOCATES, LARGE, .window = LARGE,
     .moved = 2 * LARGE},
    {"20 of 1 KiB, pipelined", WHOLE, ALLOCATES, KIB, .n_requests = N_PIPELINED,
     .window = KIB, .saved = WINDOW, .copied = KIB},
    {"2 of 64 KiB, pipelined", WHOLE, ALLOCATES, 64 * KIB, .n_requests = 2,
     .window = WINDOW},
    {"5 MiB, misaligned", WHOLE, ALLOCATES, LARGE, .kind = MISALIGNED, .window = WINDOW,
     .moved = LARGE},
    {"1000 strings of 1000 B", WHOLE, ECHO, N_STRINGS *STRING_BYTES, .kind = STRINGS,
     .window = WINDOW, .moved = N_STRINGS * STRING_BYTES},
    {"5 MiB, ONNX Runtime", WHOLE, ONNX, LARGE, .window = WINDOW},
};

static unsigned char tensor_bytes[LARGE + 64], adopted_bytes[LARGE];

/* --- the engine ----------------------------------------------------------------------- */

static struct {
    unsigned n_in_place; /* runs with the input where it was received, or moved to */
    struct range output;
} engine;

static enum gp_status run(void *self, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err)
{
    const struct row *row = self;
    const struct gp_tensor *input = &call->inputs[0];
    copies_open();
    engine.n_in_place += copies_has_landed((const char *)input->data + input->size_bytes);
    struct gp_tensor output = *input;
    void *own = adopted_bytes;
    if (row->engine == ALLOCATES)
        own = gp_outputs_alloc(outputs, 0, input->dtype, input->shape, input->rank, err);
    if (!own)
        return err->status;
    memset(own, MARK, input->size_bytes);
    output.data = own;
    if (row->engine == ADOPTED &&
        gp_outputs_adopt(outputs, 0, &output, NULL, NULL, err) != GP_OK)
        return err->status;
    engine.output = (struct range){own, input->size_bytes};
    if (!row->n_requests)
        copies_guard(engine.output);
    return GP_OK;
}

/* --- a server with it ----------------------------------------------------------------- */

struct site {
    struct gp_server *server;
    pthread_t thread;
    struct range pool;
    struct gp_error err;
};

static void *serve(void *arg)
{
    struct site *site = arg;
    return (void *)(size_t)gp_server_run(site->server, &site->err);
}

/* The address range of its pool. */
static struct range range_of(struct pool *pool)
{
    struct pool_buffer buffer;
    struct stat file;
    assert_true(pool_take(pool, NULL, 1, NULL, &buffer));
    const struct range range = {
        buffer.data - pool_offset(&buffer),
        fstat(pool_range(pool, NULL)->fd, &file) == 0 ? (size_t)file.st_size : 0};
    pool_give(pool, &buffer);
    return range;
}

static void site_open(struct site *site, const struct row *row)
{
    char folder[512], model[512], path[64];
    const char *const listen[] = {path};
    static unsigned n;
    (void)snprintf(path, sizeof path, "unix:/tmp/gp-copies-%ld-%u", (long)getpid(), n++);
    (void)snprintf(folder, sizeof folder, "%s/lib/graphpipe", getenv("GP_BUILD_DIR"));
    (void)snprintf(model, sizeof model, "%s/tests/models/pair.onnx",
                   getenv("GP_SOURCE_DIR"));
    struct gp_server_options options = {
        .listen = listen, .n_listen = 1, .n_pollers = 1, .pool_bytes = 256 * MIB};
    if (row->engine >= ECHO) {
        options.engine = row->engine == ONNX ? "onnx" : "echo";
        options.engine_dir = folder;
        options.model_path = row->engine == ONNX ? model : NULL;
    }
    *site = (struct site){0};
    site->server = options.engine ? gp_server_create(&options, &site->err)
                                  : gp_server_create_function(run, (void *)(size_t)row,
                                                              &options, &site->err);
    if (!site->server && row->engine == ONNX && site->err.status == GP_UNAVAILABLE) {
        print_message("no ONNX Runtime: %s\n", site->err.message);
        SKIP_BECAUSE("the onnx engine is not built: tools/setup onnx, then make");
    }
    if (!site->server)
        fail_msg("%s", site->err.message);
    assert_int_equal(pthread_create(&site->thread, NULL, serve, site), 0);
    site->pool = range_of(site->server->pool);
    assert_true(site->pool.size > 0);
}

/* Nothing moves any more when it returns. */
static void site_close(struct site *site)
{
    gp_server_stop(site->server);
    pthread_join(site->thread, NULL);
    gp_server_destroy(site->server);
}

/* --- requests ------------------------------------------------------------------------- */

static struct gp_tensor tensor_of(const struct row *row)
{
    static struct gp_string strings[N_STRINGS];
    static int64_t shape[1];
    memset(tensor_bytes, MARK, sizeof tensor_bytes);
    for (size_t i = 0; i < N_STRINGS; i++)
        strings[i] = (struct gp_string){(const char *)tensor_bytes + i * STRING_BYTES,
                                        STRING_BYTES};
    if (row->kind == STRINGS) {
        shape[0] = N_STRINGS;
        return gp_tensor_view(GP_STRING, shape, 1, strings);
    }
    const enum gp_dtype dtype = row->kind == MISALIGNED ? GP_FLOAT64 : GP_FLOAT32;
    shape[0] = (int64_t)(row->tensor / gp_dtype_size(dtype));
    return gp_tensor_view(dtype, shape, 1, tensor_bytes);
}

/* The message in one block, the tensor at its end. */
static char *message_of(const struct row *row, size_t *size)
{
    static const float zero;
    static const int64_t one[] = {1};
    static const char *const sum[] = {"sum"};
    struct gp_tensor inputs[] = {tensor_of(row),
                                 gp_tensor_view(GP_FLOAT32, one, 1, &zero)};
    struct gp_call call = {.inputs = inputs, .n_inputs = 1};
    if (row->engine == ONNX) { /* a model that adds its inputs */
        inputs[0].name = "a";
        inputs[1].name = "b";
        call.n_inputs = 2;
        call.output_names = sum;
        call.n_outputs = 1;
    }
    struct gp_arena *arena = gp_arena_create();
    struct gp_encoding message;
    assert_int_equal(gp_request_encode(arena, &call, &message, NULL), GP_OK);
    const uint32_t shift = row->kind == MISALIGNED ? 4 : 0;
    char *bytes = calloc(1, message.size_bytes + shift);
    assert_non_null(bytes);
    *size = shift;
    for (size_t i = 0; i < message.n_parts; *size += message.parts[i++].iov_len)
        memcpy(bytes + *size, message.parts[i].iov_base, message.parts[i].iov_len);
    if (shift) { /* all offsets are relative but the root's, which comes first */
        uint32_t root;
        memcpy(&root, bytes + shift, sizeof root);
        root += shift;
        memcpy(bytes, &root, sizeof root);
    }
    gp_arena_destroy(arena);
    return bytes;
}

/* --- what the server copied ----------------------------------------------------------- */

#define AT_MOST(what, most)                                                              \
    if ((what) > (most))                                                                 \
    (print_error("%s: %s is %zu, over %zu\n", row->name, #what, what, (size_t)(most)),   \
     is_bad = true)

#define EXACTLY(what, wanted)                                                            \
    if ((what) != (wanted))                                                              \
    (print_error("%s: %s is %zu, not %zu\n", row->name, #what, what, (size_t)(wanted)),  \
     is_bad = true)

static bool judge_bytes(const struct row *row, const struct range *pool, size_t n)
{
    const size_t all = n * row->tensor;
    const size_t received = copies_sum(SERVER, RECEIVED, NULL, NULL);
    const size_t in_window = received - copies_sum(SERVER, RECEIVED, NULL, pool);
    const size_t copied_in_all = copies_sum(SERVER, COPIED, NULL, NULL);
    const size_t moved = copies_sum(SERVER, COPIED, pool, pool);
    const size_t into_pool = copies_sum(SERVER, COPIED, NULL, pool) - moved;
    const size_t saved = row->saved ? into_pool - in_window : 0; /* and loaded again */
    const size_t copied = copied_in_all - moved - in_window - 2 * saved;
    const size_t sent = copies_sum(SERVER, SENT, NULL, NULL);
    bool is_bad = false;
    EXACTLY(received, all);
    AT_MOST(in_window, n * row->window);
    AT_MOST(saved, n * row->saved);
    AT_MOST(moved, row->moved);
    if (row->kind != FLOATS)
        EXACTLY(moved, row->moved);
    EXACTLY(copied, n * row->copied);
    EXACTLY(sent, all);
    print_message("%-26s %9zu %9zu %9zu %9zu %9zu\n", row->name, all, in_window, saved,
                  moved, copied);
    return is_bad;
}

static bool judge_places(const struct row *row, size_t n)
{
    bool is_bad = false;
    const size_t n_in_place = engine.n_in_place;
    if (row->engine <= ADOPTED)
        EXACTLY(n_in_place, n);
    if (row->kind != FLOATS || row->copied || row->n_requests || row->engine == ONNX)
        return is_bad;
    const size_t from_engine = copies_sum(SERVER, SENT, &engine.output, NULL);
    EXACTLY(from_engine, row->tensor);
    if (copies_was_touched()) {
        print_error("%s: the tensor was read or written on its way\n", row->name);
        is_bad = true;
    }
    return is_bad;
}

static void a_request(void **state)
{
    const struct row *row = *state;
    const size_t n = row->n_requests ? row->n_requests : 1;
    struct site site;
    struct visitor visitor;
    size_t size;
    site_open(&site, row);
    char *message = message_of(row, &size);
    memset(&engine, 0, sizeof engine);
    copies_begin(site.pool, row->n_requests || row->engine == ONNX ? 0 : row->tensor);
    visitor_open(&visitor, gp_server_address(site.server, 0));
    visitor_ask(&visitor, row->way, message, size, n);
    for (size_t i = 0; i < n; i++) {
        const char *body = visitor_answer(&visitor, &size);
        assert_int_equal(copies_marks(body, size), row->tensor);
    }
    visitor_close(&visitor);
    if (row->engine == ECHO)
        engine.output = (struct range){copies_end() - row->tensor, row->tensor};
    site_close(&site);
    free(message);
    const bool has_bad_bytes = judge_bytes(row, &site.pool, n);
    if (judge_places(row, n) || has_bad_bytes) {
        copies_print(SERVER);
        fail();
    }
}

/* --- what the client copied ----------------------------------------------------------- */

/* The answer: only what came with its head. The request: tensors under 4 KiB. */
static void a_call(const struct row *row, void *own, size_t own_size)
{
    struct site site;
    struct gp_result *result;
    struct gp_error err;
    const struct gp_tensor input = tensor_of(row);
    const struct gp_call call = {.inputs = &input, .n_inputs = 1};
    site_open(&site, row);
    copies_begin(site.pool, 0);
    struct gp_client *client =
        gp_client_create(gp_server_address(site.server, 0), NULL, &err);
    assert_non_null(client);
    const enum gp_status status =
        own ? gp_client_infer_into(client, &call, own, own_size, &result, &err)
            : gp_client_infer(client, &call, &result, &err);
    site_close(&site);
    if (status != GP_OK)
        fail_msg("%s", err.message);
    const struct gp_tensor *output = gp_result_output(result, 0);
    const struct range in = {tensor_bytes, row->tensor}, buffer = {own, own_size},
                       out = {output->data, output->size_bytes};
    const size_t sent = copies_sum(CLIENT, SENT, NULL, NULL);
    const size_t sent_in_place = copies_sum(CLIENT, SENT, &in, NULL);
    const size_t received = copies_sum(CLIENT, RECEIVED, NULL, NULL);
    const size_t with_head = received - copies_sum(CLIENT, RECEIVED, NULL, &out);
    const size_t copied = copies_sum(CLIENT, COPIED, NULL, NULL) - with_head;
    const bool is_small = row->copied > 0;
    bool is_bad = false;
    EXACTLY(sent, row->tensor);
    EXACTLY(sent_in_place, is_small ? 0 : row->tensor);
    EXACTLY(received, row->tensor);
    AT_MOST(with_head, row->window);
    EXACTLY(copied, row->copied);
    EXACTLY(out.size, row->tensor);
    print_message("%-26s %9zu %9zu %9d %9d %9zu\n", row->name, row->tensor, with_head, 0,
                  0, copied);
    if (is_bad || (own && !range_has(&buffer, out.at))) {
        copies_print(CLIENT);
        fail();
    }
    gp_result_destroy(result);
    gp_client_destroy(client);
}

static void a_clients_call(void **state)
{
    (void)state;
    a_call(
        &(const struct row){"client, 1 KiB", .tensor = KIB, .window = KIB, .copied = KIB},
        NULL, 0);
    a_call(&(const struct row){"client, 5 MiB", .tensor = LARGE, .window = WINDOW}, NULL,
           0);
}

static void a_clients_call_into_own_memory(void **state)
{
    static _Alignas(64) unsigned char own[LARGE + 4 * KIB];
    (void)state;
    a_call(&(const struct row){"client, 5 MiB into its own", .tensor = LARGE,
                               .window = WINDOW},
           own, sizeof own);
}

int main(void)
{
    enum { N_ROWS = sizeof rows / sizeof *rows };
    struct CMUnitTest tests[N_ROWS + 2] = {
        [N_ROWS] = cmocka_unit_test(a_clients_call),
        [N_ROWS + 1] = cmocka_unit_test(a_clients_call_into_own_memory)};
    for (size_t i = 0; i < N_ROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, a_request, NULL, NULL,
                                       (void *)(size_t)&rows[i]};
    print_message("%-26s %9s %9s %9s %9s %9s\n", "", "bytes", "window", "saved", "moved",
                  "copied");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
