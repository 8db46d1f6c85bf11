/* cache/flights.h - rows that are being computed, and the others that want them.
 *
 * Whoever joins the first for a key owns the flight: it computes the row and lands the flight, or lands
 * it with nothing. Those that join meanwhile await it. An owner finishes its own rows before it awaits
 * others', so that owners never wait for each other. Flights and waits are memory of those they belong
 * to; one lock protects what links them. Any thread may call.
 */
#ifndef GP_CACHE_FLIGHTS_H
#define GP_CACHE_FLIGHTS_H

#include "cache/row.h"

#include <stdbool.h>

struct flights;

/* One that awaits rows. Zeroed by its owner. */
struct awaiter {
    struct awaiter *next, **link; /* of those that are parked, or returned */
    uint32_t n_awaited;
    bool is_parked;
};

struct flight_wait {
    struct flight_wait *next, **link;
    struct awaiter *awaiter; /* NULL once it awaits nothing */
    struct cache_row *row;   /* what has come, held; NULL: it is to be looked for again */
};

/* Of one key; belongs to its owner until it has landed. */
struct flight {
    struct flight *next;
    struct digest key;
    struct flight_wait *waits;
};

/* NULL if memory is short. */
struct flights *flights_create(void);

/* Nothing is in flight. Takes NULL. */
void flights_destroy(struct flights *flights);

/* True if the flight of this key is the caller's now; otherwise `wait` awaits another's. */
bool flights_join(struct flights *flights, const struct digest *key,
                  struct flight *flight, struct flight_wait *wait,
                  struct awaiter *awaiter);

/* Gives the row (NULL: there is none) to all that await it. Returns a list of those among them that were
 * parked and await nothing any more, who go on from here. */
struct awaiter *flights_land(struct flights *flights, struct flight *flight,
                             struct cache_row *row);

/* True if the awaiter awaits rows: it goes on when a later call returns it, and no longer belongs to the
 * caller. False if there is nothing to wait for. */
bool flights_park(struct flights *flights, struct awaiter *awaiter);

/* Takes those that are parked and over out, and returns them as a list. `is_over` is called with the lock
 * held. Their waits are still to be left. */
struct awaiter *flights_unpark(struct flights *flights,
                               bool (*is_over)(struct awaiter *awaiter, void *arg),
                               void *arg);

/* The wait ends, of an awaiter that is not parked; what has come is dropped. */
void flights_leave(struct flights *flights, struct flight_wait *wait);

#endif
