/* A store in the temporary folder of a test, and rows whose bytes follow from their numbers. */
#ifndef GP_TESTS_STORE_FIXTURE_H
#define GP_TESTS_STORE_FIXTURE_H

#include "cache/store.h"

#include <stddef.h>

enum { STORE_LEAST = 1 << 20 };

/* In the folder "cache" of the tree; a failure fails the test. */
struct store *store_make(size_t size_bytes, struct log *log);
struct store *store_make_with(const struct store_options *options);

/* The folder; and a file in it. Valid until the fourth call from now. */
const char *store_file(const char *name);

struct digest row_key(unsigned number);

/* The bytes of row `number` of that size; true if these are they. */
void row_fill(unsigned number, unsigned char *bytes, size_t size_bytes);
bool row_is(unsigned number, const unsigned char *bytes, size_t size_bytes);

void row_put(struct store *store, unsigned number, size_t size_bytes);

/* Found or not; a row that is found and has other bytes fails the test. */
bool row_found(struct store *store, unsigned number, size_t size_bytes);

/* Until so many rows were written or dropped by this store, since it was opened. */
void store_await(struct store *store, uint64_t n_rows);

/* A row of this number is written, and found. */
void store_assert_works(struct store *store, unsigned number);

/* What all files in the folder have, with what LMDB adds, but without what was set aside. */
uint64_t store_size(void);

#endif
