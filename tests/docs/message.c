/* Around the example of message.h: it reads a request and writes an answer, which are
 * made and looked at here. */
#include <graphpipe/message.h>

#include <string.h>
#include <unistd.h>

static int fail(const struct gp_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    return 1;
}

static int serve_one(const void *bytes, size_t size_bytes,
                     const struct gp_tensor *outputs, uint32_t n_outputs, int fd)
{
    struct gp_error err;
#include "example.inc"
    return 0;
}

int main(void)
{
    static char request_bytes[4096], answer_bytes[4096];
    struct gp_arena *mine = gp_arena_create();
    const float seven = 7;
    const struct gp_tensor scalar = gp_tensor_view(GP_FLOAT32, NULL, 0, &seven);
    const struct gp_call call = {.inputs = &scalar, .n_inputs = 1};
    struct gp_encoding encoding;
    struct gp_response response;
    struct gp_error failure;
    size_t size = 0;
    int ends[2];
    if (gp_request_encode(mine, &call, &encoding, &failure) != GP_OK || pipe(ends) != 0)
        return fail(&failure);
    for (size_t i = 0; i < encoding.n_parts; i++) {
        memcpy(request_bytes + size, encoding.parts[i].iov_base,
               encoding.parts[i].iov_len);
        size += encoding.parts[i].iov_len;
    }
    if (serve_one(request_bytes, size, &scalar, 1, ends[1]) != 0)
        return 1;
    const ssize_t n = read(ends[0], answer_bytes, sizeof answer_bytes);
    if (gp_response_decode(mine, answer_bytes, n > 0 ? (size_t)n : 0, 0, &response,
                           &failure) != GP_OK)
        return fail(&failure);
    const float *values = gp_tensor_data(response.outputs, GP_FLOAT32, &failure);
    printf("%g\n", values ? (double)*values : 0);
    gp_arena_destroy(mine);
    return 0;
}
