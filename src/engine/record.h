/* engine/record.h - the protocol between the server and a child that runs an engine, over
 * a stream socket. The bytes of tensors do not travel: they lie in the two arenas of the
 * pool, which both have mapped, and records give their offsets.
 *
 * A record is a head {u32 type, u32 size_bytes of the body, u64 id of the run} and a body
 * of at most 1 MiB, all little-endian and unpadded. A text is {u32 size, bytes without
 * NUL, NUL}.
 *
 *   OPEN    to the child    u32 contract, text engine, engine_dir, model_path ("": NULL), u32
 *                           n_slots, first_slot, n_threads, n_cores, n_options, texts
 *   OPENED  from the child  text engine, version, then the description: u32 flags, n_inputs,
 *                           n_outputs, n_files, i64 max_batch, text summary, version, description,
 *                           name, {text name, description, u32 dtype, flags, rank, i64 dimensions} for
 *                           each input and output, text for each file
 *   RUN     to the child    i64 deadline_ns, u32 n_free_cores, text config, u32 n_outputs, texts,
 *                           u32 n_inputs, tensors
 *   ALLOC   from the child  u64 size_bytes: a buffer for an output, during a run
 *   PLACE   to the child    u64 offset in the arena of outputs
 *   DONE    from the child  u32 n_outputs, tensors
 *   FAILED  either way      u32 status, text message: instead of OPENED, PLACE or DONE
 *   LOG     from the child  u32 level, text message; at any time
 *
 * A tensor is {text name, u32 dtype, rank, i64 dimensions, u64 offset, size_bytes}. A
 * string tensor is an array of {u64 offset, u64 size_bytes} with the strings in the same
 * arena. In DONE a small tensor has the offset 2^64 - 1 and is followed by its bytes, so
 * most answers need no ALLOC. Neither side trusts the other to follow any of this.
 */
#ifndef GP_ENGINE_RECORD_H
#define GP_ENGINE_RECORD_H

#include "base/text.h"

#include <graphpipe/engine.h>
#include <graphpipe/message.h>

#include <stdbool.h>

enum { RECORD_CONTRACT = 4, RECORD_MAX_BYTES = 1 << 20 };

#define RECORD_INLINE UINT64_MAX

enum record_type {
    RECORD_OPEN = 1,
    RECORD_OPENED,
    RECORD_RUN,
    RECORD_ALLOC,
    RECORD_PLACE,
    RECORD_DONE,
    RECORD_FAILED,
    RECORD_LOG
};

/* A string of a tensor, as it lies in an arena. */
struct record_string {
    uint64_t offset;
    uint64_t size_bytes;
};

/* --- writing: into a text, whose bytes are kept for the next record --- */

void record_begin(struct text *out, enum record_type type, uint64_t id);
void record_put_u32(struct text *out, uint32_t value);
void record_put_u64(struct text *out, uint64_t value);
void record_put_text(struct text *out, const char *string); /* NULL: "" */
void record_put_tensor(struct text *out, const struct gp_tensor *tensor, uint64_t offset);
void record_put_description(struct text *out, const struct gp_description *description);

/* Sets the size of the record; false when memory was short or it is over the limit. */
bool record_end(struct text *out);

/* Sends as many of the last *n_unsent bytes of a record as the peer has room for, and
 * counts them; false when the peer has gone. */
bool record_send(int fd, const struct text *record, size_t *n_unsent);

/* Sends a whole record, however long the peer takes to read it; false when it has
 * gone. */
bool record_send_all(int fd, const struct text *record);

/* --- reading --- */

struct record_link {
    int fd;
    unsigned char *data; /* received: [start, end) has not been read yet */
    size_t start;
    size_t end;
    size_t capacity;
};

/* The rest of a record's body. Reading beyond its end gives zeros and "", and sets
 * is_bad. */
struct record {
    enum record_type type;
    uint64_t id;
    const unsigned char *at;
    const unsigned char *end;
    bool is_bad;
    bool is_short; /* is_bad only because memory was short */
};

enum record_got { RECORD_NONE, RECORD_WHOLE, RECORD_ENDED, RECORD_NONSENSE };

/* Gets the next record that has come, without waiting; it lies in the link until the next
 * call. ENDED: the peer has gone, or memory is short. NONSENSE: the bytes are not a
 * record. */
enum record_got record_receive(struct record_link *link, struct record *record);

/* The same, but waits; never NONE. */
enum record_got record_wait(struct record_link *link, struct record *record);

void record_link_finish(struct record_link *link);

/* Moves the body into the arena; false when memory is short. */
bool record_keep(struct record *record, struct gp_arena *arena);

uint32_t record_u32(struct record *record);
uint64_t record_u64(struct record *record);
const char *record_text(struct record *record); /* in the body */
/* in the body too; NULL */
const void *record_bytes(struct record *record, size_t size_bytes);

/* A tensor without data, its shape in the arena. Its type is valid, and its size that of
 * its shape. The owner of the arena must check where the bytes are. */
bool record_tensor(struct record *record, struct gp_arena *arena,
                   struct gp_tensor *tensor, uint64_t *offset);

/* n texts, in an array of the arena; NULL if they are incomplete or memory is short. */
const char *const *record_texts(struct record *record, struct gp_arena *arena,
                                uint32_t n);

/* All but n_slots. The texts lie in the body. */
bool record_description(struct record *record, struct gp_arena *arena,
                        struct gp_description *description);

/* The error in a FAILED record. */
enum gp_status record_failure(struct record *record, struct gp_error *err);

#endif
