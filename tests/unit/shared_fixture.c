#include "shared_fixture.h"

#include "cache/shared_parts.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct shared *shared_make(const char *url, uint32_t ttl_s, struct log *log)
{
    struct gp_error err;
    const struct shared_options options = {
        .url = url, .deadline_ms = SHARED_PATIENCE_MS, .ttl_s = ttl_s, .log = log};
    struct shared *shared = shared_open(&options, &err);
    if (!shared)
        fail_msg("%s", err.message);
    return shared;
}

struct digest shared_key(unsigned number)
{
    struct digest key = {{0}};
    memcpy(key.bytes, &number, sizeof number);
    return key;
}

static unsigned char byte_at(unsigned number, size_t i)
{
    return (unsigned char)(number * 7 + i * 13 + i / 251);
}

struct cache_row *shared_row(unsigned number, size_t size_bytes)
{
    const struct digest key = shared_key(number);
    struct cache_row *row = cache_row_create(&key, size_bytes);
    assert_non_null(row);
    for (size_t i = 0; i < size_bytes; i++)
        row->bytes[i] = byte_at(number, i);
    return row;
}

bool shared_finds(struct shared *shared, unsigned number, size_t size_bytes)
{
    const struct digest key = shared_key(number);
    struct cache_row *row;
    const size_t n = shared_get(shared, &key, 1, &row);
    assert_int_equal(n, row != NULL);
    if (!row)
        return false;
    assert_memory_equal(&row->key, &key, sizeof key);
    assert_int_equal(row->size_bytes, size_bytes);
    for (size_t i = 0; i < size_bytes; i++)
        if (row->bytes[i] != byte_at(number, i))
            fail_msg("byte %zu of row %u is wrong", i, number);
    cache_row_drop(row);
    return true;
}

void shared_await_row(struct shared *shared, unsigned number, size_t size_bytes)
{
    for (int i = 0; !shared_finds(shared, number, size_bytes); i++) {
        if (i > SHARED_PATIENCE_MS / 10)
            fail_msg("row %u is not found", number);
        poll(NULL, 0, 10);
    }
}

void shared_await_put(struct shared *shared, uint64_t n)
{
    for (int i = 0; i < SHARED_PATIENCE_MS / 10; i++) {
        const struct shared_counts counts = shared_count(shared);
        if (counts.n_stored + counts.n_dropped >= n)
            return;
        poll(NULL, 0, 10);
    }
    fail_msg("the rows are not written");
}

void shared_store(struct shared *shared, unsigned number, size_t size_bytes)
{
    const uint64_t n_stored = shared_count(shared).n_stored;
    const uint64_t n_dropped = shared_count(shared).n_dropped;
    shared_put(shared, shared_row(number, size_bytes));
    shared_await_put(shared, n_stored + n_dropped + 1);
    assert_int_equal(shared_count(shared).n_stored, n_stored + 1);
}

void shared_await_link(struct shared *shared)
{
    for (int i = 0; i < SHARED_PATIENCE_MS / 10; i++) {
        struct redis *link = shared_take_link(shared);
        if (link) {
            shared_give_link(shared, link);
            return;
        }
        poll(NULL, 0, 10);
    }
    fail_msg("there is no connection");
}
