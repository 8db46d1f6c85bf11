/* This test's program elsewhere and under another name, for what depends on that. */
#ifndef GP_TESTS_SELF_COPY_H
#define GP_TESTS_SELF_COPY_H

#include <stddef.h>

/* Copies it to `path`, whose folder is there, and runs it with one argument, by which main knows that it
 * is a copy. Gives what it prints, without the last newline. */
const char *self_copy_run(const char *path, const char *argument, char *words,
                          size_t size);

#endif
