/* Keeps results and their arenas for later answers, so that a client that repeats a
 * request allocates nothing. */
#include "client/store.h"

#include "base/mem.h"

enum { MAX_IDLE = 8 };

struct client_store *store_create(void)
{
    struct client_store *store = mem_zalloc(sizeof *store);
    if (!store)
        return NULL;
    store->n_holders = 1;
    return store;
}

static void result_free(struct gp_result *result)
{
    gp_arena_destroy(result->arena);
    mem_free(result);
}

void store_release(struct client_store *store)
{
    if (--store->n_holders > 0)
        return;
    while (store->idle) {
        struct gp_result *next = store->idle->next;
        result_free(store->idle);
        store->idle = next;
    }
    buffers_finish(&store->buffers);
    mem_free(store);
}

struct gp_result *store_take(struct client_store *store)
{
    struct gp_result *result = store->idle;
    if (result) {
        store->idle = result->next;
        store->n_idle--;
    } else {
        result = mem_zalloc(sizeof *result);
        if (!result)
            return NULL;
        result->arena = gp_arena_create();
        if (!result->arena) {
            mem_free(result);
            return NULL;
        }
    }
    result->store = store;
    store->n_holders++;
    return result;
}

void gp_result_destroy(struct gp_result *result)
{
    if (!result)
        return;
    struct client_store *store = result->store;
    buffers_give(&store->buffers, &result->buffer);
    gp_arena_reset(result->arena);
    if (store->n_idle < MAX_IDLE) {
        *result = (struct gp_result){.arena = result->arena, .next = store->idle};
        store->idle = result;
        store->n_idle++;
    } else {
        result_free(result);
    }
    store_release(store);
}

uint32_t gp_result_count(const struct gp_result *result)
{
    return result ? result->response.n_outputs : 0;
}

const struct gp_tensor *gp_result_output(const struct gp_result *result, uint32_t index)
{
    return index < gp_result_count(result) ? &result->response.outputs[index] : NULL;
}
