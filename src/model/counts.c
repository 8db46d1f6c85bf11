#include "model/counts.h"

#include "base/mem.h"

void counts_hold(struct counts *counts)
{
    atomic_fetch_add(&counts->n_users, 1);
}

void counts_drop(struct counts *counts)
{
    if (!counts || atomic_fetch_sub(&counts->n_users, 1) > 1)
        return;
    counters_finish(&counts->counters);
    mem_free(counts);
}

void counts_drop_list(struct counts *list)
{
    while (list) {
        struct counts *next = list->next;
        counts_drop(list);
        list = next;
    }
}

/* Only the list holds them: there is neither a version nor a model. */
static bool is_idle(const struct counts *counts)
{
    return atomic_load(&counts->n_users) == 1;
}

static void drop_oldest(struct counts **list)
{
    unsigned n_idle = 0;
    for (struct counts **at = list; *at;) {
        struct counts *counts = *at;
        n_idle += is_idle(counts);
        if (n_idle > COUNTS_KEPT && is_idle(counts)) {
            *at = counts->next;
            counts_drop(counts);
        } else {
            at = &counts->next;
        }
    }
}

struct counts *counts_take(struct counts **list, uint64_t version, unsigned n_others,
                           unsigned n_threads)
{
    struct counts *counts = *list;
    while (counts && counts->version != version)
        counts = counts->next;
    if (!counts) {
        counts = mem_zalloc(sizeof *counts);
        if (!counts ||
            !counters_init(&counts->counters, COUNTS_OTHERS + n_others, n_threads)) {
            mem_free(counts);
            return NULL;
        }
        counts->version = version;
        counts->n_users = 1;
        counts->next = *list;
        *list = counts;
    }
    counts_hold(counts);
    drop_oldest(list);
    return counts;
}
