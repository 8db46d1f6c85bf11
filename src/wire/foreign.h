/* wire/foreign.h - names what people send that is no message: a picture, JSON, an archive. */
#ifndef GP_WIRE_FOREIGN_H
#define GP_WIRE_FOREIGN_H

#include <stddef.h>

struct foreign {
    const char *kind;   /* "a PNG picture" */
    const char *remedy; /* what to send instead */
};

/* By the first bytes; NULL if they say nothing. Only for bytes that have been refused: a message may begin
 * like anything. */
const struct foreign *foreign_find(const void *bytes, size_t size_bytes);

#endif
