#include "cache/flights.h"

#include "base/mem.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

enum { N_BUCKETS = 1024 };

struct flights {
    pthread_mutex_t lock; /* of all that follows, and of what is linked to it */
    struct awaiter *parked;
    struct flight *buckets[N_BUCKETS];
};

struct flights *flights_create(void)
{
    struct flights *flights = mem_zalloc(sizeof *flights);
    if (flights)
        pthread_mutex_init(&flights->lock, NULL);
    return flights;
}

void flights_destroy(struct flights *flights)
{
    if (!flights)
        return;
    pthread_mutex_destroy(&flights->lock);
    mem_free(flights);
}

/* The flight of the key, or the end of its bucket. */
static struct flight **find(struct flights *flights, const struct digest *key)
{
    uint32_t number;
    memcpy(&number, key->bytes, sizeof number);
    struct flight **at = &flights->buckets[number % N_BUCKETS];
    while (*at && memcmp(&(*at)->key, key, sizeof *key) != 0)
        at = &(*at)->next;
    return at;
}

static void link_wait(struct flight_wait **first, struct flight_wait *wait)
{
    wait->next = *first;
    wait->link = first;
    if (wait->next)
        wait->next->link = &wait->next;
    *first = wait;
}

static void unlink_wait(struct flight_wait *wait)
{
    *wait->link = wait->next;
    if (wait->next)
        wait->next->link = wait->link;
    assert(wait->awaiter); /* or it would not be linked */
    wait->awaiter->n_awaited--;
    wait->awaiter = NULL;
}

static void unpark_one(struct awaiter *awaiter, struct awaiter **list)
{
    *awaiter->link = awaiter->next;
    if (awaiter->next)
        awaiter->next->link = awaiter->link;
    awaiter->is_parked = false;
    awaiter->next = *list;
    *list = awaiter;
}

bool flights_join(struct flights *flights, const struct digest *key,
                  struct flight *flight, struct flight_wait *wait,
                  struct awaiter *awaiter)
{
    pthread_mutex_lock(&flights->lock);
    struct flight **at = find(flights, key);
    const bool is_first = !*at;
    if (is_first) {
        *flight = (struct flight){.key = *key};
        *at = flight;
    } else {
        *wait = (struct flight_wait){.awaiter = awaiter};
        link_wait(&(*at)->waits, wait);
        awaiter->n_awaited++;
    }
    pthread_mutex_unlock(&flights->lock);
    return is_first;
}

struct awaiter *flights_land(struct flights *flights, struct flight *flight,
                             struct cache_row *row)
{
    struct awaiter *ready = NULL;
    pthread_mutex_lock(&flights->lock);
    struct flight **at = find(flights, &flight->key);
    assert(*at == flight);
    *at = flight->next;
    while (flight->waits) {
        struct flight_wait *wait = flight->waits;
        struct awaiter *awaiter = wait->awaiter;
        if (row)
            cache_row_hold(row);
        wait->row = row;
        unlink_wait(wait);
        if (awaiter->is_parked && !awaiter->n_awaited)
            unpark_one(awaiter, &ready);
    }
    pthread_mutex_unlock(&flights->lock);
    return ready;
}

bool flights_park(struct flights *flights, struct awaiter *awaiter)
{
    pthread_mutex_lock(&flights->lock);
    const bool is_parked = awaiter->n_awaited;
    if (is_parked) {
        awaiter->is_parked = true;
        awaiter->next = flights->parked;
        awaiter->link = &flights->parked;
        if (awaiter->next)
            awaiter->next->link = &awaiter->next;
        flights->parked = awaiter;
    }
    pthread_mutex_unlock(&flights->lock);
    return is_parked;
}

struct awaiter *flights_unpark(struct flights *flights,
                               bool (*is_over)(struct awaiter *awaiter, void *arg),
                               void *arg)
{
    struct awaiter *over = NULL;
    pthread_mutex_lock(&flights->lock);
    for (struct awaiter *awaiter = flights->parked, *next; awaiter; awaiter = next) {
        next = awaiter->next;
        if (is_over(awaiter, arg))
            unpark_one(awaiter, &over);
    }
    pthread_mutex_unlock(&flights->lock);
    return over;
}

void flights_leave(struct flights *flights, struct flight_wait *wait)
{
    pthread_mutex_lock(&flights->lock);
    if (wait->awaiter)
        unlink_wait(wait);
    pthread_mutex_unlock(&flights->lock);
    cache_row_drop(wait->row);
    wait->row = NULL;
}
