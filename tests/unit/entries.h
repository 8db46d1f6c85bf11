/* How much there is of something that the kernel lists, as /proc/self/fd: for what must leave none. */
#ifndef GP_TESTS_ENTRIES_H
#define GP_TESTS_ENTRIES_H

#include <stddef.h>

size_t count_entries(const char *folder);

#endif
