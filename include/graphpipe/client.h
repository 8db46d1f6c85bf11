/* graphpipe/client.h - ask a model.
 *
 *     struct gp_error err;
 *     struct gp_client *client = gp_client_create("http://127.0.0.1:9000", NULL, &err);
 *
 *     static float pixels[1 * 3 * 224 * 224];
 *     const int64_t shape[] = {1, 3, 224, 224};
 *     struct gp_tensor image = gp_tensor_view(GP_FLOAT32, shape, 4, pixels);
 *
 *     struct gp_result *result;
 *     struct gp_call call = {.inputs = &image, .n_inputs = 1};
 *     if (gp_client_infer(client, &call, &result, &err) != GP_OK)
 *         fprintf(stderr, "%s\n", err.message);
 *     const struct gp_tensor *output = gp_result_output(result, 0);
 *     const float *scores = gp_tensor_data(output, GP_FLOAT32, &err);
 *     gp_result_destroy(result);
 *     gp_client_destroy(client);
 *
 * Addresses: "http://HOST[:PORT][/PATH]" (port 9000 when none is named),
 * "unix:/path/of/socket"; IPv6 hosts in brackets. The connection is made by the first
 * call and kept for the next ones; a connection that the server closed between two calls
 * is made again without a word.
 * Threads: a client is used by one thread at a time; make one for each thread.
 * Ownership: inputs are sent from the caller's memory, which must not change before the
 * call returns. A result owns its outputs until gp_result_destroy, which gives their
 * memory back to the client's pool for the next answer; a result may outlive its client,
 * on the same thread.
 * Descriptors: where 0, 1 or 2 is closed, making a client opens /dev/null there, and it stays:
 * otherwise what the process prints could go into a connection.
 * Errors: the status and message of the server's answer, or of what failed here.
 */
#ifndef GRAPHPIPE_CLIENT_H
#define GRAPHPIPE_CLIENT_H

#include <graphpipe/message.h>
#include <graphpipe/tensor.h>
#include <graphpipe/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gp_client;
struct gp_result;

/* How to talk. Zero means the default. */
struct gp_client_options {
    uint32_t size_bytes; /* sizeof(struct gp_client_options); 0: the layout of 0.1 */
    uint32_t connect_timeout_ms; /* default 5000 */
    uint32_t timeout_ms;     /* for a whole call that has no deadline; default: none */
    size_t max_answer_bytes; /* default GP_MAX_MESSAGE_BYTES */
};

/* A client for the server at `address`; nothing is sent yet. `options` may be NULL. */
GP_API struct gp_client *gp_client_create(const char *address,
                                          const struct gp_client_options *options,
                                          struct gp_error *err);

/* Sends the inputs and waits for the outputs. On GP_OK *result is the caller's to
 * destroy, else it is NULL. call->deadline_ns (or the options' timeout) bounds all of it
 * and is told to the server; past it GP_DEADLINE. */
GP_API enum gp_status gp_client_infer(struct gp_client *client,
                                      const struct gp_call *call,
                                      struct gp_result **result, struct gp_error *err);

/* The same, but the answer is received into `buffer` and the outputs point into it; the
 * buffer must outlive the result. Outputs are aligned for their type when the buffer is
 * aligned to 64 bytes. GP_TOO_LARGE when the answer does not fit; the message says what
 * it needs. */
GP_API enum gp_status gp_client_infer_into(struct gp_client *client,
                                           const struct gp_call *call, void *buffer,
                                           size_t buffer_size_bytes,
                                           struct gp_result **result,
                                           struct gp_error *err);

/* Asks for the model's metadata; it belongs to *result. */
GP_API enum gp_status gp_client_metadata(struct gp_client *client,
                                         const struct gp_metadata **metadata,
                                         struct gp_result **result, struct gp_error *err);

/* How many outputs came. */
GP_API uint32_t gp_result_count(const struct gp_result *result);

/* Output `index`, in the order asked for; NULL when there are not as many. */
GP_API const struct gp_tensor *gp_result_output(const struct gp_result *result,
                                                uint32_t index);

/* Frees a result and its outputs. Takes NULL. */
GP_API void gp_result_destroy(struct gp_result *result);

/* Closes the connection and frees the client. Takes NULL. */
GP_API void gp_client_destroy(struct gp_client *client);

/* Now on the clock of deadlines, plus `ms`: for gp_call.deadline_ns. */
GP_API int64_t gp_deadline_after_ms(int64_t ms);

#ifdef __cplusplus
}
#endif

#endif
