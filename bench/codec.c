/* What writing and reading a message costs, next to copying its tensor once: a request
 * with 128 pictures of 224 x 224 in float32 (77 MB), and a response with their features,
 * 128 x 7 x 7 x 512 (12.8 MB). And how that grows with the tensor, from 1 KB to 1 GB:
 * there the tensor is memory that nobody has touched yet, and nobody does. bench/codec.py
 * runs it.
 *
 *   codec          prints one line of JSON, times in microseconds */
#include <graphpipe/message.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { BATCH = 1000, N_TIMES = 9 };

struct message {
    bool is_request;
    struct gp_tensor tensor;
    unsigned char *bytes; /* in one piece, as it arrives */
    size_t size_bytes;
    unsigned char *copy; /* of the tensor: memory that was used before */
};

static struct gp_arena *arena;

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void need(bool worked, const char *what)
{
    if (worked)
        return;
    fprintf(stderr, "codec: %s failed\n", what);
    exit(1);
}

static unsigned char *map(size_t size_bytes)
{
    void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    need(memory != MAP_FAILED, "mmap");
    return memory;
}

static void encode(const struct message *message, struct gp_encoding *out)
{
    const struct gp_call call = {
        .size_bytes = sizeof call, .inputs = &message->tensor, .n_inputs = 1};
    gp_arena_reset(arena);
    need((message->is_request
              ? gp_request_encode(arena, &call, out, NULL)
              : gp_response_encode(arena, &message->tensor, 1, 0, out, NULL)) == GP_OK,
         "encoding");
}

static void decode(const struct message *message)
{
    struct gp_request request;
    struct gp_response response;
    gp_arena_reset(arena);
    need((message->is_request
              ? gp_request_decode(arena, message->bytes, message->size_bytes, 0, &request,
                                  NULL)
              : gp_response_decode(arena, message->bytes, message->size_bytes, 0,
                                   &response, NULL)) == GP_OK,
         "decoding");
}

static double encode_us(const struct message *message)
{
    struct gp_encoding out;
    const double start = now_us();
    for (int i = 0; i < BATCH; i++)
        encode(message, &out);
    return (now_us() - start) / BATCH;
}

static double decode_us(const struct message *message)
{
    const double start = now_us();
    for (int i = 0; i < BATCH; i++)
        decode(message);
    return (now_us() - start) / BATCH;
}

/* The bytes of a message: all but those of a tensor that is sent from where it lies. */
static void join(struct message *message)
{
    struct gp_encoding out;
    encode(message, &out);
    message->size_bytes = out.size_bytes;
    message->bytes = map(out.size_bytes);
    size_t at = 0;
    for (size_t i = 0; i < out.n_parts; i++) {
        if (out.parts[i].iov_base != message->tensor.data)
            memcpy(message->bytes + at, out.parts[i].iov_base, out.parts[i].iov_len);
        at += out.parts[i].iov_len;
    }
}

static double copy_us(const struct message *message)
{
    const double start = now_us();
    memcpy(message->copy, message->tensor.data, message->tensor.size_bytes);
    return now_us() - start;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double (*time_us)(const struct message *),
                     const struct message *message)
{
    double took[N_TIMES];
    for (int i = 0; i < N_TIMES; i++)
        took[i] = time_us(message);
    qsort(took, N_TIMES, sizeof took[0], ascending);
    return took[N_TIMES / 2];
}

static void measure(const char *what, bool is_request, const int64_t *shape)
{
    struct message message = {.is_request = is_request,
                              .tensor = gp_tensor_view(GP_FLOAT32, shape, 4, NULL)};
    const size_t size = message.tensor.size_bytes;
    unsigned char *data = map(size);
    memset(data, 1, size);
    message.tensor.data = data;
    message.copy = map(size);
    memset(message.copy, 2, size);
    join(&message);
    printf("\"%s\": {\"bytes\": %zu, ", what, size);
    printf("\"encode\": %.4f, ", median(encode_us, &message));
    printf("\"decode\": %.4f, ", median(decode_us, &message));
    printf("\"memcpy\": %.1f}, ", median(copy_us, &message));
    need(memcmp(message.copy, data, size) == 0, "copying");
    munmap(message.copy, size);
    munmap(message.bytes, message.size_bytes);
    munmap(data, size);
}

static void measure_growth(void)
{
    static const int64_t ends = 1 << 30;
    printf("\"curve\": [");
    for (int64_t size = 1 << 10; size <= ends; size <<= 2) {
        const int64_t shape[] = {size / 4};
        struct message message = {.is_request = true,
                                  .tensor = gp_tensor_view(GP_FLOAT32, shape, 1, NULL)};
        unsigned char *data = map((size_t)size);
        message.tensor.data = data;
        join(&message);
        printf("[%lld, %.4f, %.4f]%s", (long long)size, median(encode_us, &message),
               median(decode_us, &message), size < ends ? ", " : "]");
        munmap(message.bytes, message.size_bytes);
        munmap(data, (size_t)size);
    }
}

int main(void)
{
    static const int64_t pictures[] = {128, 224, 224, 3}, features[] = {128, 7, 7, 512};
    arena = gp_arena_create();
    need(arena != NULL, "gp_arena_create");
    printf("{");
    measure("request", true, pictures);
    measure("response", false, features);
    measure_growth();
    printf("}\n");
    gp_arena_destroy(arena);
    return 0;
}
