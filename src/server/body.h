/* server/body.h - the memory of a request's body: admitted together with its answer's, put in
 * place ahead of the bytes.
 *
 * All return false with x->error set when there is no room; nobody waits for memory while
 * holding some.
 */
#ifndef GP_SERVER_BODY_H
#define GP_SERVER_BODY_H

#include "server/exchange.h"

#include <stdbool.h>

/* GET, HEAD and requests that are refused have their bodies read and dropped up to this. */
enum { BODY_MAX_IGNORED_BYTES = 64 * 1024 };

/* The limit on the body of this request. */
uint64_t body_limit(const struct exchange *x);

/* A buffer for a body of x->body_length bytes, and the promise of one for the answer. */
bool body_begin(struct exchange *x);

/* The pages up to `end` bytes in place; end is at most x->body_length. */
bool body_touch(struct exchange *x, size_t end);

/* For a chunked body: a buffer, and room for the next of `more` bytes, which have to be within
 * the limit: for all of them up to the window's size, else for some. */
bool body_begin_chunked(struct exchange *x);
bool body_make_room(struct worker *worker, struct exchange *x, size_t more);

/* A chunked body is complete: the promise for its answer. */
bool body_end_chunked(struct exchange *x);

#endif
