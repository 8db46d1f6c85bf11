/* base/mem.h - all memory is allocated here, so that tests can make the n-th allocation
 * fail. */
#ifndef GP_BASE_MEM_H
#define GP_BASE_MEM_H

#include <stddef.h>

/* As malloc, zeroed; NULL when memory is short. Size 0 gives a pointer that can be
 * freed. */
void *mem_zalloc(size_t size_bytes);

/* n * size_bytes, zeroed; NULL as well if the product overflows. */
void *mem_array(size_t n, size_t size_bytes);

/* As malloc and realloc; on failure NULL, and the old block stays valid. */
void *mem_alloc(size_t size_bytes);
void *mem_resize(void *block, size_t size_bytes);

char *mem_strdup(const char *text);
void mem_free(void *block);

/* Returns freed memory to the system, after much was freed: the allocator keeps blocks that lie
 * between others, and is locked meanwhile (docs/decisions/memory.md). */
void mem_trim(void);

#endif
