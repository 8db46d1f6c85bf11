/* Tensors written on the command line: what is read can be sent, and printed. The bytes
 * are the word, up to a NUL; what follows the NUL are the bytes of a file named in it. */
#include "fuzz.h"

#include "cli/literal.h"
#include "cli/tensor_text.h"
#include "wire/shape.h"

#include <stdlib.h>
#include <string.h>

static void print(const struct gp_tensor *tensor)
{
    struct text text = {0};
    const size_t n = tensor_count(tensor);
    shape_write(&text, tensor->dtype, tensor->shape, tensor->rank);
    tensor_write_summary(&text, tensor);
    for (size_t i = 0; i < n; i++)
        tensor_write_json(&text, tensor, i);
    FUZZ_CHECK(!text.is_short && text_is_utf8(text.data, text.size_bytes));
    text_finish(&text);
}

static enum gp_status read(struct gp_arena *arena, const char *word, const void *file,
                           size_t file_size, struct gp_tensor *tensor,
                           struct gp_error *err)
{
    const char *values;
    const enum gp_status status = literal_type(arena, word, tensor, &values, err);
    if (status != GP_OK)
        return status;
    FUZZ_CHECK(values >= word && values <= word + strlen(word));
    return *values == '@' ? literal_bytes(arena, file, file_size, tensor, err)
                          : literal_values(arena, values, tensor, err);
}

static void check(struct gp_arena *arena, const char *word, const void *file,
                  size_t file_size)
{
    struct gp_tensor tensor;
    struct gp_error err;
    if (!literal_is(word))
        return;
    const enum gp_status status = read(arena, word, file, file_size, &tensor, &err);
    if (status != GP_OK) {
        fuzz_check_refusal(status, &err);
        return;
    }
    fuzz_send(arena, &tensor);
    print(&tensor);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct gp_arena *arena = gp_arena_create();
    const uint8_t *end = size ? memchr(bytes, '\0', size) : NULL;
    const size_t length = end ? (size_t)(end - bytes) : size;
    const size_t file_size = end ? size - length - 1 : 0;
    FUZZ_CHECK(arena);
    char *word = fuzz_memory(length + 1);
    void *file;
    if (length)
        memcpy(word, bytes, length);
    word[length] = '\0';
    check(arena, word, fuzz_copy(end ? end + 1 : bytes, file_size, 0, &file), file_size);
    free(file);
    free(word);
    gp_arena_destroy(arena);
    return 0;
}
