/* Generates inputs: floats from 0 to 1, like pixels and features; integers below 100,
 * small enough for indices; bytes of any value; strings of eight letters. A size that the
 * model leaves open is --rows if it is the first; others have to be given. */
#include "cli/bench_message.h"

#include "base/checked.h"
#include "cli/half.h"
#include "cli/random.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_INTEGER = 99, LETTERS = 8 };

static void fill_one(void *to, enum gp_dtype dtype, struct random *random)
{
    const double real = random_uniform(random);
    const uint64_t bits = random_bits(random);
    const uint64_t small = bits % (LARGEST_INTEGER + 1);
    switch (dtype) {
    case GP_FLOAT16:
        *(uint16_t *)to = half_to_float16(real);
        break;
    case GP_BFLOAT16:
        *(uint16_t *)to = half_to_bfloat16(real);
        break;
    case GP_FLOAT32:
        *(float *)to = (float)real;
        break;
    case GP_FLOAT64:
        *(double *)to = real;
        break;
    case GP_BOOL:
        *(uint8_t *)to = bits & 1;
        break;
    case GP_UINT8:
    case GP_INT8:
        *(uint8_t *)to = (uint8_t)bits;
        break;
    default: /* little-endian integers */
        memset(to, 0, gp_dtype_size(dtype));
        *(uint8_t *)to = (uint8_t)small;
        break;
    }
}

static bool fill_strings(struct gp_string *strings, size_t n, struct random *random,
                         struct gp_arena *arena)
{
    char *letters = gp_arena_alloc(arena, n * LETTERS);
    for (size_t i = 0; letters && i < n; i++, letters += LETTERS) {
        strings[i] = (struct gp_string){letters, LETTERS};
        for (size_t j = 0; j < LETTERS; j++)
            letters[j] = (char)('a' + random_bits(random) % 26);
    }
    return letters;
}

static enum gp_status fill_tensor(struct gp_tensor *tensor, struct random *random,
                                  struct gp_arena *arena, struct gp_error *err)
{
    const bool is_string = tensor->dtype == GP_STRING;
    const size_t size =
        is_string ? sizeof(struct gp_string) : gp_dtype_size(tensor->dtype);
    size_t n = 1;
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (!checked_mul(n, (size_t)tensor->shape[i], &n))
            n = SIZE_MAX;
    if (!checked_mul(n, size, &tensor->size_bytes) ||
        tensor->size_bytes > GP_MAX_MESSAGE_BYTES)
        return gp_error_set(err, GP_TOO_LARGE, "input \"%.*s\" is over 2 GiB",
                            gp_cut(tensor->name, 100), tensor->name);
    char *data = gp_arena_alloc(arena, tensor->size_bytes);
    if (!data)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    tensor->data = data;
    if (is_string && !fill_strings((struct gp_string *)(void *)data, n, random, arena))
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    for (size_t i = 0; !is_string && i < n; i++)
        fill_one(data + i * size, tensor->dtype, random);
    return GP_OK;
}

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
