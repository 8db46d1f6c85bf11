/* graphpipe/message.h - the wire format: bytes to structs and back, without copying
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
 * The format is FlatBuffers, the tables are those of schema/graphpipe.fbs. Decoding
 * verifies every offset, length and table against the buffer, then makes views: nothing
 * is copied but tensors that are misaligned for their type, names without a terminator,
 * and the array of struct gp_string of a tensor of strings, each of them once however
 * many tensors share the bytes. Encoding makes a list of
 * parts to send: the structure with everything small in it, and the large tensors where
 * they lie.
 *
 * Ownership: what these calls allocate belongs to the arena, and lives until it is reset
 * or destroyed; views borrow the caller's bytes as well. On failure nothing is left to
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

/* Memory that is given back all at once. */
struct gp_arena;

/* An empty arena; NULL when memory is short. */
GP_API struct gp_arena *gp_arena_create(void);

/* size_bytes of uninitialised memory, aligned for any type; NULL when memory is short. */
GP_API void *gp_arena_alloc(struct gp_arena *arena, size_t size_bytes);

/* Forgets everything that was allocated from it; some memory is kept for the next use. */
GP_API void gp_arena_reset(struct gp_arena *arena);

/* Frees it and everything in it. Takes NULL. */
GP_API void gp_arena_destroy(struct gp_arena *arena);

/* What a request asks for. */
enum gp_request_kind { GP_REQUEST_INFER = 1, GP_REQUEST_METADATA = 2 };

struct gp_request {
    enum gp_request_kind kind;
    struct gp_call
        call; /* of an inference; inputs' names are set where the request has them */
};

/* What a model says of itself. Strings are never NULL in a decoded one; NULL is "" in one
 * to be encoded. */
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

/* The answer to an inference: outputs, or else the first of its errors. */
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
     * (that one is converted, into the arena). */
    GP_ENCODE_2018 = 1u << 0
};

/* Reads a request. What its tensors stand for when each is counted whole, with 16 bytes
 * for each string, is at most 8 times size_bytes and a MiB, so that aliased offsets cannot
 * blow a small message up; `max_expanded_bytes` is a lower limit, or 0. GP_MALFORMED, GP_TOO_LARGE or GP_NO_MEMORY,
 * with the field's path in the message. When as many input names as tensors or more came,
 * each input has its name (extra names must repeat earlier ones). */
GP_API enum gp_status gp_request_decode(struct gp_arena *arena, const void *bytes,
                                        size_t size_bytes, size_t max_expanded_bytes,
                                        struct gp_request *request, struct gp_error *err);

/* Reads the answer to an inference; same rules. A response with errors is a success
 * here. */
GP_API enum gp_status gp_response_decode(struct gp_arena *arena, const void *bytes,
                                         size_t size_bytes, size_t max_expanded_bytes,
                                         struct gp_response *response,
                                         struct gp_error *err);

/* Reads the answer to a metadata request; same rules. */
GP_API enum gp_status gp_metadata_decode(struct gp_arena *arena, const void *bytes,
                                         size_t size_bytes, struct gp_metadata *metadata,
                                         struct gp_error *err);

/* Writes an inference request. Tensors of 4 KiB and more are sent from where they lie, so
 * they must live until the message is sent. Input names are written when every input has
 * one, left out when none has; a mixture is GP_INVALID. Shape and size_bytes must agree.
 * Tensor data is aligned to 64 bytes from the start of the message. */
GP_API enum gp_status gp_request_encode(struct gp_arena *arena,
                                        const struct gp_call *call,
                                        struct gp_encoding *out, struct gp_error *err);

/* Writes a request for the metadata. */
GP_API enum gp_status gp_metadata_request_encode(struct gp_arena *arena,
                                                 struct gp_encoding *out,
                                                 struct gp_error *err);

/* Writes the answer to an inference; `flags` are of enum gp_encode_flags. GP_INVALID when
 * it would be larger than GP_MAX_MESSAGE_BYTES. */
GP_API enum gp_status gp_response_encode(struct gp_arena *arena,
                                         const struct gp_tensor *outputs,
                                         uint32_t n_outputs, unsigned flags,
                                         struct gp_encoding *out, struct gp_error *err);

/* Writes an answer that holds `failure` as its one error. */
GP_API enum gp_status gp_error_encode(struct gp_arena *arena,
                                      const struct gp_error *failure,
                                      struct gp_encoding *out, struct gp_error *err);

/* Writes the answer to a metadata request. */
GP_API enum gp_status gp_metadata_encode(struct gp_arena *arena,
                                         const struct gp_metadata *metadata,
                                         unsigned flags, struct gp_encoding *out,
                                         struct gp_error *err);

/* "float32[1,224,224,3]" into text, cut to fit, always terminated; returns text. */
GP_API char *gp_shape_format(enum gp_dtype dtype, const int64_t *shape, uint32_t rank,
                             char *text, size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
