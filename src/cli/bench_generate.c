/* Generates inputs (wire/fill.h). A size that the model leaves open is --rows if it is the first;
 * others have to be given. */
#include "cli/bench_message.h"

#include "wire/fill.h"

#include <stdlib.h>
#include <string.h>

/* The sizes that --shape gives for the input, NULL if it gives none. Without a name it is
 * for the only input. */
static const char *find_shape(const struct option_list *shapes, const char *name,
                              bool is_only)
{
    for (size_t i = 0; i < shapes->n; i++) {
        const char *word = shapes->items[i];
        const char *equals = strrchr(word, '=');
        if (!equals && is_only)
            return word;
        if (equals && strlen(name) == (size_t)(equals - word) &&
            memcmp(name, word, strlen(name)) == 0)
            return equals + 1;
    }
    return NULL;
}

/* "1,3,224,224", or "" for a scalar. */
static enum gp_status read_shape(const char *sizes, int64_t *shape, uint32_t *rank,
                                 struct gp_error *err)
{
    *rank = 0;
    for (const char *at = sizes; *sizes;) {
        char *end;
        const bool is_number = *at >= '0' && *at <= '9';
        const long long size = is_number ? strtoll(at, &end, 10) : 0;
        if (!is_number || size > GP_MAX_MESSAGE_BYTES || *rank == GP_MAX_RANK ||
            (*end && *end != ','))
            return gp_error_set(err, GP_INVALID,
                                "--shape wants sizes such as 1,3,224,224, not \"%.*s\"",
                                gp_cut(sizes, 200), sizes);
        shape[(*rank)++] = size;
        if (!*end)
            break;
        at = end + 1;
    }
    return GP_OK;
}

static enum gp_status choose_shape(int64_t *shape, uint32_t *rank, const struct gp_io *io,
                                   const struct bench_source *source, bool is_only,
                                   struct gp_error *err)
{
    const char *said = find_shape(source->shapes, io->name, is_only);
    if (said)
        return read_shape(said, shape, rank, err);
    *rank = io->flags & GP_IO_ANY_RANK ? 1 : io->rank;
    for (uint32_t i = 0; i < *rank; i++) {
        const bool is_open = (io->flags & GP_IO_ANY_RANK) || io->shape[i] < 0;
        shape[i] = is_open ? source->n_rows : io->shape[i];
        if (is_open && i > 0)
            return gp_error_set(err, GP_INVALID,
                                "the model leaves the size of input \"%.*s\" open: give "
                                "it, as --shape %.*s=1,3,224,224",
                                gp_cut(io->name, 100), io->name, gp_cut(io->name, 100),
                                io->name);
    }
    return GP_OK;
}

/* A --shape for an input that does not exist. */
static enum gp_status check_shapes(const struct gp_metadata *metadata,
                                   const struct option_list *shapes, struct gp_error *err)
{
    for (size_t i = 0; i < shapes->n; i++) {
        const struct option_list one = {.items = &shapes->items[i], .n = 1};
        bool is_used = false;
        for (uint32_t j = 0; j < metadata->n_inputs && !is_used; j++)
            is_used = find_shape(&one, metadata->inputs[j].name, metadata->n_inputs == 1);
        if (!is_used)
            return gp_error_set(err, GP_INVALID,
                                "--shape %.*s: the model has no such "
                                "input",
                                gp_cut(shapes->items[i], 200), shapes->items[i]);
    }
    return GP_OK;
}

enum gp_status bench_generate(struct gp_call *call, const struct gp_metadata *metadata,
                              const struct bench_source *source, uint64_t seed,
                              struct gp_arena *arena, struct gp_error *err)
{
    struct random random = {seed};
    const uint32_t n = metadata->n_inputs;
    struct gp_tensor *tensors = gp_arena_alloc(arena, n * sizeof *tensors);
    enum gp_status status = check_shapes(metadata, source->shapes, err);
    if (!tensors)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    call->inputs = tensors;
    for (uint32_t i = 0; i < n && status == GP_OK; i++) {
        const struct gp_io *io = &metadata->inputs[i];
        struct gp_tensor *tensor = &tensors[call->n_inputs];
        int64_t *shape = gp_arena_alloc(arena, GP_MAX_RANK * sizeof *shape);
        if (!shape)
            return gp_error_set(err, GP_NO_MEMORY, "out of memory");
        if ((io->flags & GP_IO_OPTIONAL) && !find_shape(source->shapes, io->name, false))
            continue;
        *tensor =
            (struct gp_tensor){.name = io->name,
                               .shape = shape,
                               .dtype = io->dtype == GP_NULL ? GP_FLOAT32 : io->dtype};
        status = choose_shape(shape, &tensor->rank, io, source, n == 1, err);
        if (status == GP_OK)
            status = fill_tensor(tensor, &random, arena, err);
        call->n_inputs++;
    }
    return status;
}
