/* The client with each allocation and each of its system calls failing in turn: a status and a
 * message, nothing is left, and the same client is answered as soon as nothing fails. */
#include "fault.h"
#include "scripted.h"
#include "site.h"

#include <graphpipe/client.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_FLOATS = 3000, N_ENDLESS = 400, BUFFER_BYTES = 64 * 1024 };

static float floats[N_FLOATS];
static const int64_t shape[] = {N_FLOATS};
static _Alignas(64) unsigned char buffer[BUFFER_BYTES];
static struct site site;

enum how { INFER, INFER_INTO, METADATA, REFUSED };

static enum gp_status infer(struct gp_client *client, enum how how, struct gp_error *err)
{
    static const struct gp_string strings[] = {{"one", 3}, {"", 0}};
    static const int64_t two[] = {2};
    const struct gp_tensor inputs[] = {gp_tensor_view(GP_FLOAT32, shape, 1, floats),
                                       gp_tensor_view(GP_STRING, two, 1, strings)};
    const struct gp_call call = {.inputs = inputs, .n_inputs = 2};
    struct gp_result *result = (struct gp_result *)client; /* anything but NULL */
    const enum gp_status status =
        how == INFER_INTO
            ? gp_client_infer_into(client, &call, buffer, sizeof buffer, &result, err)
            : gp_client_infer(client, &call, &result, err);
    assert_int_equal(status == GP_OK, result != NULL);
    if (result) {
        assert_memory_equal(gp_result_output(result, 0)->data, floats, sizeof floats);
        assert_int_equal(gp_result_count(result), 3);
    }
    gp_result_destroy(result);
    return status;
}

static enum gp_status metadata(struct gp_client *client, struct gp_error *err)
{
    const struct gp_metadata *got = NULL;
    struct gp_result *result = NULL;
    const enum gp_status status = gp_client_metadata(client, &got, &result, err);
    assert_int_equal(status == GP_OK, result != NULL);
    if (result)
        assert_string_equal(got->name, "function");
    gp_result_destroy(result);
    return status;
}

/* The server's own refusal is what is wanted; whatever hinders it comes out otherwise. */
static enum gp_status be_refused(struct gp_client *client, struct gp_error *err)
{
    const char *names[] = {"a", "b"};
    const struct gp_call call = {.output_names = names, .n_outputs = 2};
    struct gp_result *result = NULL;
    const enum gp_status status = gp_client_infer(client, &call, &result, err);
    assert_int_not_equal(status, GP_OK);
    assert_null(result);
    return status == GP_INTERNAL ? GP_OK : status;
}

static enum gp_status ask(struct gp_client *client, enum how how, struct gp_error *err)
{
    if (how == METADATA)
        return metadata(client, err);
    return how == REFUSED ? be_refused(client, err) : infer(client, how, err);
}

static bool has_none(struct gp_server *server)
{
    return connections_count(&server->connections) == 0;
}

static int settle(void **state)
{
    (void)state;
    return site_await(&site, has_none) ? 0 : -1;
}

static enum gp_status scenario(void *arg, struct gp_error *err)
{
    struct gp_client *client = gp_client_create(site.listen, NULL, err);
    if (!client)
        return err->status;
    const enum gp_status status = ask(client, *(const enum how *)arg, err);
    gp_client_destroy(client);
    return status;
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < N_FLOATS; i++)
        floats[i] = (float)i;
    site_open(&site, &(struct gp_server_options){.n_slots = 1});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    site_close(&site);
    return 0;
}

static void allocations(void **state)
{
    (void)state;
    for (enum how how = INFER; how <= METADATA; how++)
        print_message("call %d: %u allocations\n", how,
                      fault_each_allocation(scenario, &how));
}

/* The result of a call that failed is in no later one's way. */
static void allocations_of_a_kept_client(void **state)
{
    (void)state;
    for (enum how how = INFER; how <= REFUSED; how++) {
        bool has_failed = true;
        for (unsigned from = 0; has_failed; from++) {
            struct gp_error err = {GP_OK, ""};
            struct gp_client *client = scripted_connect(site.listen, NULL);
            fault_begin(&(struct fault){
                .calls = FAULT_MEMORY, .from = from, .n = 1, .error = ENOMEM});
            const enum gp_status status = ask(client, how, &err);
            has_failed = fault_end() > 0;
            assert_int_equal(has_failed || how == REFUSED, err.message[0] != '\0');
            assert_true(how == REFUSED || (status == GP_NO_MEMORY) == has_failed);
            assert_int_equal(ask(client, how, &err), GP_OK);
            gp_client_destroy(client);
            assert_true(from < N_ENDLESS);
        }
    }
}

/* --- answers that our server does not give --------------------------------------------- */

/* One that never came to ask must not keep the script waiting. */
static void knock(const struct scripted *server)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, server->path, sizeof server->path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)connect(fd, (struct sockaddr *)&name, sizeof name);
    close(fd);
}

struct script {
    const struct script_step *steps;
    size_t n_steps;
    const char *message;
    size_t size;
};

static enum gp_status ask_scripted(void *arg, struct gp_error *err)
{
    const struct script *script = arg;
    static struct scripted server;
    const struct gp_call call = {0};
    struct gp_result *result = NULL;
    enum gp_status status = GP_OK;
    scripted_start(&server, true, script->steps, script->n_steps, script->message,
                   script->size);
    struct gp_client *client = gp_client_create(server.address, NULL, err);
    if (client)
        status = gp_client_infer(client, &call, &result, err);
    else
        status = err->status;
    gp_result_destroy(result);
    gp_client_destroy(client);
    knock(&server);
    pthread_join(server.thread, NULL);
    unlink(server.path);
    return status;
}

static void allocations_of_other_answers(void **state)
{
    (void)state;
    static const struct script_step chunked[] = {
        ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        CHUNKS(50000), AWAIT_CLOSE};
    static const struct script_step unsized[] = {
        ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), MESSAGE,
        CLOSE};
    static float large[60000];
    static const int64_t n_large[] = {60000};
    const struct gp_tensor output = gp_tensor_view(GP_FLOAT32, n_large, 1, large);
    struct gp_arena *arena = gp_arena_create();
    struct gp_encoding encoding;
    assert_int_equal(gp_response_encode(arena, &output, 1, 0, &encoding, NULL), GP_OK);
    char *message = scripted_flatten(&encoding);
    struct script script = {chunked, 5, message, encoding.size_bytes};
    print_message("chunked: %u allocations\n",
                  fault_each_allocation(ask_scripted, &script));
    script.steps = unsized;
    print_message("unsized: %u allocations\n",
                  fault_each_allocation(ask_scripted, &script));
    free(message);
    gp_arena_destroy(arena);
}

/* --- system calls --------------------------------------------------------------------- */

static const struct calls {
    unsigned call;
    bool is_transient; /* the call is made again, and all goes well */
    int errors[6];
} calls[] = {
    {FAULT_SOCKET, false, {EMFILE, ENFILE, ENOMEM, ENOBUFS}},
    {FAULT_CONNECT, false, {ECONNREFUSED, ENOENT, ENOMEM, EACCES}},
    {FAULT_CONNECT, true, {EAGAIN, EINTR, EINPROGRESS}},
    {FAULT_SENDMSG, false, {ECONNRESET, EPIPE, ENOBUFS, ENOMEM}},
    {FAULT_SENDMSG, true, {EAGAIN, EINTR}},
    {FAULT_RECV, false, {ECONNRESET, ENOMEM, ETIMEDOUT}},
    {FAULT_RECV, true, {EAGAIN, EINTR}},
    {FAULT_POLL, true, {EINTR, ENOMEM}},
};

/* Two calls, so that a kept connection fails too; true when one was hit. */
static bool fail_call(enum how how, struct fault fault, bool is_transient)
{
    const long n_live = fault_n_live_here();
    const unsigned n_descriptors = fault_n_descriptors();
    struct gp_error err = {GP_OK, ""};
    struct gp_client *client = scripted_connect(site.listen, NULL);
    fault_begin(&fault);
    for (int i = 0; i < 2; i++) {
        const enum gp_status status = ask(client, how, &err);
        if (status != GP_OK && is_transient)
            fail_msg("call %u of %x, error %d: %s", fault.from, fault.calls, fault.error,
                     err.message);
        if (status != GP_OK) {
            assert_int_equal(err.status, status);
            assert_true(err.message[0]);
        }
    }
    const bool has_failed = fault_end() > 0;
    if (ask(client, how, &err) != GP_OK)
        fail_msg("after call %u of %x, error %d: %s", fault.from, fault.calls,
                 fault.error, err.message);
    gp_client_destroy(client);
    assert_int_equal(fault_n_live_here(), n_live);
    fault_check_descriptors(n_descriptors);
    return has_failed;
}

/* connect is not asked again once it is said to be under way, and then only if it was. */
static void system_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (const int *error = calls[i].errors; *error; error++)
            for (enum how how = INFER; how <= REFUSED; how++) {
                struct fault fault = {.calls = calls[i].call, .n = 1, .error = *error};
                const bool is_made_up =
                    *error == EINPROGRESS ||
                    (calls[i].call == FAULT_CONNECT && *error == EINTR);
                while (fail_call(how, fault, calls[i].is_transient && !is_made_up))
                    assert_true(++fault.from < N_ENDLESS);
            }
    print_message("%u failed so far\n", fault_n_hits());
}

static void interrupted_every_second_time(void **state)
{
    (void)state;
    for (enum how how = INFER; how <= REFUSED; how++)
        for (int error = EINTR; error; error = error == EINTR ? EAGAIN : 0)
            fail_call(how,
                      (struct fault){.calls = FAULT_RECV | FAULT_SENDMSG,
                                     .every = 2,
                                     .error = error},
                      true);
}

static void short_counts(void **state)
{
    (void)state;
    for (enum how how = INFER; how <= REFUSED; how++)
        for (size_t most = 0; most < 2; most++)
            assert_true(fail_call(
                how,
                (struct fault){.calls = FAULT_RECV | FAULT_SENDMSG, .most_bytes = most},
                true));
}

/* Whatever fails and goes on failing, the deadline ends the call. */
static void deadline(void **state)
{
    (void)state;
    static const unsigned endless[] = {FAULT_RECV | FAULT_POLL,
                                       FAULT_SENDMSG | FAULT_POLL, FAULT_CONNECT};
    for (size_t i = 0; i < 3; i++) {
        struct gp_error err;
        struct gp_client *client =
            scripted_connect(site.listen, &(struct gp_client_options){.timeout_ms = 50});
        fault_begin(&(struct fault){.calls = endless[i], .error = EAGAIN});
        assert_int_equal(ask(client, INFER, &err), GP_DEADLINE);
        assert_true(fault_end() > 0);
        gp_client_destroy(client);
    }
}

static void no_thread_to_look_up_with(void **state)
{
    (void)state;
    struct gp_error err;
    const long n_live = fault_n_live_here();
    struct gp_client *client = scripted_connect("http://no-such-host.invalid:1", NULL);
    fault_begin(&(struct fault){.calls = FAULT_PTHREAD_CREATE, .error = EAGAIN});
    assert_int_equal(ask(client, INFER, &err), GP_NO_MEMORY);
    assert_int_equal(fault_end(), 1);
    fault_begin(&(struct fault){.calls = FAULT_MEM, .error = ENOMEM});
    assert_int_equal(ask(client, INFER, &err), GP_NO_MEMORY);
    assert_true(fault_end() > 0);
    gp_client_destroy(client);
    assert_int_equal(fault_n_live_here(), n_live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(allocations, settle),
        cmocka_unit_test_setup(allocations_of_a_kept_client, settle),
        cmocka_unit_test_setup(allocations_of_other_answers, settle),
        cmocka_unit_test_setup(system_calls, settle),
        cmocka_unit_test_setup(interrupted_every_second_time, settle),
        cmocka_unit_test_setup(short_counts, settle),
        cmocka_unit_test_setup(deadline, settle),
        cmocka_unit_test_setup(no_thread_to_look_up_with, settle)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
