/* Sees what moves a tensor's bytes in this process. copies.c defines memcpy and its kin and the
 * calls that receive and send, and the program exports them, so that the product's own objects,
 * plug-ins and frameworks call these: the product is built as always and has no hook.
 *
 * Tensors of the test are filled with MARK, which nothing else is made of, so that each call is
 * asked how many of a tensor's bytes it moved. What is moved by other means than a call (a loop, a
 * copy that the compiler put in place) shows in two ways: the tensor is then not where the
 * kernel put it, and who reads it where it lies meets pages that may not be touched. */
#ifndef GP_TESTS_COPIES_H
#define GP_TESTS_COPIES_H

#include <stdbool.h>
#include <stddef.h>

enum { MARK = 0xe7 };

enum move { RECEIVED, COPIED, SENT };

enum side { SERVER, CLIENT }; /* CLIENT: the thread that called copies_begin */

struct range {
    const void *at;
    size_t size;
};

bool range_has(const struct range *range, const void *byte);

/* Forgets what was seen. Server: bodies are received into `pool`; when `guarded_bytes` have come
 * there, the last tensor that has so many is guarded (0: none). */
void copies_begin(struct range pool, size_t guarded_bytes);

/* MARKs moved on a side since copies_begin: from and to a range, NULL: anywhere. */
size_t copies_sum(enum side side, enum move move, const struct range *from,
                  const struct range *to);

/* How many there are. */
size_t copies_marks(const void *bytes, size_t size);

/* Behind the last MARK that came into the pool; and true where any ended so. */
const unsigned char *copies_end(void);
bool copies_has_landed(const void *end);

/* Lets nobody touch the whole pages of a tensor, until copies_open or the next send; who does is
 * noted and let through. */
void copies_guard(struct range tensor);
void copies_open(void);
bool copies_was_touched(void);

/* Prints what moved on a side, and the places in the program (for addr2line) that copied. */
void copies_print(enum side side);

#endif
