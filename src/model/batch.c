#include "model/batch.h"

#include "base/arena.h"
#include "base/checked.h"
#include "base/mem.h"
#include "model/row.h"

#include <assert.h>
#include <string.h>

enum { ALIGNMENT = 64 };

/* A place in the sequence of the members' rows. */
struct row_place {
    struct inference *member;
    uint64_t row;
};

/* One call of the engine: rows from a place on, and so many after padding. */
struct batch_chunk {
    struct row_place from;
    uint64_t n_rows;
    uint64_t n_padded;
};

struct batch *batch_create(const struct batch_rules *rules)
{
    struct batch *batch = mem_zalloc(sizeof *batch);
    struct gp_arena *arena = gp_arena_create();
    if (!batch || !arena) {
        mem_free(batch);
        gp_arena_destroy(arena);
        return NULL;
    }
    batch->rules = rules;
    batch->arena = arena;
    engine_run_init(&batch->run.engine_run, rules->pool, arena);
    batch->run.engine_run.memory = rules->memory;
    batch->run.engine_run.writes_outputs = rules->writes_outputs;
    return batch;
}

void batch_destroy(struct batch *batch)
{
    if (!batch)
        return;
    engine_run_finish(&batch->run.engine_run);
    gp_arena_destroy(batch->arena);
    mem_free(batch);
}

static uint64_t padded(const struct batch_rules *rules, uint64_t n_rows)
{
    if (!rules->n_sizes)
        return n_rows;
    for (size_t i = 0; i < rules->n_sizes; i++)
        if (n_rows <= rules->sizes[i])
            return rules->sizes[i];
    return rules->max_rows;
}

bool batch_is_needed(const struct batch_rules *rules, const struct inference *inference)
{
    const uint64_t n = inference->n_rows;
    return inference->has_rows && (n > rules->max_rows || padded(rules, n) != n);
}

/* --- the members' rows as one sequence --- */

/* How many of n rows from here on are the member's. */
static uint64_t n_of_member(const struct row_place *at, uint64_t n)
{
    assert(at->member); /* or no rows would be left */
    const uint64_t n_left = at->member->n_rows - at->row;
    return n < n_left ? n : n_left;
}

static void skip_rows(struct row_place *at, uint64_t n)
{
    at->row += n;
    if (at->row < at->member->n_rows)
        return;
    at->member = at->member->next_member;
    at->row = 0;
}

/* --- inputs --- */

/* What input `index` of the chunk takes of the buffer: its rows, and the bytes of its strings. */
static bool measure_input(const struct batch_chunk *chunk, uint32_t index, size_t *size)
{
    const struct gp_tensor *first = &chunk->from.member->inputs[index];
    size_t rows, strings = 0;
    struct row_place at = chunk->from;
    for (uint64_t n = chunk->n_rows, m; first->dtype == GP_STRING && n; n -= m) {
        const struct gp_tensor *input = &at.member->inputs[index];
        const size_t per_row = row_size(input) / sizeof(struct gp_string);
        m = n_of_member(&at, n);
        strings += row_count_bytes(
            (const struct gp_string *)input->data + at.row * per_row, m * per_row);
        skip_rows(&at, m);
    }
    return checked_mul(row_size(first), chunk->n_padded, &rows) &&
           checked_add(rows, strings, size) && checked_add(*size, ALIGNMENT - 1, size) &&
           (*size &= ~(size_t)(ALIGNMENT - 1), true);
}

/* Copies the rows of an input to `data`, and repeats the last one; returns where the next begins. */
static unsigned char *gather_input(const struct batch_chunk *chunk, uint32_t index,
                                   unsigned char *data)
{
    const struct gp_tensor *first = &chunk->from.member->inputs[index];
    const size_t size = row_size(first);
    unsigned char *to = data;
    struct row_place at = chunk->from;
    for (uint64_t n = chunk->n_rows, m; n; n -= m) {
        const struct gp_tensor *input = &at.member->inputs[index];
        m = n_of_member(&at, n);
        if (size)
            memcpy(to, (const unsigned char *)input->data + at.row * size, m * size);
        to += m * size;
        skip_rows(&at, m);
    }
    unsigned char *end = data + chunk->n_padded * size;
    if (first->dtype == GP_STRING)
        end = (unsigned char *)row_move_strings(
            (void *)data, (size_t)(to - data) / sizeof(struct gp_string), (char *)end);
    for (uint64_t i = chunk->n_rows; i < chunk->n_padded && size; i++, to += size)
        if (i)
            memcpy(to, to - size, size);
        else
            memset(to, 0, size); /* no row to repeat */
    return end + (-(uintptr_t)end & (ALIGNMENT - 1));
}

/* The rows lie together already, and the engine will not read them for longer than their request
 * lives. */
static bool is_in_place(const struct batch *batch, const struct batch_chunk *chunk)
{
    return !batch->rules->is_isolated && chunk->n_padded == chunk->n_rows &&
           n_of_member(&chunk->from, chunk->n_rows) == chunk->n_rows;
}

static bool take_buffer(struct batch *batch, const struct batch_chunk *chunk,
                        uint32_t n_inputs, struct gp_error *err)
{
    struct pool *pool = batch->rules->pool;
    size_t total = 0, size = 0;
    bool is_countable = true;
    for (uint32_t i = 0; i < n_inputs && is_countable; i++)
        is_countable = measure_input(chunk, i, &size) && checked_add(total, size, &total);
    if (is_countable &&
        pool_take(pool, batch->rules->memory.inputs, total ? total : 1, NULL,
                  &batch->inputs) &&
        pool_touch(pool, &batch->inputs, total))
        return true;
    gp_error_set(err, GP_NO_MEMORY,
                 "the pool (--pool) has no room for the rows of a batch, %zu bytes; try "
                 "again later",
                 total);
    return false;
}

/* The inputs of one call. */
static struct gp_tensor *
gather_inputs(struct batch *batch, const struct batch_chunk *chunk, struct gp_error *err)
{
    const struct inference *first = chunk->from.member;
    const uint32_t n = first->run.engine_run.call.n_inputs;
    const bool stays = is_in_place(batch, chunk);
    struct gp_tensor *inputs = gp_arena_alloc(batch->arena, n * sizeof *inputs);
    if (!inputs) {
        gp_error_set(err, GP_NO_MEMORY, "no memory for the inputs of a batch");
        return NULL;
    }
    if (!stays && !take_buffer(batch, chunk, n, err))
        return NULL;
    unsigned char *data = batch->inputs.data;
    for (uint32_t i = 0; i < n; i++) {
        const struct gp_tensor *input = &first->inputs[i];
        int64_t *shape = gp_arena_alloc(batch->arena, input->rank * sizeof *shape);
        if (!shape) {
            gp_error_set(err, GP_NO_MEMORY, "no memory for the shapes of a batch");
            return NULL;
        }
        memcpy(shape, input->shape, input->rank * sizeof *shape);
        shape[0] = (int64_t)chunk->n_padded;
        inputs[i] = *input;
        inputs[i].shape = shape;
        inputs[i].size_bytes = chunk->n_padded * row_size(input);
        if (stays) {
            inputs[i].data =
                (const unsigned char *)input->data + chunk->from.row * row_size(input);
            continue;
        }
        inputs[i].data = data;
        data = gather_input(chunk, i, data);
    }
    return inputs;
}

/* --- outputs --- */

/* Output `index` of a member, for all of its rows, made with the first of them. NULL and the
 * member's error if it cannot be. */
static unsigned char *member_output(const struct row_place *at, uint32_t index,
                                    const struct gp_tensor *output)
{
    struct engine_run *run = &at->member->run.engine_run;
    int64_t shape[GP_MAX_RANK];
    if (at->row)
        return (unsigned char *)(uintptr_t)run->outputs[index].tensor.data;
    memcpy(shape, output->shape, output->rank * sizeof *shape);
    shape[0] = (int64_t)at->member->n_rows;
    run->writes_outputs = true;
    return gp_outputs_alloc(&run->face, index, output->dtype, shape, output->rank,
                            &at->member->error);
}

/* Copies m rows of an output from row `from` on to their member. */
static void scatter_rows(const struct row_place *at, uint64_t m, uint32_t index,
                         const struct gp_tensor *output, uint64_t from)
{
    struct inference *member = at->member;
    const size_t size = row_size(output);
    unsigned char *data = member_output(at, index, output);
    if (!data || !size || !m)
        return;
    data += at->row * size;
    memcpy(data, (const unsigned char *)output->data + from * size, m * size);
    if (output->dtype == GP_STRING)
        (void)row_keep_strings(&member->run.engine_run.face, (void *)data,
                               m * size / sizeof(struct gp_string), &member->error);
}

/* Whoever has no memory for its rows fails alone. */
static void scatter(const struct batch *batch, const struct batch_chunk *chunk)
{
    const struct engine_run *run = &batch->run.engine_run;
    struct row_place at = chunk->from;
    uint64_t row = 0;
    do {
        const uint64_t m = n_of_member(&at, chunk->n_rows - row);
        for (uint32_t i = 0; i < run->n_outputs; i++)
            if (at.member->error.status == GP_OK)
                scatter_rows(&at, m, i, &run->outputs[i].tensor, row);
        skip_rows(&at, m);
        row += m;
    } while (row < chunk->n_rows);
}

/* Whether the first member goes on with outputs that an earlier chunk began; not if it had no memory
 * for them. */
static bool goes_on(const struct batch_chunk *chunk)
{
    return chunk->from.row && chunk->from.member->error.status == GP_OK;
}

/* Whether output `index` has a row for each of the chunk's, and goes on as it began. */
static bool fits_rows(const struct batch_chunk *chunk, uint32_t index,
                      const struct gp_tensor *output)
{
    if (!output->rank || (uint64_t)output->shape[0] != chunk->n_padded)
        return false;
    if (!goes_on(chunk))
        return true;
    const struct gp_tensor *began =
        &chunk->from.member->run.engine_run.outputs[index].tensor;
    return began->dtype == output->dtype && began->rank == output->rank &&
           memcmp(began->shape + 1, output->shape + 1,
                  (output->rank - 1) * sizeof *output->shape) == 0;
}

static bool check_outputs(const struct engine_run *run, const struct batch_chunk *chunk,
                          struct gp_error *err)
{
    const uint32_t n_began = chunk->from.member->run.engine_run.n_outputs;
    if (goes_on(chunk) && n_began != run->n_outputs) {
        gp_error_set(err, GP_ENGINE,
                     "%u outputs came for some rows and %u for others, which ran apart "
                     "(--max-batch)",
                     n_began, run->n_outputs);
        return false;
    }
    for (uint32_t i = 0; i < run->n_outputs; i++) {
        char text[128];
        const struct gp_tensor *output = &run->outputs[i].tensor;
        if (fits_rows(chunk, i, output))
            continue;
        gp_error_set(
            err, GP_ENGINE,
            "output %u is %s for %llu rows%s; --max-batch is for models that give "
            "one row for each, of one shape",
            i,
            gp_shape_format(output->dtype, output->shape, output->rank, text,
                            sizeof text),
            (unsigned long long)chunk->n_padded, goes_on(chunk) ? " after others" : "");
        return false;
    }
    return true;
}

/* --- the run --- */

void batch_begin(struct batch *batch, uint32_t n_free_cores)
{
    struct engine_run *run = &batch->run.engine_run;
    engine_run_begin(run);
    run->call.n_free_cores = n_free_cores;
    run->call.deadline_ns = batch->run.inference->deadline_ns;
    for (const struct inference *i = batch->run.inference; i; i = i->next_member)
        if (!i->deadline_ns || !run->call.deadline_ns)
            run->call.deadline_ns = 0;
        else if (i->deadline_ns > run->call.deadline_ns)
            run->call.deadline_ns = i->deadline_ns;
}

static enum gp_status run_chunk(struct batch *batch, const struct batch_chunk *chunk,
                                struct gp_error *err)
{
    const struct gp_call *first = &chunk->from.member->run.engine_run.call;
    struct engine_run *run = &batch->run.engine_run;
    struct gp_tensor *inputs = gather_inputs(batch, chunk, err);
    if (!inputs)
        return err->status;
    run->body = &batch->inputs;
    run->call.inputs = inputs;
    run->call.n_inputs = first->n_inputs;
    run->call.output_names = first->output_names;
    run->call.n_outputs = first->n_outputs;
    run->call.config = first->config;
    const enum gp_status status = engine_run_execute(
        run, batch->rules->engine, batch->rules->handle, batch->run.slot, err);
    if (status != GP_OK || !check_outputs(run, chunk, err))
        return err->status;
    scatter(batch, chunk);
    return GP_OK;
}

static void clear_chunk(struct batch *batch)
{
    engine_run_drop(&batch->run.engine_run);
    pool_give(batch->rules->pool, &batch->inputs);
    gp_arena_reset(batch->arena);
}

enum gp_status batch_run(struct batch *batch, struct gp_error *err)
{
    struct row_place at = {batch->run.inference, 0};
    uint64_t n_left = 0;
    enum gp_status status;
    const struct inference *one = at.member;
    do
        n_left += one->n_rows;
    while ((one = one->next_member));
    do {
        const uint64_t n =
            n_left < batch->rules->max_rows ? n_left : batch->rules->max_rows;
        const struct batch_chunk chunk = {at, n, padded(batch->rules, n)};
        status = run_chunk(batch, &chunk, err);
        clear_chunk(batch);
        for (uint64_t m, rest = n; rest; rest -= m) {
            m = n_of_member(&at, rest);
            skip_rows(&at, m);
        }
        n_left -= n;
    } while (n_left && status == GP_OK);
    for (struct inference *i = batch->run.inference; i; i = i->next_member) {
        if (status == GP_OK && i->error.status == GP_OK) {
            engine_run_complete(&i->run.engine_run);
            continue;
        }
        engine_run_drop_outputs(&i->run.engine_run);
        if (status != GP_OK)
            i->error.status = GP_OK; /* it may be run again */
    }
    return status;
}
