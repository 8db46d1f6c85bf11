/* client/store.h - the memory of a client's answers, which live on when the client is
 * gone: each result and the client hold the store, the last one to let go frees it. One
 * thread at a time. */
#ifndef GP_CLIENT_STORE_H
#define GP_CLIENT_STORE_H

#include "client/buffers.h"

#include <graphpipe/client.h>

struct client_store {
    struct client_buffers buffers;
    struct gp_result *idle; /* with their arenas, for the next answers */
    uint32_t n_idle;
    uint32_t n_holders;
};

struct gp_result {
    struct client_store *store;
    struct gp_result *next; /* idle */
    struct gp_arena *arena;
    struct client_buffer
        buffer; /* the answer's bytes; empty when they are the caller's */
    struct gp_response response;
    struct gp_metadata metadata;
};

/* Held once, by its maker; NULL when memory is short. */
struct client_store *store_create(void);
void store_release(struct client_store *store);

/* An empty result, which holds the store; NULL when memory is short. */
struct gp_result *store_take(struct client_store *store);

#endif
