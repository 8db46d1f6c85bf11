/* A store in the temporary folder of a test, and rows whose bytes follow from their numbers. */
#ifndef GP_TESTS_STORE_FIXTURE_H
#define GP_TESTS_STORE_FIXTURE_H

#include "cache/store.h"

#include <stddef.h>
#include <sys/types.h>

enum { STORE_LEAST = 1 << 20 };

/* In the folder "cache" of the tree; a failure fails the test. */
struct store *store_make(size_t size_bytes, struct log *log);
struct store *store_make_with(const struct store_options *options);

/* It is not opened, for this reason, and leaves nothing open. */
void store_assert_refused(const struct store_options *options, enum gp_status status,
                          const char *says);

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

/* Puts rows of 30000 bytes, from number 0 on, until the young file has become the old one so often. The store
 * is new. */
void store_turn(struct store *store, unsigned n_turns);

/* A row of this number is written, and found. */
void store_assert_works(struct store *store, unsigned number);

/* What all files in the folder have, with what LMDB adds, but without what was set aside. */
uint64_t store_size(void);

/* Another process, which uses the folder too: it is told what to do by letters, and answers with one. It
 * has none of the threads of this process. */
struct store_child {
    pid_t pid;
    int to, from;
};

/* Its exit status is what `work` returns. */
void store_child_begin(struct store_child *child, int (*work)(int in, int out));
char store_child_order(const struct store_child *child, char letter);

/* There are no more orders; its exit status. With a signal, it ends by that. */
int store_child_end(struct store_child *child, int signal);

/* In the child: the next order; '-' if there is none. */
char store_take_letter(int fd);

#endif
