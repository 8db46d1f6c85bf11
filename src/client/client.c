/* The client's calls: check the call, encode it, make the round trip, decode the answer.
 * The arena for encoding belongs to the client and is reset for every call; the memory of
 * the answer belongs to the result. */
#include <graphpipe/client.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/mem.h"
#include "client/roundtrip.h"
#include "client/store.h"

#include <string.h>

enum { CONNECT_TIMEOUT_MS = 5000 };

struct gp_client {
    struct client_link link;
    struct client_store *store;
    struct gp_arena *arena; /* of requests */
    char *scratch;          /* for heads */
    uint32_t timeout_ms;    /* 0: none */
    size_t max_answer_bytes;
};

/* The caller's options over the defaults, whichever version of the struct it uses. */
static struct gp_client_options options_of(const struct gp_client_options *given)
{
    struct gp_client_options options = {0};
    if (given) {
        const size_t size = given->size_bytes;
        memcpy(&options, given,
               size > 0 && size < sizeof options ? size : sizeof options);
    }
    if (options.connect_timeout_ms == 0)
        options.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (options.max_answer_bytes == 0 || options.max_answer_bytes > GP_MAX_MESSAGE_BYTES)
        options.max_answer_bytes = GP_MAX_MESSAGE_BYTES;
    return options;
}

struct gp_client *gp_client_create(const char *address,
                                   const struct gp_client_options *options,
                                   struct gp_error *err)
{
    const struct gp_client_options chosen = options_of(options);
    if (!fds_hold_standard()) {
        gp_error_set(err, GP_UNAVAILABLE,
                     "descriptor 0, 1 or 2 is closed, and /dev/null cannot be opened");
        return NULL;
    }
    struct gp_client *client = mem_zalloc(sizeof *client);
    if (!client) {
        gp_error_set(err, GP_NO_MEMORY, "no memory for a client");
        return NULL;
    }
    client->link.fd = -1;
    client->link.connect_timeout_ms = chosen.connect_timeout_ms;
    client->timeout_ms = chosen.timeout_ms;
    client->max_answer_bytes = chosen.max_answer_bytes;
    if (client_address_init(&client->link.address, address, err) != GP_OK) {
        gp_client_destroy(client);
        return NULL;
    }
    client->store = store_create();
    client->arena = gp_arena_create();
    client->scratch = mem_alloc(HTTP_MAX_HEAD_BYTES);
    if (!client->store || !client->arena || !client->scratch) {
        gp_client_destroy(client);
        gp_error_set(err, GP_NO_MEMORY, "no memory for a client");
        return NULL;
    }
    return client;
}

void gp_client_destroy(struct gp_client *client)
{
    if (!client)
        return;
    link_close(&client->link);
    client_address_finish(&client->link.address);
    if (client->store)
        store_release(client->store);
    gp_arena_destroy(client->arena);
    mem_free(client->scratch);
    mem_free(client);
}

int64_t gp_deadline_after_ms(int64_t ms)
{
    int64_t deadline_ns;
    if (__builtin_mul_overflow(ms, CLOCK_MS, &deadline_ns) ||
        __builtin_add_overflow(deadline_ns, clock_now_ns(), &deadline_ns))
        return ms < 0 ? 1 : INT64_MAX; /* long ago, or never */
    return deadline_ns;
}

/* An absolute time, INT64_MAX for none. */
static int64_t deadline_of(const struct gp_client *client, int64_t wanted_ns)
{
    if (wanted_ns != 0)
        return wanted_ns;
    return client->timeout_ms ? gp_deadline_after_ms(client->timeout_ms) : INT64_MAX;
}

typedef enum gp_status decode_fn(const struct gp_client *client, struct gp_result *result,
                                 const struct client_body *body, struct gp_error *err);

static enum gp_status infer_decode(const struct gp_client *client,
                                   struct gp_result *result,
                                   const struct client_body *body, struct gp_error *err)
{
    const enum gp_status status =
        gp_response_decode(result->arena, body->data, body->size_bytes,
                           client->max_answer_bytes, &result->response, err);
    if (status == GP_OK && result->response.error_message)
        return client_refusal(&client->link, &result->response, 200, err);
    return status;
}

static enum gp_status metadata_decode(const struct gp_client *client,
                                      struct gp_result *result,
                                      const struct client_body *body,
                                      struct gp_error *err)
{
    (void)client;
    return gp_metadata_decode(result->arena, body->data, body->size_bytes,
                              &result->metadata, err);
}

/* Makes the round trip and decodes its answer into the result. */
static enum gp_status ask_server(struct gp_client *client,
                                 const struct client_question *question,
                                 struct client_reply *reply, decode_fn *decode,
                                 struct gp_result *result, struct gp_error *err)
{
    enum gp_status status =
        client_roundtrip(&client->link, client->scratch, question, reply, err);
    result->buffer = reply->body.buffer;
    if (status != GP_OK)
        return status;
    if (reply->status != 200)
        return client_failure(&client->link, reply, result->arena, err);

    struct gp_error why;
    status = decode(client, result, &reply->body, &why);
    if (status == GP_MALFORMED) { /* whatever it was, it does not speak GraphPipe */
        link_close(&client->link);
        return gp_error_set(err, status, "%s: answer: %.*s", client->link.address.label,
                            gp_cut(why.message, 400), why.message);
    }
    return status == GP_OK ? GP_OK : gp_error_set(err, status, "%s", why.message);
}

/* ask_server with a result that the caller gets only on success */
static enum gp_status ask_for_result(struct gp_client *client,
                                     const struct client_question *question,
                                     struct client_reply *reply, decode_fn *decode,
                                     struct gp_result **result, struct gp_error *err)
{
    struct gp_result *made = store_take(client->store);
    if (!made)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a result");
    reply->buffers = &client->store->buffers;
    reply->limit_bytes = client->max_answer_bytes;
    const enum gp_status status = ask_server(client, question, reply, decode, made, err);
    if (status == GP_OK)
        *result = made;
    else
        gp_result_destroy(made);
    return status;
}

/* The size in release 0.1, whatever gets added to the struct later. */
#define CALL_0_1_BYTES (offsetof(struct gp_call, host) + sizeof(const struct gp_host *))

static enum gp_status call_check(const struct gp_client *client,
                                 const struct gp_call *call, struct gp_error *err)
{
    if (!client || !call)
        return gp_error_set(err, GP_INVALID, "%s is NULL", client ? "call" : "client");
    if (call->size_bytes != 0 && call->size_bytes < CALL_0_1_BYTES)
        return gp_error_set(err, GP_INVALID, "call.size_bytes is %u; the smallest is %zu",
                            call->size_bytes, CALL_0_1_BYTES);
    if (call->n_inputs > 0 && !call->inputs)
        return gp_error_set(err, GP_INVALID, "call.inputs is NULL, n_inputs %u",
                            call->n_inputs);
    if (call->n_outputs > 0 && !call->output_names)
        return gp_error_set(err, GP_INVALID, "call.output_names is NULL, n_outputs %u",
                            call->n_outputs);
    return GP_OK;
}

static enum gp_status infer(struct gp_client *client, const struct gp_call *call,
                            void *buffer, size_t buffer_size_bytes,
                            struct gp_result **result, struct gp_error *err)
{
    struct gp_encoding message;
    enum gp_status status = call_check(client, call, err);
    if (status != GP_OK)
        return status;
    const struct client_question question = {&message,
                                             deadline_of(client, call->deadline_ns)};
    gp_arena_reset(client->arena);
    status = gp_request_encode(client->arena, call, &message, err);
    if (status != GP_OK)
        return status;
    struct client_reply reply = {.own = buffer, .own_size_bytes = buffer_size_bytes};
    return ask_for_result(client, &question, &reply, infer_decode, result, err);
}

enum gp_status gp_client_infer(struct gp_client *client, const struct gp_call *call,
                               struct gp_result **result, struct gp_error *err)
{
    if (!result)
        return gp_error_set(err, GP_INVALID, "result is NULL");
    *result = NULL;
    return infer(client, call, NULL, 0, result, err);
}

enum gp_status gp_client_infer_into(struct gp_client *client, const struct gp_call *call,
                                    void *buffer, size_t buffer_size_bytes,
                                    struct gp_result **result, struct gp_error *err)
{
    if (!result)
        return gp_error_set(err, GP_INVALID, "result is NULL");
    *result = NULL;
    if (!buffer)
        return gp_error_set(err, GP_INVALID, "buffer is NULL");
    return infer(client, call, buffer, buffer_size_bytes, result, err);
}

enum gp_status gp_client_metadata(struct gp_client *client,
                                  const struct gp_metadata **metadata,
                                  struct gp_result **result, struct gp_error *err)
{
    if (!client || !metadata || !result)
        return gp_error_set(err, GP_INVALID, "%s is NULL",
                            !client     ? "client"
                            : !metadata ? "metadata"
                                        : "result");
    *result = NULL;
    *metadata = NULL;
    struct gp_encoding message;
    const struct client_question question = {&message, deadline_of(client, 0)};
    gp_arena_reset(client->arena);
    enum gp_status status = gp_metadata_request_encode(client->arena, &message, err);
    if (status != GP_OK)
        return status;
    struct client_reply reply = {0};
    status = ask_for_result(client, &question, &reply, metadata_decode, result, err);
    if (status == GP_OK)
        *metadata = &(*result)->metadata;
    return status;
}
