/* Files of .npy: what is read can be sent in a message, and is written and read again as
 * it was. Bytes that do not begin as a file does are made one: the version, the header's
 * text up to a NUL, the elements; its length, which mutations would seldom get right, is
 * put in. */
#include "fuzz.h"

#include "cli/npy.h"

#include <stdlib.h>
#include <string.h>

static void write_and_read(struct gp_arena *arena, const struct gp_tensor *tensor)
{
    struct gp_encoding encoding;
    struct gp_tensor again;
    FUZZ_CHECK(npy_encode(arena, tensor, &encoding, NULL) == GP_OK);
    unsigned char *file = fuzz_join(&encoding);
    FUZZ_CHECK(npy_decode(arena, file, encoding.size_bytes, &again, NULL) == GP_OK);
    FUZZ_CHECK(fuzz_same_tensors(tensor, &again, 1));
    free(file);
}

static void check(const uint8_t *bytes, size_t size)
{
    struct gp_arena *arena = gp_arena_create();
    struct gp_tensor tensor;
    struct gp_error err;
    FUZZ_CHECK(arena);
    const enum gp_status status = npy_decode(arena, bytes, size, &tensor, &err);
    if (status != GP_OK) {
        fuzz_check_refusal(status, &err);
    } else {
        fuzz_send(arena, &tensor);
        write_and_read(arena, &tensor);
    }
    gp_arena_destroy(arena);
}

static void check_made(unsigned char version, const uint8_t *text, size_t size)
{
    const uint8_t *end = memchr(text, '\0', size);
    const size_t length = end ? (size_t)(end - text) : size;
    const size_t data_size = end ? size - length - 1 : 0;
    const size_t n_digits = version == 1 ? 2 : 4, start = 8 + n_digits;
    unsigned char *file = fuzz_memory(start + length + data_size);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = version;
    file[7] = 0;
    for (size_t i = 0; i < n_digits; i++)
        file[8 + i] = (unsigned char)(length >> 8 * i);
    memcpy(file + start, text, length);
    if (data_size)
        memcpy(file + start + length, end + 1, data_size);
    check(file, start + length + data_size);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size > 0 && bytes[0] != 0x93)
        check_made(bytes[0], bytes + 1, size - 1);
    else
        check(bytes, size);
    return 0;
}
