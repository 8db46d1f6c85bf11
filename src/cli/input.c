/* Makes a tensor of a word on the command line. */
#include "cli/input.h"

#include "cli/literal.h"
#include "cli/npy.h"

#include <string.h>

/* The name before "="; NULL if there is none. A "[" or a quote before the "=" means that
 * it belongs to a value. *source is what follows. */
static enum gp_status split(struct gp_arena *arena, const char *word, const char **name,
                            const char **source, struct gp_error *err)
{
    const size_t size = strcspn(word, "=");
    *name = NULL;
    *source = word;
    if (word[size] != '=' || literal_is(word))
        return GP_OK;
    *source = word + size + 1;
    if (size == 0)
        return GP_OK;
    char *copy = gp_arena_alloc(arena, size + 1);
    if (!copy)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    memcpy(copy, word, size);
    copy[size] = '\0';
    *name = copy;
    return GP_OK;
}

/* Prefixes the message with its source. */
static enum gp_status prefix(const char *label, struct gp_error *err)
{
    const struct gp_error cause = *err;
    return gp_error_set(err, cause.status, "%.*s%s: %s", gp_cut(label, 80), label,
                        strlen(label) > 80 ? "..." : "", cause.message);
}

/* What the bytes of a file may be, as far as the type says it. */
static size_t max_bytes(const struct gp_tensor *tensor)
{
    const size_t size = gp_dtype_size(tensor->dtype);
    const int64_t n = gp_shape_count(tensor->shape, tensor->rank);
    return size && n >= 0 && (uint64_t)n < GP_MAX_MESSAGE_BYTES / size
               ? (size_t)n * size
               : GP_MAX_MESSAGE_BYTES;
}

static enum gp_status open_literal(struct input *input, struct gp_arena *arena,
                                   const char *source, struct gp_error *err)
{
    const char *values;
    enum gp_status status = literal_type(arena, source, &input->tensor, &values, err);
    if (status == GP_OK && *values == '@') {
        if (file_open(&input->file, values + 1, max_bytes(&input->tensor), err) != GP_OK)
            return err->status;
        status = literal_bytes(arena, input->file.data, input->file.size_bytes,
                               &input->tensor, err);
    } else if (status == GP_OK) {
        status = literal_values(arena, values, &input->tensor, err);
    }
    return status == GP_OK ? GP_OK : prefix(source, err);
}

static enum gp_status open_npy(struct input *input, struct gp_arena *arena,
                               const char *source, struct gp_error *err)
{
    if (file_open(&input->file, source, GP_MAX_MESSAGE_BYTES, err) != GP_OK)
        return err->status;
    if (npy_decode(arena, input->file.data, input->file.size_bytes, &input->tensor,
                   err) != GP_OK)
        return prefix(strcmp(source, "-") == 0 ? "standard input" : source, err);
    return GP_OK;
}

enum gp_status input_open(struct input *input, struct gp_arena *arena, const char *word,
                          struct gp_error *err)
{
    *input = (struct input){0};
    const char *name, *source;
    enum gp_status status = split(arena, word, &name, &source, err);
    if (status == GP_OK)
        status = literal_is(source) ? open_literal(input, arena, source, err)
                                    : open_npy(input, arena, source, err);
    input->tensor.name = name;
    if (status != GP_OK)
        input_close(input);
    return status;
}

void input_close(struct input *input)
{
    file_close(&input->file);
}

enum gp_status inputs_open(struct inputs *inputs, struct gp_arena *arena,
                           const struct option_list *words,
                           const struct option_list *more, struct gp_error *err)
{
    const size_t n = words->n - 1 + more->n;
    *inputs = (struct inputs){0};
    if (n > GP_MAX_TENSORS)
        return gp_error_set(err, GP_INVALID, "%zu inputs are over %u", n, GP_MAX_TENSORS);
    struct gp_tensor *tensors = gp_arena_alloc(arena, n * sizeof *tensors);
    inputs->files = gp_arena_alloc(arena, n * sizeof *inputs->files);
    inputs->tensors = tensors;
    if (!tensors || !inputs->files)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    for (; inputs->n < n; inputs->n++) {
        const size_t i = inputs->n + 1;
        struct input input;
        const char *word = i < words->n ? words->items[i] : more->items[i - words->n];
        const enum gp_status status = input_open(&input, arena, word, err);
        if (status != GP_OK)
            return status;
        tensors[inputs->n] = input.tensor;
        inputs->files[inputs->n] = input.file;
    }
    return GP_OK;
}

void inputs_close(struct inputs *inputs)
{
    for (uint32_t i = 0; i < inputs->n; i++)
        file_close(&inputs->files[i]);
}
