/* wire/wire.h - a request in two steps: looked at for nothing, then copied where it must be.
 *
 * The calls of graphpipe/message.h do both at once. A server looks first: whether the request
 * fits the model is known before a byte of it has been copied, so a request that is refused costs
 * no memory. Then it settles what the engine is to read.
 *
 * In a view, numbers may be misaligned for their type, and the data of a tensor of strings are the
 * offsets that the message has for them. Everything was verified, whole and in bounds.
 */
#ifndef GP_WIRE_WIRE_H
#define GP_WIRE_WIRE_H

#include <graphpipe/message.h>

#include <stdbool.h>

/* What a message of size_bytes may stand for when each of its tensors, strings and names is counted
 * as often as it is used: eight times as much, and a MiB. Honest writers share next to nothing; a
 * string, which costs 16 bytes here, takes 12 of the message even when it is empty. */
size_t wire_expansion_limit(size_t size_bytes);

/* As gp_request_decode, but the inputs are views. */
enum gp_status wire_view_request(struct gp_arena *arena, const void *bytes,
                                 size_t size_bytes, size_t max_expanded_bytes,
                                 struct gp_request *request, struct gp_error *err);

/* Copies of payloads, each made once however many tensors share it. Zero but for the arenas, which own
 * them; the two may be one. */
struct wire_copies {
    struct gp_arena *arena;    /* of strings' places, and of this list */
    struct gp_arena *payloads; /* of numbers: nothing in it is a pointer */
    struct wire_copy *made;
    uint32_t n_made;
    uint32_t capacity;
};

/* True when a tensor of type `from` may come for one of type `to`: Uint8 for Bool and Float32 for
 * BFloat16, as clients of 2018 have them. */
bool wire_stands_for(enum gp_dtype from, enum gp_dtype to);

/* Copies the list, not what its tensors point to. */
enum gp_status wire_copy_list(struct gp_arena *arena, const struct gp_tensor *tensors,
                              uint32_t n, struct gp_tensor **list, struct gp_error *err);

/* Makes a view a tensor that anybody can read, of type `to`: its own, or one that it stands for.
 * GP_NO_MEMORY leaves it as it was. */
enum gp_status wire_settle(struct wire_copies *copies, struct gp_tensor *tensor,
                           enum gp_dtype to, struct gp_error *err);

#endif
