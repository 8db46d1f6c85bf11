/* base/share.h - how much of a limited resource one taker may have, so that others get
 * some.
 *
 * An address may hold more than a quarter, but then it cannot take the last quarter. A
 * site (the many addresses that one owner may have) may hold more than a half, but then
 * it cannot take the last eighth. So one taker alone gets three quarters, and a newcomer
 * finds room at once. There are no shares of fewer than four things. */
#ifndef GP_BASE_SHARE_H
#define GP_BASE_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum share_of { SHARE_OF_ADDRESS, SHARE_OF_SITE };

enum { SHARE_LEAST_TOTAL = 4 };

/* True if a taker that holds `held` of the `used` must not get `more`. */
static inline bool share_is_over(enum share_of whose, size_t total, size_t used,
                                 size_t held, size_t more)
{
    const size_t share = whose == SHARE_OF_SITE ? total / 2 : total / 4;
    const size_t kept = whose == SHARE_OF_SITE ? total / 8 : total / 4;
    const size_t left = used < total ? total - used : 0;
    return total >= SHARE_LEAST_TOTAL && (more > share || held > share - more) &&
           (more > left || left - more < kept);
}

/* An address or a site that takes from several stores of one kind; zero at first. Any thread may
 * use it. */
struct share_taker {
    atomic_uint n_held;
    struct share_taker *site; /* of an address that belongs to one; otherwise NULL */
};

/* True if the taker or its site must not get one more when n_used of n_total are taken. */
static inline bool share_taker_is_over(const struct share_taker *taker, unsigned n_total,
                                       unsigned n_used)
{
    enum share_of whose = SHARE_OF_ADDRESS;
    for (; taker; taker = taker->site, whose = SHARE_OF_SITE)
        if (share_is_over(whose, n_total, n_used,
                          atomic_load_explicit(&taker->n_held, memory_order_relaxed), 1))
            return true;
    return false;
}

static inline void share_taker_add(struct share_taker *taker)
{
    for (; taker; taker = taker->site)
        atomic_fetch_add_explicit(&taker->n_held, 1, memory_order_relaxed);
}

static inline void share_taker_drop(struct share_taker *taker)
{
    for (; taker; taker = taker->site)
        atomic_fetch_sub_explicit(&taker->n_held, 1, memory_order_relaxed);
}

#endif
