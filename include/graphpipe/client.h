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
 * Addresses: "http://HOST[:PORT][/PATH]" (default port: 9000) or
 * "unix:/path/of/socket[:/PATH]"; IPv6 hosts in brackets. The path is that of a model where
 * the server has several: "/NAME" or "/NAME/versions/N". The first call connects, and later calls use the same
 * connection; when the server has closed it in between, the client silently reconnects.
 * Threads: a client may be used by one thread at a time; make one for each thread.
 * Ownership: inputs are sent from the caller's memory, which must not change before the
 * call returns. A result owns its outputs until gp_result_destroy, which returns their
 * memory to the client's pool for the next answer; a result may outlive its client, on
 * the same thread.
 * Descriptors: if 0, 1 or 2 is closed, creating a client opens /dev/null there for good,
 * so that output of the process cannot end up in a connection.
 * Errors: the status and message of the server's answer, or of the local failure.
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

/* Zero means the default. */
struct gp_client_options {
    uint32_t size_bytes; /* sizeof(struct gp_client_options); 0: the layout of 0.1 */
    uint32_t connect_timeout_ms; /* default 5000 */
    uint32_t timeout_ms;     /* for a whole call that has no deadline; default: none */
    size_t max_answer_bytes; /* default GP_MAX_MESSAGE_BYTES */
};

/* Makes a client for the server at `address`; sends nothing yet. `options` may be
 * NULL. */
GP_API struct gp_client *gp_client_create(const char *address,
                                          const struct gp_client_options *options,
                                          struct gp_error *err);

/* Sends the inputs and waits for the outputs. On GP_OK the caller must destroy *result,
 * otherwise it is NULL. call->deadline_ns, or the timeout of the options, covers the
 * whole call and is passed on to the server; once it is over the call fails with
 * GP_DEADLINE. */
GP_API enum gp_status gp_client_infer(struct gp_client *client,
                                      const struct gp_call *call,
                                      struct gp_result **result, struct gp_error *err);

/* The same, but receives the answer into `buffer`, which the outputs point into and which
 * must outlive the result. Outputs are aligned for their type if the buffer is aligned to
 * 64 bytes. GP_TOO_LARGE when the answer does not fit; the message says how much it
 * needs. */
GP_API enum gp_status gp_client_infer_into(struct gp_client *client,
                                           const struct gp_call *call, void *buffer,
                                           size_t buffer_size_bytes,
                                           struct gp_result **result,
                                           struct gp_error *err);

/* Asks for the model's metadata; it belongs to *result. */
GP_API enum gp_status gp_client_metadata(struct gp_client *client,
                                         const struct gp_metadata **metadata,
                                         struct gp_result **result, struct gp_error *err);

/* The number of outputs. */
GP_API uint32_t gp_result_count(const struct gp_result *result);

/* Output `index`, in the order of the request; NULL beyond the last. */
GP_API const struct gp_tensor *gp_result_output(const struct gp_result *result,
                                                uint32_t index);

/* Frees a result and its outputs. Takes NULL. */
GP_API void gp_result_destroy(struct gp_result *result);

/* Closes the connection and frees the client. Takes NULL. */
GP_API void gp_client_destroy(struct gp_client *client);

/* The time in `ms` from now, for gp_call.deadline_ns. */
GP_API int64_t gp_deadline_after_ms(int64_t ms);

#ifdef __cplusplus
}
#endif

#endif
