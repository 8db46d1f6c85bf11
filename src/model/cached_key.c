/* What a row is known by: everything that decides what the model answers for it. Each part has its
 * length or its number before it, so that no two requests give the same bytes. */
#include "model/cached_parts.h"
#include "model/model.h"
#include "model/row.h"

#include <string.h>

/* What all units have in common, which keys the digest of each. */
static void digest_request(const struct inference *inference, const struct cached *c,
                           struct digest *digest)
{
    const struct gp_call *call = &inference->run.engine_run.call;
    struct digester digester;
    digest_begin(&digester);
    digest_add(&digester, &inference->model->digest, sizeof inference->model->digest);
    digest_add_number(&digester, c->salt);
    digest_add_number(&digester, c->is_by_row);
    digest_add_text(&digester, call->config ? call->config : "");
    digest_add_number(&digester, call->n_inputs);
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        const struct gp_tensor *input = &inference->inputs[i];
        digest_add_text(&digester, input->name ? input->name : "");
        digest_add_number(&digester, input->dtype);
        digest_add_number(&digester, inference->wanted[i]);
        digest_add_number(&digester, input->rank);
        for (uint32_t d = c->is_by_row; d < input->rank; d++)
            digest_add_number(&digester, (uint64_t)input->shape[d]);
    }
    digest_end(&digester, digest);
}

static void digest_strings(struct digester *digester, const struct gp_string *strings,
                           size_t n)
{
    for (size_t i = 0; i < n; i++) {
        digest_add_number(digester, strings[i].size_bytes);
        digest_add(digester, strings[i].data, strings[i].size_bytes);
    }
}

static void digest_unit(const struct cached *c, const struct digest *request,
                        uint32_t unit, struct digest *digest)
{
    const uint32_t n = c->inference->run.engine_run.call.n_inputs;
    struct digester digester;
    digest_begin_keyed(&digester, request);
    for (uint32_t i = 0; i < n; i++) {
        const struct gp_tensor *input = &c->inference->inputs[i];
        const size_t size = c->is_by_row ? row_size(input) : input->size_bytes;
        const unsigned char *data = (const unsigned char *)input->data + unit * size;
        if (!size)
            continue;
        if (input->dtype == GP_STRING)
            digest_strings(&digester, (const void *)data,
                           size / sizeof(struct gp_string));
        else
            digest_add(&digester, data, size);
    }
    digest_end(&digester, digest);
}

static void digest_output(const struct cached_unit *unit, const char *name,
                          struct digest *key)
{
    struct digester digester;
    digest_begin(&digester);
    digest_add(&digester, &unit->digest, sizeof unit->digest);
    digest_add_text(&digester, name);
    digest_end(&digester, key);
}

/* Finds equal units; false if memory is short. */
static bool find_equals(struct cached *c)
{
    size_t n_slots = 2;
    while (n_slots < 2 * (size_t)c->n_units)
        n_slots *= 2;
    uint32_t *slots = gp_arena_alloc(c->inference->arena, n_slots * sizeof *slots);
    if (!slots)
        return false;
    memset(slots, 0,
           n_slots * sizeof *slots); /* else one more than the number of a unit */
    for (uint32_t u = 0; u < c->n_units; u++) {
        const struct digest *digest = &c->units[u].digest;
        size_t at;
        memcpy(&at, digest->bytes, sizeof at);
        at &= n_slots - 1;
        while (slots[at] &&
               memcmp(&c->units[slots[at] - 1].digest, digest, sizeof *digest) != 0)
            at = (at + 1) & (n_slots - 1);
        if (!slots[at])
            slots[at] = u + 1;
        c->units[u].same = slots[at] - 1;
    }
    return true;
}

struct cached *cached_make(struct inference *inference, bool is_by_row)
{
    const struct gp_call *call = &inference->run.engine_run.call;
    struct gp_arena *arena = inference->arena;
    const uint64_t n_units = is_by_row ? inference->n_rows : 1;
    if (!call->n_outputs || n_units > CACHED_MOST_PLACES / call->n_outputs)
        return NULL;
    const size_t n_places = (size_t)n_units * call->n_outputs;
    struct cached *c = gp_arena_alloc(arena, sizeof *c);
    struct cached_unit *units = gp_arena_alloc(arena, n_units * sizeof *units);
    struct cached_place *places = gp_arena_alloc(arena, n_places * sizeof *places);
    uint32_t *run_outputs = gp_arena_alloc(arena, call->n_outputs * sizeof *run_outputs);
    if (!c || !units || !places || !run_outputs)
        return NULL;
    *c = (struct cached){.inference = inference,
                         .salt = atomic_load(&inference->model->salt),
                         .is_by_row = is_by_row,
                         .n_units = (uint32_t)n_units,
                         .n_outputs = call->n_outputs,
                         .units = units,
                         .places = places,
                         .run_outputs = run_outputs,
                         .inputs = inference->inputs,
                         .output_names = call->output_names,
                         .n_rows = inference->n_rows};
    struct digest request;
    digest_request(inference, c, &request);
    for (uint32_t u = 0; u < c->n_units; u++)
        digest_unit(c, &request, u, &units[u].digest);
    if (!find_equals(c))
        return NULL;
    memset(places, 0, n_places * sizeof *places);
    for (uint32_t u = 0; u < c->n_units; u++)
        for (uint32_t o = 0; o < c->n_outputs && units[u].same == u; o++) {
            struct cached_place *place = cached_place(c, u, o);
            place->state = PLACE_MISSING;
            digest_output(&units[u], call->output_names[o], &place->key);
        }
    return c;
}
