/* wire/wire.h - decodes a request in two steps: views first, then copies where necessary.
 *
 * The calls of graphpipe/message.h do both at once. A server takes the views first, and
 * knows whether the request fits the model before a byte has been copied, so a refused
 * request costs no memory. Then it settles the tensors for the engine.
 *
 * In a view, numbers may be misaligned for their type, and the data of a string tensor
 * are the message's offsets. Everything has been verified to be complete and in bounds.
 */
#ifndef GP_WIRE_WIRE_H
#define GP_WIRE_WIRE_H

#include <graphpipe/message.h>

#include <stdbool.h>

/* How far a message of size_bytes may expand, counting each tensor, string and name as
 * often as it is used: eight times its size plus 1 MiB. Honest writers share next to
 * nothing; a string, which costs 16 bytes here, takes 12 bytes of the message even if it
 * is empty. */
size_t wire_expansion_limit(size_t size_bytes);

/* As gp_request_decode, but the inputs are views. */
enum gp_status wire_view_request(struct gp_arena *arena, const void *bytes,
                                 size_t size_bytes, size_t max_expanded_bytes,
                                 struct gp_request *request, struct gp_error *err);

/* Copies of payloads, each made once, however many tensors share it. All zero except the
 * arenas, which own the copies and may be the same. */
struct wire_copies {
    struct gp_arena *arena;    /* for arrays of strings, and for this list */
    struct gp_arena *payloads; /* for numbers: holds no pointers */
    struct wire_copy *made;
    uint32_t n_made;
    uint32_t capacity;
};

/* True if a tensor of type `from` is accepted for one of type `to`: Uint8 for Bool and
 * Float32 for BFloat16, which clients of 2018 send. */
bool wire_stands_for(enum gp_dtype from, enum gp_dtype to);

/* Copies the list, not what its tensors point to. */
enum gp_status wire_copy_list(struct gp_arena *arena, const struct gp_tensor *tensors,
                              uint32_t n, struct gp_tensor **list, struct gp_error *err);

/* Turns a view into a readable tensor of type `to`: its own type, or one that it is
 * accepted for. Unchanged on GP_NO_MEMORY. */
enum gp_status wire_settle(struct wire_copies *copies, struct gp_tensor *tensor,
                           enum gp_dtype to, struct gp_error *err);

#endif
