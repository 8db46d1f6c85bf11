/* What the tests of the codec share: whole messages in memory of exactly their size, so
 * that a sanitizer sees every read beyond them, and the way to a place in one, to break
 * it there.
 */
#ifndef GP_TEST_WIRE_MESSAGES_H
#define GP_TEST_WIRE_MESSAGES_H

#include "wire/tables.h"

#include <graphpipe/message.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct bytes {
    unsigned char *data;
    size_t size;
};

static inline struct bytes bytes_of(const struct gp_encoding *encoding)
{
    struct bytes bytes = {malloc(encoding->size_bytes), 0};
    assert_non_null(bytes.data);
    for (size_t i = 0; i < encoding->n_parts; i++) {
        memcpy(bytes.data + bytes.size, encoding->parts[i].iov_base,
               encoding->parts[i].iov_len);
        bytes.size += encoding->parts[i].iov_len;
    }
    assert_int_equal(bytes.size, encoding->size_bytes);
    return bytes;
}

static inline uint32_t load(struct bytes message, size_t at)
{
    uint32_t value;
    assert_true(at + sizeof value <= message.size);
    memcpy(&value, message.data + at, sizeof value);
    return value;
}

static inline void store(struct bytes message, size_t at, uint32_t value)
{
    assert_true(at + sizeof value <= message.size);
    memcpy(message.data + at, &value, sizeof value);
}

static inline void store16(struct bytes message, size_t at, uint16_t value)
{
    assert_true(at + sizeof value <= message.size);
    memcpy(message.data + at, &value, sizeof value);
}

/* Where the offset at `at` points to. */
static inline size_t follow(struct bytes message, size_t at)
{
    return at + load(message, at);
}

static inline size_t vtable_of(struct bytes message, size_t table)
{
    return (size_t)((int64_t)table - (int32_t)load(message, table));
}

/* Where the entry of a field is, in the vtable of the table at `table`. */
static inline size_t entry_of(struct bytes message, size_t table, unsigned slot)
{
    return vtable_of(message, table) + 4 + 2 * slot;
}

/* Where a field is, in the table at `table`. */
static inline size_t field_of(struct bytes message, size_t table, unsigned slot)
{
    uint16_t offset;
    memcpy(&offset, message.data + entry_of(message, table, slot), sizeof offset);
    assert_int_not_equal(offset, 0);
    return table + offset;
}

/* Where the InferRequest of a request is. */
static inline size_t infer_of(struct bytes message)
{
    return follow(message, field_of(message, follow(message, 0), REQUEST_REQ));
}

/* Where element i is, of the vector of offsets in a field. */
static inline size_t element_of(struct bytes message, size_t table, unsigned slot,
                                size_t i)
{
    return follow(message, field_of(message, table, slot)) + 4 + 4 * i;
}

/* Where the i-th input tensor is. */
static inline size_t tensor_of(struct bytes message, size_t i)
{
    return follow(message,
                  element_of(message, infer_of(message), INFER_INPUT_TENSORS, i));
}

#endif
