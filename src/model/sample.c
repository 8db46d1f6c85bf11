#include "model/sample.h"

#include "base/checked.h"
#include "wire/fill.h"

#include <string.h>

static enum gp_status no_memory(struct gp_error *err)
{
    return gp_error_set(err, GP_NO_MEMORY, "no memory for sample inputs");
}

/* --- what fits a model --- */

static enum gp_status set_shape(struct gp_arena *arena, const struct gp_io *io,
                                int64_t open, struct gp_tensor *tensor,
                                struct gp_error *err)
{
    const uint32_t rank = io->flags & GP_IO_ANY_RANK ? 1 : io->rank;
    const enum gp_dtype dtype = io->dtype == GP_NULL ? GP_FLOAT32 : io->dtype;
    int64_t *shape = gp_arena_alloc(arena, rank * sizeof *shape);
    if (!shape)
        return no_memory(err);
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = io->flags & GP_IO_ANY_RANK || io->shape[i] < 0 ? open : io->shape[i];
    *tensor = (struct gp_tensor){.shape = shape, .dtype = dtype, .rank = rank};
    const int64_t n = gp_shape_count(shape, rank);
    if (n < 0 || !checked_mul((size_t)n, gp_dtype_stride(dtype), &tensor->size_bytes) ||
        tensor->size_bytes > GP_MAX_MESSAGE_BYTES) {
        char text[128];
        return gp_error_set(err, GP_TOO_LARGE,
                            "input \"%.*s\" is %s, too large for a request",
                            gp_cut(io->name, 64), io->name,
                            gp_shape_format(dtype, shape, rank, text, sizeof text));
    }
    return GP_OK;
}

/* Most models need something. */
static const struct gp_io any_input = {.name = "", .flags = GP_IO_ANY_RANK};

enum gp_status sample_shapes(const struct model *model, struct gp_arena *arena,
                             int64_t open, struct gp_tensor **tensors, uint32_t *n,
                             struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    const bool is_unknown = d->flags & GP_ANY_INPUTS && !model->n_default_inputs;
    *n = is_unknown ? 1 : model->n_default_inputs;
    *tensors = gp_arena_alloc(arena, *n * sizeof **tensors);
    if (!*tensors)
        return no_memory(err);
    for (uint32_t i = 0; i < *n; i++)
        if (set_shape(arena,
                      is_unknown ? &any_input : &d->inputs[model->default_inputs[i]],
                      open, &(*tensors)[i], err) != GP_OK)
            return err->status;
    return GP_OK;
}

enum gp_status sample_generate(struct sample *sample, const struct model *model,
                               int64_t open, uint32_t n_rows, struct gp_error *err)
{
    struct random random = {1};
    struct gp_call *call = &sample->call;
    *call = (struct gp_call){.size_bytes = sizeof *call};
    sample->n_rows = n_rows;
    if (sample_shapes(model, sample->arena, open, &sample->inputs, &call->n_inputs,
                      err) != GP_OK)
        return err->status;
    call->inputs = sample->inputs;
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        struct gp_tensor *input = &sample->inputs[i];
        if (n_rows && !input->rank)
            return gp_error_set(err, GP_INVALID, "input %u is a scalar", i);
        if (n_rows) /* sample_shapes made it */
            ((int64_t *)(uintptr_t)input->shape)[0] = n_rows;
        input->name = "";
        if (fill_tensor(input, &random, sample->arena, err) != GP_OK)
            return err->status;
    }
    return GP_OK;
}

/* --- what requests have --- */

static size_t row_bytes(const struct gp_tensor *tensor)
{
    const int64_t n = gp_shape_count(tensor->shape + 1, tensor->rank - 1);
    return (size_t)n *
           gp_dtype_stride(tensor->dtype); /* no more than a message may have */
}

/* Inputs with room for most_rows, which have none yet. */
static enum gp_status begin_sample(struct sample *sample, const struct gp_call *like,
                                   uint32_t most_rows, struct gp_error *err)
{
    struct gp_arena *arena = sample->arena;
    sample->inputs = gp_arena_alloc(arena, like->n_inputs * sizeof *sample->inputs);
    if (!sample->inputs)
        return no_memory(err);
    sample->call = *like;
    sample->call.inputs = sample->inputs;
    for (uint32_t i = 0; i < like->n_inputs; i++) {
        const struct gp_tensor *from = &like->inputs[i];
        int64_t *shape = gp_arena_alloc(arena, from->rank * sizeof *shape);
        void *data = gp_arena_alloc(arena, most_rows * row_bytes(from));
        if (!shape || !data)
            return no_memory(err);
        memcpy(shape, from->shape, from->rank * sizeof *shape);
        shape[0] = 0;
        sample->inputs[i] = *from;
        sample->inputs[i].shape = shape;
        sample->inputs[i].data = data;
        sample->inputs[i].size_bytes = 0;
    }
    return GP_OK;
}

static bool are_equal_texts(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool is_like(const struct sample *sample, const struct gp_call *call)
{
    const struct gp_call *own = &sample->call;
    if (call->n_inputs != own->n_inputs || call->n_outputs != own->n_outputs ||
        !are_equal_texts(call->config, own->config))
        return false;
    for (uint32_t i = 0; i < call->n_outputs; i++)
        if (!are_equal_texts(call->output_names[i], own->output_names[i]))
            return false;
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        const struct gp_tensor *a = &call->inputs[i], *b = &own->inputs[i];
        if (a->dtype != b->dtype || a->rank != b->rank ||
            !are_equal_texts(a->name, b->name) ||
            memcmp(a->shape + 1, b->shape + 1, (a->rank - 1) * sizeof *a->shape) != 0)
            return false;
    }
    return true;
}

static void add_rows(struct gp_tensor *input, const struct gp_tensor *from,
                     uint32_t n_rows)
{
    const size_t size = n_rows * row_bytes(from);
    if (size) /* both are what begin_sample made */
        memcpy((char *)(uintptr_t)input->data + input->size_bytes, from->data, size);
    input->size_bytes += size;
    ((int64_t *)(uintptr_t)input->shape)[0] += n_rows;
}

enum gp_status sample_add(struct sample *sample, const struct gp_call *call,
                          uint32_t most_rows, struct gp_error *err)
{
    for (uint32_t i = 0; i < call->n_inputs; i++)
        if (!call->inputs[i].rank || call->inputs[i].shape[0] != call->inputs[0].shape[0])
            return gp_error_set(err, GP_INVALID, "its inputs differ in their rows");
    if (!call->n_inputs)
        return gp_error_set(err, GP_INVALID, "it has no inputs");
    if (!sample->inputs && begin_sample(sample, call, most_rows, err) != GP_OK)
        return err->status;
    if (!is_like(sample, call))
        return gp_error_set(err, GP_INVALID,
                            "its inputs, outputs or config are not like the first one's");
    const uint32_t n_left = most_rows - sample->n_rows;
    const uint32_t n =
        call->inputs[0].shape[0] < n_left ? (uint32_t)call->inputs[0].shape[0] : n_left;
    for (uint32_t i = 0; i < call->n_inputs; i++)
        add_rows(&sample->inputs[i], &call->inputs[i], n);
    sample->n_rows += n;
    return GP_OK;
}

/* --- both --- */

static enum gp_status gather_input(struct gp_tensor *to, const struct gp_tensor *from,
                                   const uint32_t *rows, uint32_t n_rows,
                                   struct gp_arena *arena, struct gp_error *err)
{
    const size_t size = row_bytes(from), shape_size = from->rank * sizeof *from->shape;
    int64_t *shape = gp_arena_alloc(arena, shape_size);
    char *data = gp_arena_alloc(arena, n_rows * size);
    if (!shape || !data)
        return no_memory(err);
    memcpy(shape, from->shape, shape_size);
    shape[0] = n_rows;
    for (uint32_t i = 0; i < n_rows && size; i++)
        memcpy(data + i * size, (const char *)from->data + rows[i] * size, size);
    *to = *from;
    to->shape = shape;
    to->data = data;
    to->size_bytes = n_rows * size;
    return GP_OK;
}

enum gp_status sample_call(const struct sample *sample, const uint32_t *rows,
                           uint32_t n_rows, struct gp_arena *arena, struct gp_call *call,
                           struct gp_error *err)
{
    const uint32_t n = sample->call.n_inputs;
    struct gp_tensor *inputs = gp_arena_alloc(arena, n * sizeof *inputs);
    if (!inputs)
        return no_memory(err);
    *call = sample->call;
    call->inputs = inputs;
    for (uint32_t i = 0; i < n; i++)
        if (gather_input(&inputs[i], &sample->inputs[i], rows, n_rows, arena, err) !=
            GP_OK)
            return err->status;
    return GP_OK;
}
