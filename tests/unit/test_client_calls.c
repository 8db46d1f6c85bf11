/* The calls of graphpipe/client.h: what options and arguments mean, and what a call leaves to its
 * caller. */
#include "client_fixture.h"
#include "turned_clock.h"

#include <graphpipe/client.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOON (1000 * CLOCK_S)

/* --- options
 * ----------------------------------------------------------------------------- */

/* A caller that was built with an older header has fewer of them, one with a newer header more. */
static void options_count_as_far_as_the_caller_has_them(void **state)
{
    (void)state;
    static const struct {
        uint32_t size_bytes;
        bool has_timeout, has_limit;
    } cases[] = {
        {offsetof(struct gp_client_options, connect_timeout_ms), false, false},
        {offsetof(struct gp_client_options, timeout_ms), false, false},
        {offsetof(struct gp_client_options, max_answer_bytes), true, false},
        {sizeof(struct gp_client_options), true, true},
        {sizeof(struct gp_client_options) + 8, true, true},
        {0, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scripted server;
        START(&server, ACCEPT, READ, ANSWER);
        struct gp_client_options *options =
            malloc(sizeof *options); /* and not a byte more */
        assert_non_null(options);
        *options = (struct gp_client_options){.size_bytes = cases[i].size_bytes,
                                              .timeout_ms = 60000,
                                              .max_answer_bytes = 1};
        struct gp_client *client = scripted_connect(server.address, options);
        free(options);
        if (cases[i].has_limit)
            scripted_assert_fails(client, &no_inputs, GP_TOO_LARGE,
                                  "over the limit of 1");
        else
            assert_works(client);
        gp_client_destroy(client);
        scripted_check(&server);
        assert_int_equal(strstr(server.head, "Timeout-Ms: ") != NULL,
                         cases[i].has_timeout);
    }
}

/* No limit may be above that of the format. */
static void answers_have_a_limit(void **state)
{
    (void)state;
    static const size_t wholes[] = {0, GP_MAX_MESSAGE_BYTES, GP_MAX_MESSAGE_BYTES + 1ul,
                                    SIZE_MAX};
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        struct scripted server;
        START(&server, ACCEPT, READ,
              SEND("HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n"), AWAIT_CLOSE);
        struct gp_client *client = scripted_connect(
            server.address, &(struct gp_client_options){.max_answer_bytes = wholes[i]});
        scripted_assert_fails(client, &no_inputs, GP_TOO_LARGE,
                              "has 2147483648 bytes, over the limit of 2147483647");
        gp_client_destroy(client);
        scripted_check(&server);
    }
    for (int less = 0; less < 2; less++) {
        struct scripted server;
        START(&server, ACCEPT, READ, ANSWER);
        struct gp_client *client = scripted_connect(
            server.address,
            &(struct gp_client_options){.max_answer_bytes = seven_size - (size_t)less});
        if (less)
            scripted_assert_fails(client, &no_inputs, GP_TOO_LARGE, "over the limit of");
        else
            assert_works(client);
        gp_client_destroy(client);
        scripted_check(&server);
    }
}

/* Each string takes sixteen bytes, fewer of the message. */
static void answers_may_not_expand_beyond_the_limit(void **state)
{
    (void)state;
    enum { N_STRINGS = 1000 };
    static const int64_t shape[] = {N_STRINGS};
    struct gp_string strings[N_STRINGS];
    for (int i = 0; i < N_STRINGS; i++)
        strings[i] = (struct gp_string){"", 0};
    const struct gp_tensor output = gp_tensor_view(GP_STRING, shape, 1, strings);
    struct gp_arena *arena = gp_arena_create();
    struct gp_encoding encoding;
    assert_int_equal(gp_response_encode(arena, &output, 1, 0, &encoding, NULL), GP_OK);
    char *bytes = scripted_flatten(&encoding);
    for (int is_enough = 0; is_enough < 2; is_enough++) {
        static const struct script_step steps[] = {ACCEPT, READ, ANSWER, AWAIT_CLOSE};
        struct scripted server;
        scripted_start(&server, false, steps, 4, bytes, encoding.size_bytes);
        struct gp_client *client = scripted_connect(
            server.address,
            &(struct gp_client_options){.max_answer_bytes =
                                            is_enough ? 1 << 20 : encoding.size_bytes});
        struct gp_result *result;
        struct gp_error err;
        assert_int_equal(gp_client_infer(client, &no_inputs, &result, &err),
                         is_enough ? GP_OK : GP_TOO_LARGE);
        gp_result_destroy(result);
        gp_client_destroy(client);
        scripted_check(&server);
    }
    free(bytes);
    gp_arena_destroy(arena);
}

/* Nobody accepts: the connections of the test fill the server's queue. */
static void connecting_takes_five_seconds_at_most(void **state)
{
    (void)state;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "/tmp/gp-client-%ld", (long)getpid());
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    const int filler = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(connect(filler, (struct sockaddr *)&name, sizeof name), 0);
    char address[128];
    snprintf(address, sizeof address, "unix:%s", name.sun_path);
    static const uint32_t timeouts_ms[] = {0, 700};
    for (size_t i = 0; i < 2; i++) {
        struct gp_client *client = scripted_connect(
            address, &(struct gp_client_options){.connect_timeout_ms = timeouts_ms[i]});
        turned_clock_set(NOON);
        turned_clock_add_at_each_look(500 * CLOCK_MS);
        scripted_assert_fails(client, &no_inputs, GP_TIMEOUT,
                              i ? ": no connection within 700 ms"
                                : ": no connection within 5000 ms");
        turned_clock_end();
        gp_client_destroy(client);
    }
    unlink(name.sun_path);
    close(filler);
    close(listener);
}

/* Then a connection could take one of these numbers, and get what the process prints. */
static void no_client_without_standard_descriptors(void **state)
{
    int status;
    (void)state;
    const pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit;
        struct gp_error err = {GP_OK, ""};
        close(STDIN_FILENO);
        getrlimit(RLIMIT_NOFILE, &limit);
        const struct rlimit none = {0,
                                    limit.rlim_max}; /* so /dev/null cannot be opened */
        setrlimit(RLIMIT_NOFILE, &none);
        struct gp_client *client = gp_client_create("127.0.0.1:1", NULL, &err);
        setrlimit(RLIMIT_NOFILE, &limit);
        _exit(!client && err.status == GP_UNAVAILABLE && strstr(err.message, "/dev/null")
                  ? 7
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

/* --- arguments
 * --------------------------------------------------------------------------- */

static void the_argument_that_is_missing_is_named(void **state)
{
    (void)state;
    struct gp_client *client = scripted_connect("unix:/nowhere", NULL);
    struct gp_result *result;
    const struct gp_metadata *metadata;
    struct gp_error err;
    char buffer[1];
#define MISSING(words, call)                                                             \
    do {                                                                                 \
        err = (struct gp_error){GP_OK, ""};                                              \
        result = (struct gp_result *)client; /* anything but NULL */                     \
        assert_int_equal(call, GP_INVALID);                                              \
        assert_int_equal(err.status, GP_INVALID);                                        \
        assert_string_equal(err.message, words " is NULL");                              \
    } while (0)
    MISSING("result", gp_client_infer(client, &no_inputs, NULL, &err));
    MISSING("client", gp_client_infer(NULL, &no_inputs, &result, &err));
    assert_null(result);
    MISSING("call", gp_client_infer(client, NULL, &result, &err));
    assert_null(result);
    MISSING("result", gp_client_infer_into(client, &no_inputs, buffer, 1, NULL, &err));
    MISSING("buffer", gp_client_infer_into(client, &no_inputs, NULL, 1, &result, &err));
    assert_null(result);
    MISSING("client", gp_client_infer_into(NULL, &no_inputs, buffer, 1, &result, &err));
    assert_null(result);
    MISSING("client", gp_client_metadata(NULL, &metadata, &result, &err));
    MISSING("metadata", gp_client_metadata(client, NULL, &result, &err));
    MISSING("result", gp_client_metadata(client, &metadata, NULL, &err));
#undef MISSING
    gp_client_destroy(client);
}

/* The struct as release 0.1 had it is the smallest. */
static void a_call_has_a_size(void **state)
{
    (void)state;
    const uint32_t smallest = offsetof(struct gp_call, host) + sizeof(void *);
    struct gp_client *client = scripted_connect("unix:/nowhere/to/be.found", NULL);
    char words[100];
    snprintf(words, sizeof words, "call.size_bytes is %u; the smallest is %u",
             smallest - 1, smallest);
    scripted_assert_fails(client, &(struct gp_call){.size_bytes = smallest - 1},
                          GP_INVALID, words);
    scripted_assert_fails(client, &(struct gp_call){.size_bytes = 1}, GP_INVALID,
                          "is 1;");
    const uint32_t good[] = {0, smallest, sizeof(struct gp_call), 4096};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        scripted_assert_fails(client, &(struct gp_call){.size_bytes = good[i]}, GP_IO,
                              "no such file");
    gp_client_destroy(client);
}

static void lists_go_with_their_counts(void **state)
{
    (void)state;
    struct gp_client *client = scripted_connect("unix:/nowhere/to/be.found", NULL);
    scripted_assert_fails(client, &(struct gp_call){.n_inputs = 3}, GP_INVALID,
                          "call.inputs is NULL, n_inputs 3");
    scripted_assert_fails(client, &(struct gp_call){.n_outputs = 2}, GP_INVALID,
                          "call.output_names is NULL, n_outputs 2");
    gp_client_destroy(client);
}

/* --- what a call leaves
 * ------------------------------------------------------------------ */

static void an_error_is_written_only_on_failure(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    struct gp_error err = {GP_BUSY, "untouched"};
    struct gp_result *result;
    assert_int_equal(gp_client_infer(client, &no_inputs, &result, &err), GP_OK);
    assert_int_equal(err.status, GP_BUSY);
    assert_string_equal(err.message, "untouched");
    gp_result_destroy(result);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* The memory of an answer that was destroyed is that of the next, also after calls that fail. */
static void the_memory_of_answers_is_used_again(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ, ANSWER, READ,
          SEND("HTTP/1.1 404 x\r\nContent-Length: 1\r\n\r\nx"), READ,
          SEND("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njunk"), AWAIT_CLOSE, ACCEPT,
          READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    const void *data[2];
    for (int i = 0; i < 2; i++) {
        struct gp_result *result;
        assert_int_equal(gp_client_infer(client, &no_inputs, &result, NULL), GP_OK);
        data[i] = gp_result_output(result, 0)->data;
        gp_result_destroy(result);
        if (i == 0) {
            scripted_assert_fails(client, &no_inputs, GP_NOT_FOUND, "x");
            scripted_assert_fails(client, &no_inputs, GP_MALFORMED, "answer");
        }
    }
    assert_ptr_equal(data[0], data[1]);
    gp_client_destroy(client);
    scripted_check(&server);
}

static void what_is_no_message_is_told_with_the_reason(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njunk"),
          AWAIT_CLOSE, ACCEPT, READ,
          SEND("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njunk"), AWAIT_CLOSE);
    struct gp_client *client = scripted_connect(server.address, NULL);
    char words[200];
    snprintf(words, sizeof words,
             "%s: answer: response: 4 bytes are too few for a message", server.address);
    scripted_assert_fails(client, &no_inputs, GP_MALFORMED, words);
    const struct gp_metadata *metadata = (const struct gp_metadata *)client;
    struct gp_result *result = (struct gp_result *)client;
    assert_int_equal(gp_client_metadata(client, &metadata, &result, NULL), GP_MALFORMED);
    assert_null(result);
    assert_null(metadata);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* --- threads
 * ----------------------------------------------------------------------------- */

struct asking {
    pthread_t thread;
    struct scripted server;
    struct gp_client *client; /* NULL: the thread makes its own */
    int n_good;
};

static void *ask_thrice(void *arg)
{
    struct asking *a = arg;
    struct gp_client *client =
        a->client ? a->client : gp_client_create(a->server.address, NULL, NULL);
    for (int i = 0; client && i < 3; i++) {
        struct gp_result *result = NULL;
        a->n_good += gp_client_infer(client, &no_inputs, &result, NULL) == GP_OK;
        gp_result_destroy(result);
    }
    if (!a->client)
        gp_client_destroy(client);
    return NULL;
}

/* Each has its own, or gets one that another thread has made and used, and will destroy. */
static void clients_belong_to_one_thread_at_a_time(void **state)
{
    (void)state;
    enum { N = 4 };
    static const struct script_step steps[] = {ACCEPT, READ, ANSWER, READ, ANSWER, READ,
                                               ANSWER, READ, ANSWER, READ, ANSWER};
    struct asking *askings = calloc(N, sizeof *askings);
    assert_non_null(askings);
    for (int i = 0; i < N; i++) {
        const bool is_handed_on = i % 2;
        struct asking *a = &askings[i];
        scripted_start(&a->server, i / 2, steps, is_handed_on ? 11 : 7, seven,
                       seven_size);
        if (is_handed_on) {
            a->client = scripted_connect(a->server.address, NULL);
            assert_works(a->client);
        }
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(
            pthread_create(&askings[i].thread, NULL, ask_thrice, &askings[i]), 0);
    for (int i = 0; i < N; i++) {
        pthread_join(askings[i].thread, NULL);
        assert_int_equal(askings[i].n_good, 3);
        if (askings[i].client)
            assert_works(askings[i].client);
        gp_client_destroy(askings[i].client);
        scripted_check(&askings[i].server);
    }
    free(askings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_count_as_far_as_the_caller_has_them),
        cmocka_unit_test(answers_have_a_limit),
        cmocka_unit_test(answers_may_not_expand_beyond_the_limit),
        cmocka_unit_test(connecting_takes_five_seconds_at_most),
        cmocka_unit_test(no_client_without_standard_descriptors),
        cmocka_unit_test(the_argument_that_is_missing_is_named),
        cmocka_unit_test(a_call_has_a_size),
        cmocka_unit_test(lists_go_with_their_counts),
        cmocka_unit_test(an_error_is_written_only_on_failure),
        cmocka_unit_test(the_memory_of_answers_is_used_again),
        cmocka_unit_test(what_is_no_message_is_told_with_the_reason),
        cmocka_unit_test(clients_belong_to_one_thread_at_a_time),
    };
    return cmocka_run_group_tests(tests, client_fixture_begin, client_fixture_end);
}
