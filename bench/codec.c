/* What writing and reading a request costs, next to copying its tensor: a batch of 128
 * pictures of 224 x 224 in float32 (77 MB), and one number. The machine is shared, so of
 * each figure the best of all rounds is printed.
 *
 *   cc -O2 -std=c11 -D_GNU_SOURCE -Iinclude bench/codec.c build/release/lib/libgraphpipe.a \
 *      -pthread -o build/codec
 *   build/codec [ROUNDS] */
#include <graphpipe/message.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1000 };

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static double encode(struct gp_arena *arena, const struct gp_call *call)
{
    struct gp_encoding out;
    const double start = now_us();
    for (int i = 0; i < BATCH; i++) {
        gp_arena_reset(arena);
        if (gp_request_encode(arena, call, &out, NULL) != GP_OK)
            abort();
    }
    return (now_us() - start) / BATCH;
}

static double decode(struct gp_arena *arena, const void *bytes, size_t size_bytes)
{
    struct gp_request request;
    const double start = now_us();
    for (int i = 0; i < BATCH; i++) {
        gp_arena_reset(arena);
        if (gp_request_decode(arena, bytes, size_bytes, 0, &request, NULL) != GP_OK)
            abort();
    }
    return (now_us() - start) / BATCH;
}

/* The message in one piece, as it arrives. */
static unsigned char *join(struct gp_arena *arena, const struct gp_call *call,
                           size_t *size_bytes)
{
    struct gp_encoding out;
    if (gp_request_encode(arena, call, &out, NULL) != GP_OK)
        abort();
    unsigned char *bytes = aligned_alloc(64, (out.size_bytes + 63) / 64 * 64);
    *size_bytes = 0;
    for (size_t i = 0; bytes && i < out.n_parts; i++) {
        memcpy(bytes + *size_bytes, out.parts[i].iov_base, out.parts[i].iov_len);
        *size_bytes += out.parts[i].iov_len;
    }
    return bytes;
}

static void measure(const char *what, const struct gp_tensor *input, int n_rounds)
{
    const struct gp_call call = {
        .size_bytes = sizeof call, .inputs = input, .n_inputs = 1};
    struct gp_arena *arena = gp_arena_create();
    size_t size;
    unsigned char *bytes = join(arena, &call, &size);
    unsigned char *copy = malloc(size);
    double best[3] = {1e9, 1e9, 1e9};
    if (!bytes || !copy)
        abort();
    for (int round = 0; round < n_rounds; round++) {
        const double encoded = encode(arena, &call), decoded = decode(arena, bytes, size);
        const double start = now_us();
        memcpy(copy, bytes, size);
        const double copied = now_us() - start;
        best[0] = encoded < best[0] ? encoded : best[0];
        best[1] = decoded < best[1] ? decoded : best[1];
        best[2] = copied < best[2] ? copied : best[2];
    }
    printf("%-10s %9zu bytes  encode %.2f us  decode %.2f us  memcpy %.1f us (%d)\n",
           what, size, best[0], best[1], best[2], copy[size - 1]);
    gp_arena_destroy(arena);
    free(bytes);
    free(copy);
}

int main(int argc, char **argv)
{
    static const int64_t pictures[] = {128, 3, 224, 224};
    const int n_rounds = argc > 1 ? atoi(argv[1]) : 20;
    const float one = 1;
    struct gp_tensor number = gp_tensor_view(GP_FLOAT32, NULL, 0, &one);
    struct gp_tensor batch = gp_tensor_view(GP_FLOAT32, pictures, 4, NULL);
    float *data = malloc(batch.size_bytes);
    if (!data)
        return 1;
    memset(data, 1, batch.size_bytes);
    batch.data = data;
    measure("one number", &number, n_rounds);
    measure("pictures", &batch, n_rounds);
    free(data);
    return 0;
}
