/* client/store.h - the memory of a client's answers, which outlives the client: the
 * client and each result hold the store, and the last one frees it. One thread at a
 * time. */
#ifndef GP_CLIENT_STORE_H
#define GP_CLIENT_STORE_H

#include "client/buffers.h"

#include <graphpipe/client.h>

struct client_store {
    struct client_buffers buffers;
    struct gp_result *idle; /* with their arenas, for later answers */
    uint32_t n_idle;
    uint32_t n_holders;
};

struct gp_result {
    struct client_store *store;
    struct gp_result *next; /* idle */
    struct gp_arena *arena;
    struct client_buffer buffer; /* of the answer; empty if it is in the caller's */
    struct gp_response response;
    struct gp_metadata metadata;
};

/* Held once, by its creator; NULL when memory is short. */
struct client_store *store_create(void);
void store_release(struct client_store *store);

/* An empty result, which holds the store; NULL when memory is short. */
struct gp_result *store_take(struct client_store *store);

#endif
