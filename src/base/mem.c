#include "base/mem.h"

#include "base/checked.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *mem_alloc(size_t size_bytes)
{
    return malloc(size_bytes ? size_bytes : 1);
}

void *mem_zalloc(size_t size_bytes)
{
    return calloc(1, size_bytes ? size_bytes : 1);
}

void *mem_array(size_t n, size_t size_bytes)
{
    size_t total;
    return checked_mul(n, size_bytes, &total) ? mem_zalloc(total) : NULL;
}

void *mem_resize(void *block, size_t size_bytes)
{
    return realloc(block, size_bytes ? size_bytes : 1);
}

char *mem_strdup(const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = mem_alloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

void mem_free(void *block)
{
    free(block);
}

void mem_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}
