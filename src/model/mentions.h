/* model/mentions.h - which of some names occur in the bytes of a file, as the files do that a model has its
 * weights in. One pass over the file, however many names there are. */
#ifndef GP_MODEL_MENTIONS_H
#define GP_MODEL_MENTIONS_H

#include <graphpipe/status.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mention {
    const char *name;
    size_t size_bytes; /* of the name: 1 to MENTION_MAX_BYTES */
    bool is_found;
    uint32_t next; /* private: of those that begin alike, plus one */
};

enum { MENTION_MAX_BYTES = 8192 };

/* Sets is_found of those that occur in the file of the path, which is open; one of a single byte is taken
 * to. The descriptor's position stays. Fails if is_ending is set meanwhile. */
enum gp_status mentions_find(int fd, const char *path, struct mention *mentions, size_t n,
                             const atomic_bool *is_ending, struct gp_error *err);

#endif
