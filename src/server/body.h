/* server/body.h - the memory of a request's body: admitted together with that of its answer, and
 * in place before the bytes come.
 *
 * All return false and set x->error if there is no room; nobody waits for memory while holding
 * some.
 */
#ifndef GP_SERVER_BODY_H
#define GP_SERVER_BODY_H

#include "server/exchange.h"

#include <stdbool.h>

/* Bodies of GET, HEAD and refused requests are read and dropped up to this size. */
enum { BODY_MAX_IGNORED_BYTES = 64 * 1024 };

/* The limit on the body of this request. */
uint64_t body_limit(const struct exchange *x);

/* Takes a buffer for a body of x->body_length bytes, and a promise of one for the answer. */
bool body_begin(struct exchange *x);

/* Touches the pages up to `end` bytes, at most x->body_length. */
bool body_touch(struct exchange *x, size_t end);

/* For a chunked body: takes a buffer, and makes room in it for the next of `more` bytes, which must
 * be within the limit: for all of them up to the window's size, otherwise for some. */
bool body_begin_chunked(struct exchange *x);
bool body_make_room(struct worker *worker, struct exchange *x, size_t more);

/* Takes the promise for the answer once a chunked body is complete. */
bool body_end_chunked(struct exchange *x);

#endif
