/* Rows for tests of the shared cache: row i has its number in its key and its bytes. */
#ifndef GP_TESTS_SHARED_FIXTURE_H
#define GP_TESTS_SHARED_FIXTURE_H

#include "cache/shared.h"

#include <stdbool.h>

enum { SHARED_PATIENCE_MS = 30000 };

/* Or the test fails. A look may take long, so that a busy machine is not taken for a slow server. */
struct shared *shared_make(const char *url, uint32_t ttl_s, struct log *log);

struct digest shared_key(unsigned number);
struct cache_row *shared_row(unsigned number, size_t size_bytes);

/* Whether the row is found now, and is the one of this number and size. */
bool shared_finds(struct shared *shared, unsigned number, size_t size_bytes);

/* Until it is. */
void shared_await_row(struct shared *shared, unsigned number, size_t size_bytes);

/* Until so many rows were stored or dropped. */
void shared_await_put(struct shared *shared, uint64_t n);

/* Puts a row, and waits until it is stored. */
void shared_store(struct shared *shared, unsigned number, size_t size_bytes);

/* Asks until there is a connection. */
void shared_await_link(struct shared *shared);

#endif
