/* The rows of a request that are run, and its outputs, put together of what is known, what has come and
 * what was computed. */
#include "base/checked.h"
#include "model/cached_parts.h"
#include "model/row.h"

#include <string.h>

enum { ALIGNMENT = 64 };

/* --- outputs --- */

static struct engine_run *run_of(const struct cached *c)
{
    return &c->inference->run.engine_run;
}

static bool is_same_shape(const struct gp_tensor *output, const struct gp_tensor *value,
                          const int64_t *shape, uint32_t rank)
{
    return output->dtype == value->dtype && output->rank == rank &&
           memcmp(output->shape, shape, rank * sizeof *shape) == 0;
}

/* Where unit `unit` of the output lies, which is made for the first of them; NULL if the value is none
 * of it, or memory is short. */
static unsigned char *place_in_output(struct cached *c, uint32_t output, uint32_t unit,
                                      const struct gp_tensor *value)
{
    struct engine_run *run = run_of(c);
    int64_t shape[GP_MAX_RANK];
    const uint32_t rank = value->rank + c->is_by_row;
    if (rank > GP_MAX_RANK)
        return NULL;
    shape[0] = c->n_units;
    if (value->rank)
        memcpy(shape + c->is_by_row, value->shape, value->rank * sizeof *shape);
    unsigned char *data;
    if (output < run->n_outputs && run->outputs[output].is_set) {
        const struct gp_tensor *tensor = &run->outputs[output].tensor;
        if (!is_same_shape(tensor, value, shape, rank))
            return NULL;
        data = (unsigned char *)(uintptr_t)tensor->data;
    } else {
        run->writes_outputs = true; /* all of its units are copied there */
        data = gp_outputs_alloc(&run->face, output, value->dtype, shape, rank,
                                &c->inference->error);
    }
    return data ? data + unit * value->size_bytes : NULL;
}

static bool take_value(struct cached *c, uint32_t output, uint32_t unit,
                       const unsigned char *bytes, size_t size_bytes)
{
    int64_t shape[GP_MAX_RANK];
    struct gp_tensor value;
    if (!cached_value_read(bytes, size_bytes, shape, &value))
        return false;
    unsigned char *to = place_in_output(c, output, unit, &value);
    return to && cached_value_copy(&value, run_of(c), to, &c->inference->error);
}

/* Those that have been copied. */
static void end_state(struct cached *c, enum place_state state)
{
    for (size_t i = 0; i < (size_t)c->n_units * c->n_outputs; i++)
        if (c->places[i].state == state)
            c->places[i].state = PLACE_HAD;
}

bool cached_take_known(struct cached *c, enum place_state state)
{
    bool is_done = true;
    for (uint32_t u = 0; u < c->n_units && is_done; u++)
        for (uint32_t o = 0; o < c->n_outputs && is_done; o++) {
            const struct cached_place *place = cached_place(c, u, o);
            if (place->state != state)
                continue;
            const struct cache_row *row = place->wait.row;
            is_done =
                state == PLACE_FOUND
                    ? take_value(c, o, u, place->found.bytes, place->found.size_bytes)
                    : take_value(c, o, u, row->bytes, row->size_bytes);
        }
    if (is_done)
        end_state(c, state);
    return is_done;
}

bool cached_unit_of(const struct cached *c, const struct engine_outputs *computed,
                    uint32_t run_output, uint32_t unit, struct gp_tensor *tensor)
{
    *tensor = computed->all[run_output].tensor;
    if (!c->is_by_row)
        return true;
    if (!tensor->rank || (uint64_t)tensor->shape[0] != c->n_run)
        return false;
    const size_t size = row_size(tensor);
    if (size)
        tensor->data =
            (const unsigned char *)tensor->data + c->units[unit].run_row * size;
    tensor->size_bytes = size;
    tensor->shape++;
    tensor->rank--;
    return true;
}

/* A computed one may be read as it is, but its strings are the run's that goes. */
static bool take_tensor(struct cached *c, uint32_t output, uint32_t unit,
                        const struct gp_tensor *tensor)
{
    unsigned char *to = place_in_output(c, output, unit, tensor);
    if (!to)
        return false;
    if (tensor->size_bytes)
        memcpy(to, tensor->data, tensor->size_bytes);
    return tensor->dtype != GP_STRING ||
           row_keep_strings(&run_of(c)->face, (void *)to,
                            tensor->size_bytes / sizeof(struct gp_string),
                            &c->inference->error);
}

bool cached_take_computed(struct cached *c, const struct engine_outputs *computed)
{
    for (uint32_t u = 0; u < c->n_units; u++)
        for (uint32_t k = 0; k < c->n_run_outputs; k++) {
            const uint32_t o = c->run_outputs[k];
            struct gp_tensor tensor;
            if (cached_place(c, u, o)->state == PLACE_COMPUTED &&
                !(cached_unit_of(c, computed, k, c->units[u].same, &tensor) &&
                  take_tensor(c, o, u, &tensor)))
                return false;
        }
    end_state(c, PLACE_COMPUTED);
    return true;
}

/* --- the run --- */

/* Which units and outputs are to be run. */
static void choose_run(struct cached *c)
{
    uint32_t n_mine = 0;
    c->n_run = c->n_run_outputs = 0;
    for (uint32_t u = 0; u < c->n_units; u++) {
        bool is_run = false;
        for (uint32_t o = 0; o < c->n_outputs && c->units[u].same == u; o++) {
            is_run |= cached_place(c, u, o)->state == PLACE_MINE;
            n_mine += cached_place(c, u, o)->state == PLACE_MINE;
        }
        if (is_run)
            c->units[u].run_row = c->n_run++;
        else
            c->units[u].run_row = UINT32_MAX;
    }
    for (uint32_t o = 0; o < c->n_outputs; o++) {
        uint32_t u = 0;
        while (u < c->n_units && cached_place(c, u, o)->state != PLACE_MINE)
            u++;
        if (u < c->n_units)
            c->run_outputs[c->n_run_outputs++] = o;
    }
    c->is_whole = (size_t)n_mine == (size_t)c->n_units * c->n_outputs;
}

static bool is_gathered(const struct cached *c, uint32_t unit)
{
    return c->units[unit].same == unit && c->units[unit].run_row != UINT32_MAX;
}

/* What the rows of an input take, and the bytes of its strings. */
static bool measure_rows(const struct cached *c, const struct gp_tensor *input,
                         size_t *size)
{
    const size_t per_row = row_size(input);
    size_t strings = 0;
    for (uint32_t u = 0; u < c->n_units && input->dtype == GP_STRING && per_row; u++)
        if (is_gathered(c, u))
            strings +=
                row_count_bytes((const void *)((const char *)input->data + u * per_row),
                                per_row / sizeof(struct gp_string));
    return checked_mul(per_row, c->n_run, size) && checked_add(*size, strings, size) &&
           checked_add(*size, ALIGNMENT - 1, size) &&
           (*size &= ~(size_t)(ALIGNMENT - 1), true);
}

/* Copies the rows to `data`; returns where they end. */
static unsigned char *gather_rows(const struct cached *c, const struct gp_tensor *input,
                                  unsigned char *data)
{
    const size_t size = row_size(input);
    unsigned char *to = data;
    for (uint32_t u = 0; u < c->n_units && size; u++)
        if (is_gathered(c, u)) {
            memcpy(to, (const unsigned char *)input->data + u * size, size);
            to += size;
        }
    if (input->dtype == GP_STRING)
        to = (unsigned char *)row_move_strings(
            (void *)data, (size_t)(to - data) / sizeof(struct gp_string), (char *)to);
    return to + (-(uintptr_t)to & (ALIGNMENT - 1));
}

static bool take_buffer(struct cached *c, uint32_t n_inputs)
{
    struct engine_run *run = run_of(c);
    size_t total = 0, size;
    for (uint32_t i = 0; i < n_inputs; i++)
        if (!measure_rows(c, &c->inputs[i], &size) || !checked_add(total, size, &total))
            return false;
    return pool_buy(run->pool, run->memory.inputs, total ? total : 1, &run->unplanned,
                    &c->rows) == POOL_GRANTED &&
           pool_touch(run->pool, &c->rows, total);
}

static struct gp_tensor *gather_inputs(struct cached *c)
{
    struct gp_arena *arena = c->inference->arena;
    const uint32_t n = run_of(c)->call.n_inputs;
    struct gp_tensor *inputs = gp_arena_alloc(arena, n * sizeof *inputs);
    if (!inputs || !take_buffer(c, n))
        return NULL;
    unsigned char *data = c->rows.data;
    for (uint32_t i = 0; i < n; i++) {
        int64_t *shape = gp_arena_alloc(arena, c->inputs[i].rank * sizeof *shape);
        if (!shape)
            return NULL;
        memcpy(shape, c->inputs[i].shape, c->inputs[i].rank * sizeof *shape);
        shape[0] = c->n_run;
        inputs[i] = c->inputs[i];
        inputs[i].shape = shape;
        inputs[i].size_bytes = c->n_run * row_size(&c->inputs[i]);
        inputs[i].data = data;
        data = gather_rows(c, &c->inputs[i], data);
    }
    return inputs;
}

bool cached_set_run(struct cached *c)
{
    struct inference *inference = c->inference;
    struct engine_run *run = run_of(c);
    choose_run(c);
    if (c->is_whole)
        return true;
    const char **names =
        gp_arena_alloc(inference->arena, c->n_run_outputs * sizeof *names);
    struct gp_tensor *inputs = c->n_run < c->n_units ? gather_inputs(c) : c->inputs;
    if (!names || !inputs)
        return false;
    for (uint32_t k = 0; k < c->n_run_outputs; k++)
        names[k] = c->output_names[c->run_outputs[k]];
    run->call.output_names = names;
    run->call.n_outputs = c->n_run_outputs;
    run->call.inputs = inference->inputs = inputs;
    if (inputs == c->inputs)
        return true;
    inference->n_rows = c->n_run;
    c->was_settled = inference->is_settled;
    c->body = run->body;
    run->body = &c->rows;
    return true;
}

void cached_end_run(struct cached *c)
{
    struct inference *inference = c->inference;
    struct engine_run *run = run_of(c);
    run->call.inputs = inference->inputs = c->inputs;
    run->call.output_names = c->output_names;
    run->call.n_outputs = c->n_outputs;
    inference->n_rows = c->n_rows;
    if (run->body == &c->rows) {
        run->body = c->body;
        inference->is_settled = c->was_settled;
    }
}

void cached_drop_rows(struct cached *c)
{
    pool_give(run_of(c)->pool, &c->rows);
}
