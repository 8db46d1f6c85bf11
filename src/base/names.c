#include "base/names.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct numbered {
    const char *name;
    uint32_t index;
};

/* By name; equal names in their order. */
static int compare_numbered(const void *left, const void *right)
{
    const struct numbered *a = left, *b = right;
    const int order = strcmp(a->name, b->name);
    return order ? order : a->index < b->index ? -1 : 1;
}

const uint32_t *names_find_first(struct gp_arena *arena, const char *const *names,
                                 uint32_t n)
{
    uint32_t *first = gp_arena_alloc(arena, n * sizeof *first);
    struct numbered *sorted = gp_arena_alloc(arena, n * sizeof *sorted);
    if (!n || !first || !sorted)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = (struct numbered){names[i], i};
    if (n > 1)
        qsort(sorted, n, sizeof *sorted, compare_numbered);
    for (uint32_t i = 0; i < n; i++) {
        const bool is_again = i && strcmp(sorted[i - 1].name, sorted[i].name) == 0;
        first[sorted[i].index] = is_again ? first[sorted[i - 1].index] : sorted[i].index;
    }
    return first;
}
