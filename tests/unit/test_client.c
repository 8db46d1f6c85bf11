/* The client against a scripted server: what goes well, however the answer comes. The
 * outputs are 100 000 floats, so that an answer takes many reads and its tensor is a part
 * of its own. */
#include "scripted.h"

#include <graphpipe/client.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_FLOATS = 100000 };

static float floats[N_FLOATS];
static const int64_t shape[] = {N_FLOATS};
static struct gp_arena *arena;
static char *message;
static size_t message_size;
static char *metadata_message;
static size_t metadata_message_size;

static int setup(void **state)
{
    (void)state;
    struct gp_encoding encoding;
    for (int i = 0; i < N_FLOATS; i++)
        floats[i] = (float)i;
    arena = gp_arena_create();
    const struct gp_tensor output = gp_tensor_view(GP_FLOAT32, shape, 1, floats);
    assert_int_equal(gp_response_encode(arena, &output, 1, 0, &encoding, NULL), GP_OK);
    message = scripted_flatten(&encoding);
    message_size = encoding.size_bytes;

    const struct gp_io input = {
        .name = "x", .description = "", .shape = shape, .rank = 1, .dtype = GP_FLOAT32};
    const struct gp_metadata metadata = {.name = "m", .inputs = &input, .n_inputs = 1};
    assert_int_equal(gp_metadata_encode(arena, &metadata, 0, &encoding, NULL), GP_OK);
    metadata_message = scripted_flatten(&encoding);
    metadata_message_size = encoding.size_bytes;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(message);
    free(metadata_message);
    gp_arena_destroy(arena);
    return 0;
}

#define START(server, is_unix, ...)                                                      \
    static const struct script_step steps[] = {__VA_ARGS__};                             \
    scripted_start(server, is_unix, steps, sizeof steps / sizeof *steps, message,        \
                   message_size)

static void assert_outputs(const struct gp_result *result)
{
    assert_int_equal(gp_result_count(result), 1);
    const struct gp_tensor *output = gp_result_output(result, 0);
    assert_non_null(output);
    assert_null(gp_result_output(result, 1));
    assert_int_equal(output->rank, 1);
    assert_int_equal(output->size_bytes, sizeof floats);
    assert_memory_equal(gp_tensor_data(output, GP_FLOAT32, NULL), floats, sizeof floats);
}

/* Sends n floats and expects the outputs. */
static struct gp_result *infer(struct gp_client *client, int64_t n)
{
    const struct gp_tensor input = gp_tensor_view(GP_FLOAT32, &n, 1, floats);
    const struct gp_call call = {.inputs = &input, .n_inputs = 1};
    struct gp_result *result;
    struct gp_error err;
    if (gp_client_infer(client, &call, &result, &err) != GP_OK)
        fail_msg("%s", err.message);
    assert_outputs(result);
    return result;
}

static void ask(struct gp_client *client)
{
    gp_result_destroy(infer(client, 3));
}

static void round_trip(bool is_unix)
{
    struct scripted server;
    START(&server, is_unix, ACCEPT, READ, ANSWER, READ, ANSWER, AWAIT_CLOSE);
    struct gp_client *client = scripted_connect(server.address, NULL);
    ask(client);
    gp_result_destroy(infer(client, N_FLOATS));
    gp_client_destroy(client);
    scripted_check(&server);

    char host[160] = "\r\nHost: ";
    strcat(strcat(host, is_unix ? "localhost" : server.address + 7), "\r\n");
    assert_int_equal(server.n_requests, 2);
    assert_memory_equal(server.head, "POST / HTTP/1.1\r\n", 17);
    assert_non_null(strstr(server.head, host));
    assert_non_null(strstr(server.head, "\r\nAccept: application/x-graphpipe\r\n"));
    assert_non_null(strstr(server.head, "\r\nContent-Type: application/x-graphpipe\r\n"));
    assert_null(strstr(server.head, "Timeout"));
}

static void over_tcp(void **state)
{
    (void)state;
    round_trip(false);
}

static void over_a_unix_socket(void **state)
{
    (void)state;
    round_trip(true);
}

static void the_path_is_sent(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, false, ACCEPT, READ, ANSWER);
    strcat(server.address, "/mobilenet/versions/2?x");
    struct gp_client *client = scripted_connect(server.address, NULL);
    ask(client);
    gp_client_destroy(client);
    scripted_check(&server);
    assert_memory_equal(server.head, "POST /mobilenet/versions/2?x HTTP/1.1\r\n", 39);
}

/* --- kept connections
 * -------------------------------------------------------------------- */

static void a_connection_closed_while_idle_is_made_again(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, false, ACCEPT, READ, ANSWER, CLOSE, ACCEPT, READ, ANSWER, CLOSE,
          ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    for (int i = 0; i < 3; i++)
        ask(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* The server closes just when the next request is on its way. */
static void a_request_that_meets_a_close_is_sent_again(void **state)
{
    (void)state;
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct scripted server;
        START(&server, is_unix, ACCEPT, READ, ANSWER, READ, CLOSE, ACCEPT, READ, ANSWER,
              READ_HEAD, RESET, ACCEPT, READ, ANSWER);
        struct gp_client *client = scripted_connect(server.address, NULL);
        for (int i = 0; i < 3; i++)
            gp_result_destroy(infer(client, N_FLOATS));
        gp_client_destroy(client);
        scripted_check(&server);
        assert_int_equal(server.n_requests, 5);
    }
}

static void connection_close_is_obeyed(void **state)
{
    (void)state;
    struct scripted server;
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                               "Connection: close\r\n\r\n";
    START(&server, false, ACCEPT, READ, SEND(head), CHUNKS(1000), AWAIT_CLOSE, ACCEPT,
          READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    ask(client);
    ask(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* --- how answers come
 * -------------------------------------------------------------------- */

static void in_pieces(void **state)
{
    (void)state;
    struct scripted server;
    char head[128];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-LENGTH:%zu\r\n\r\n",
             message_size);
    const struct script_step steps[] = {ACCEPT, READ, DRIP(head), PAUSE(10), MESSAGE};
    scripted_start(&server, false, steps, 5, message, message_size);
    struct gp_client *client = scripted_connect(server.address, NULL);
    ask(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

#define CHUNKED_HEAD "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static void chunked(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, false, ACCEPT, READ, SEND(CHUNKED_HEAD), CHUNKS(97), READ,
          DRIP(CHUNKED_HEAD), PAUSE(10), CHUNKS(1u << 30), READ,
          SEND(CHUNKED_HEAD "0;a=b\r\nTrailer: x\r\n\r\n"));
    struct gp_client *client = scripted_connect(server.address, NULL);
    ask(client);
    ask(client);

    struct gp_result *result; /* an empty body is no message, but good HTTP */
    struct gp_error err;
    assert_int_equal(gp_client_infer(client, &(struct gp_call){0}, &result, &err),
                     GP_MALFORMED);
    assert_null(result);
    gp_client_destroy(client);
    scripted_check(&server);
}

static void until_the_connection_ends(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, false, ACCEPT, READ, SEND("HTTP/1.0 200 OK\r\n\r\n"), MESSAGE, CLOSE,
          ACCEPT, READ, DRIP("HTTP/1.1 200 OK\r\n\r\n"), MESSAGE, CLOSE);
    struct gp_client *client = scripted_connect(server.address, NULL);
    ask(client);
    ask(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

static void interim_answers_are_skipped(void **state)
{
    (void)state;
    struct scripted server;
    static const char noise[] = "HTTP/1.1 100 Continue\r\n\r\n"
                                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    START(&server, false, ACCEPT, SEND(noise), READ, DRIP(noise), ANSWER, READ_HEAD,
          DRIP(noise), PAUSE(20), CLOSE);
    struct gp_client *client = scripted_connect(server.address, NULL);
    gp_result_destroy(infer(client, N_FLOATS));
    struct gp_result *result; /* with an answer begun, the request is not sent again */
    assert_int_equal(gp_client_infer(client, &(struct gp_call){0}, &result, NULL), GP_IO);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* --- into the caller's memory
 * ------------------------------------------------------------ */

static void into_a_buffer(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, false, ACCEPT, READ, ANSWER, READ, SEND(CHUNKED_HEAD), CHUNKS(5000),
          READ, ANSWER, CLOSE, ACCEPT, READ, SEND(CHUNKED_HEAD), CHUNKS(5000));
    struct gp_client *client = scripted_connect(server.address, NULL);
    char *buffer = aligned_alloc(64, (message_size + 63) / 64 * 64);
    assert_non_null(buffer);
    struct gp_result *result;
    struct gp_error err;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gp_client_infer_into(client, &(struct gp_call){0}, buffer,
                                              message_size, &result, &err),
                         GP_OK);
        assert_outputs(result);
        const char *data = gp_result_output(result, 0)->data;
        assert_true(data > buffer && data < buffer + message_size);
        gp_result_destroy(result);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gp_client_infer_into(client, &(struct gp_call){0}, buffer,
                                              message_size - 1, &result, &err),
                         GP_TOO_LARGE);
        assert_null(result);
        char wanted[32];
        snprintf(wanted, sizeof wanted, "%zu", message_size - 1);
        assert_non_null(strstr(err.message, wanted));
        snprintf(wanted, sizeof wanted, "%zu", message_size);
        assert_non_null(strstr(err.message, wanted));
    }
    free(buffer);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* --- results
 * ----------------------------------------------------------------------------- */

static void results_outlive_their_client(void **state)
{
    (void)state;
    enum { N_RESULTS = 12 };
    struct scripted server;
    struct script_step steps[1 + 2 * N_RESULTS] = {ACCEPT};
    for (int i = 0; i < N_RESULTS; i++) {
        steps[1 + 2 * i].action = SCRIPT_READ;
        steps[2 + 2 * i].action = SCRIPT_ANSWER;
    }
    scripted_start(&server, true, steps, 1 + 2 * N_RESULTS, message, message_size);
    struct gp_client *client = scripted_connect(server.address, NULL);
    struct gp_result *results[N_RESULTS];
    for (int i = 0; i < N_RESULTS; i++) {
        results[i] = infer(client, 3);
        if (i == 3)
            gp_result_destroy(results[0]);
    }
    gp_client_destroy(client);
    scripted_check(&server);
    for (int i = 1; i < N_RESULTS; i++) {
        assert_outputs(results[i]);
        gp_result_destroy(results[i]);
    }
    gp_result_destroy(NULL);
    gp_client_destroy(NULL);
}

static void metadata(void **state)
{
    (void)state;
    struct scripted server;
    static const struct script_step steps[] = {ACCEPT, READ, ANSWER};
    scripted_start(&server, false, steps, 3, metadata_message, metadata_message_size);
    struct gp_client *client = scripted_connect(server.address, NULL);
    const struct gp_metadata *got;
    struct gp_result *result;
    assert_int_equal(gp_client_metadata(client, &got, &result, NULL), GP_OK);
    gp_client_destroy(client);
    scripted_check(&server);
    assert_string_equal(got->name, "m");
    assert_int_equal(got->n_inputs, 1);
    assert_string_equal(got->inputs[0].name, "x");
    assert_int_equal(got->inputs[0].shape[0], N_FLOATS);
    assert_int_equal(gp_result_count(result), 0);
    gp_result_destroy(result);
}

/* Else a connection takes one of these numbers, and gets what the process prints. */
static void standard_descriptors_are_held(void **state)
{
    int status;
    (void)state;
    const pid_t pid = fork();
    if (pid == 0) {
        for (int fd = 0; fd < 3; fd++)
            close(fd);
        struct gp_client *client = gp_client_create("127.0.0.1:1", NULL, NULL);
        struct stat file;
        int n_held = 0;
        for (int fd = 0; fd < 3; fd++)
            n_held += fstat(fd, &file) == 0 && S_ISCHR(file.st_mode);
        gp_client_destroy(client);
        _exit(client ? n_held : -1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
}

/* Where they are not to be had, there is no client. */
static void standard_descriptors_may_lack(void **state)
{
    int status;
    (void)state;
    const pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        struct gp_error err = {0};
        close(0);
        (void)setrlimit(RLIMIT_NOFILE, &none);
        const struct gp_client *client = gp_client_create("127.0.0.1:1", NULL, &err);
        _exit(client ? EXIT_FAILURE : (int)err.status);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), GP_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_tcp),
        cmocka_unit_test(over_a_unix_socket),
        cmocka_unit_test(the_path_is_sent),
        cmocka_unit_test(a_connection_closed_while_idle_is_made_again),
        cmocka_unit_test(a_request_that_meets_a_close_is_sent_again),
        cmocka_unit_test(connection_close_is_obeyed),
        cmocka_unit_test(in_pieces),
        cmocka_unit_test(chunked),
        cmocka_unit_test(until_the_connection_ends),
        cmocka_unit_test(interim_answers_are_skipped),
        cmocka_unit_test(into_a_buffer),
        cmocka_unit_test(results_outlive_their_client),
        cmocka_unit_test(metadata),
        cmocka_unit_test(standard_descriptors_are_held),
        cmocka_unit_test(standard_descriptors_may_lack),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
