/* graphpipe/message.h - the wire format: from bytes to structs and back, without copying
 * tensors.
 *
 *     struct gp_arena *arena = gp_arena_create();
 *     struct gp_request request;
 *     if (gp_request_decode(arena, bytes, size_bytes, 0, &request, &err) != GP_OK)
 *         return fail(&err); // "request.input_tensors[1].data holds 12 bytes, ..."
 *     // request.call.inputs[0].data points into `bytes`
 *
 *     struct gp_encoding answer;
 *     gp_response_encode(arena, outputs, n_outputs, GP_ENCODE_2018, &answer, &err);
 *     writev(fd, answer.parts, answer.n_parts);
 *     gp_arena_destroy(arena);
 *
 * The format is FlatBuffers with the tables of schema/graphpipe.fbs. Decoding verifies
 * every offset, length and table against the buffer, then makes views. Only tensors that
 * are misaligned for their type and names without a terminator are copied, and string
 * tensors get an array of struct gp_string; each is done once, however many tensors share
 * the bytes. Encoding makes a list of parts to send: one with the structure and
 * everything small, and each large tensor in place.
 *
 * Ownership: what these calls allocate belongs to the arena and lives until it is reset
 * or destroyed; views borrow the caller's bytes as well. On failure there is nothing to
 * undo.
 * Threads: an arena belongs to one thread at a time; there is no other state.
 * Limits: GP_MAX_* of tensor.h; sizes in bytes.
 */
#ifndef GRAPHPIPE_MESSAGE_H
#define GRAPHPIPE_MESSAGE_H

#include <graphpipe/tensor.h>
#include <graphpipe/version.h>

#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Memory that is freed all at once. */
struct gp_arena;

/* An empty arena; NULL when memory is short. */
GP_API struct gp_arena *gp_arena_create(void);

/* size_bytes of uninitialised memory, aligned for any type; NULL when memory is short. */
GP_API void *gp_arena_alloc(struct gp_arena *arena, size_t size_bytes);

/* Frees everything that was allocated from it; keeps some memory for the next use. */
GP_API void gp_arena_reset(struct gp_arena *arena);

/* Frees the arena and everything in it. Takes NULL. */
GP_API void gp_arena_destroy(struct gp_arena *arena);

/* What a request asks for. */
enum gp_request_kind { GP_REQUEST_INFER = 1, GP_REQUEST_METADATA = 2 };

struct gp_request {
    enum gp_request_kind kind;
    struct gp_call call; /* of an inference; inputs are named if the request does so */
};

/* A model's description of itself. Strings are never NULL after decoding; for encoding
 * NULL means "". */
struct gp_metadata {
    const char *name;
    const char *version;
    const char *server;
    const char *description;
    const struct gp_io *inputs;
    const struct gp_io *outputs;
    uint32_t n_inputs;
    uint32_t n_outputs;
};

/* The answer to an inference: the outputs, or the first of its errors. */
struct gp_response {
    const struct gp_tensor *outputs; /* their names are NULL: the protocol has none */
    uint32_t n_outputs;
    int64_t error_code;        /* an enum gp_status from our servers */
    const char *error_message; /* NULL: no error */
};

/* A message to send: the parts in order. */
struct gp_encoding {
    const struct iovec *parts;
    size_t n_parts;
    size_t size_bytes; /* of all parts */
};

enum gp_encode_flags {
    /* For readers of 2018, which know neither type: Bool as Uint8, BFloat16 as Float32
     * (converted into the arena). */
    GP_ENCODE_2018 = 1u << 0
};

/* Reads a request. Aliased offsets cannot blow up a small message: counting each tensor
 * in full, and 16 bytes for each string, it may expand to 8 times size_bytes plus 1 MiB.
 * `max_expanded_bytes` lowers that limit unless it is 0. Fails with GP_MALFORMED,
 * GP_TOO_LARGE or GP_NO_MEMORY, and the field's path in the message. The inputs are named
 * if there are at least as many names as tensors; extra names must repeat earlier
 * ones. */
GP_API enum gp_status gp_request_decode(struct gp_arena *arena, const void *bytes,
                                        size_t size_bytes, size_t max_expanded_bytes,
                                        struct gp_request *request, struct gp_error *err);

/* Reads the answer to an inference; same rules. Decoding a response that holds an error
 * succeeds. */
GP_API enum gp_status gp_response_decode(struct gp_arena *arena, const void *bytes,
                                         size_t size_bytes, size_t max_expanded_bytes,
                                         struct gp_response *response,
                                         struct gp_error *err);

/* Reads the answer to a metadata request; same rules. */
GP_API enum gp_status gp_metadata_decode(struct gp_arena *arena, const void *bytes,
                                         size_t size_bytes, struct gp_metadata *metadata,
                                         struct gp_error *err);

/* Writes an inference request. Tensors of 4 KiB and more are sent in place, so they must
 * live until the message is sent. Input names are written if every input has one and left
 * out if none has; a mixture is GP_INVALID. Shape and size_bytes must agree. Tensor data
 * is aligned to 64 bytes from the start of the message. */
GP_API enum gp_status gp_request_encode(struct gp_arena *arena,
                                        const struct gp_call *call,
                                        struct gp_encoding *out, struct gp_error *err);

/* Writes a metadata request. */
GP_API enum gp_status gp_metadata_request_encode(struct gp_arena *arena,
                                                 struct gp_encoding *out,
                                                 struct gp_error *err);

/* Writes the answer to an inference; `flags` are enum gp_encode_flags. GP_INVALID when it
 * would exceed GP_MAX_MESSAGE_BYTES. */
GP_API enum gp_status gp_response_encode(struct gp_arena *arena,
                                         const struct gp_tensor *outputs,
                                         uint32_t n_outputs, unsigned flags,
                                         struct gp_encoding *out, struct gp_error *err);

/* Writes an answer with `failure` as its only error. */
GP_API enum gp_status gp_error_encode(struct gp_arena *arena,
                                      const struct gp_error *failure,
                                      struct gp_encoding *out, struct gp_error *err);

/* Writes the answer to a metadata request. */
GP_API enum gp_status gp_metadata_encode(struct gp_arena *arena,
                                         const struct gp_metadata *metadata,
                                         unsigned flags, struct gp_encoding *out,
                                         struct gp_error *err);

/* Writes "float32[1,224,224,3]" into text, cut to fit and terminated; returns text. */
GP_API char *gp_shape_format(enum gp_dtype dtype, const int64_t *shape, uint32_t rank,
                             char *text, size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
