/* base/mem.h - the one place where memory comes from, so that tests can make the n-th
 * fail. */
#ifndef GP_BASE_MEM_H
#define GP_BASE_MEM_H

#include <stddef.h>

/* As malloc, zeroed; NULL when memory is short. Size 0 gives a pointer that can be
 * freed. */
void *mem_zalloc(size_t size_bytes);

/* n * size_bytes, zeroed; NULL as well when the product does not fit. */
void *mem_array(size_t n, size_t size_bytes);

/* As malloc and realloc; the old block stays when NULL comes back. */
void *mem_alloc(size_t size_bytes);
void *mem_resize(void *block, size_t size_bytes);

char *mem_strdup(const char *text);
void mem_free(void *block);

#endif
