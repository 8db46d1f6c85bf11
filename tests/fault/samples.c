#include "samples.h"

#include <graphpipe/message.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_LARGE = 20000, N_HUGE = 300000, CHUNK_BYTES = 9000, HEAD_BYTES = 512 };

#define MESSAGE "Accept: application/x-graphpipe\r\n"

struct sample samples[MOST_SAMPLES];
size_t n_samples;

static float floats[N_HUGE];

/* A sample with so much room for its bytes. */
static struct sample *add(const char *name, size_t room)
{
    struct sample *sample = &samples[n_samples++];
    assert_true(n_samples <= MOST_SAMPLES);
    *sample = (struct sample){.name = name, .n_answers = 1, .bytes = malloc(room)};
    assert_non_null(sample->bytes);
    return sample;
}

static void put(struct sample *sample, const void *bytes, size_t size)
{
    memcpy(sample->bytes + sample->size, bytes, size);
    sample->size += size;
}

static void put_text(struct sample *sample, const char *text)
{
    put(sample, text, strlen(text));
}

static void put_message(struct sample *sample, const struct gp_encoding *message)
{
    for (size_t i = 0; i < message->n_parts; i++)
        put(sample, message->parts[i].iov_base, message->parts[i].iov_len);
}

static void put_post(struct sample *sample, const char *fields, size_t size)
{
    char head[HEAD_BYTES];
    snprintf(head, sizeof head,
             "POST / HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n", fields, size);
    put_text(sample, head);
}

static void add_post(const char *name, const char *fields,
                     const struct gp_encoding *message)
{
    struct sample *sample = add(name, HEAD_BYTES + message->size_bytes);
    put_post(sample, fields, message->size_bytes);
    put_message(sample, message);
}

static struct sample *add_text(const char *name, const char *text)
{
    struct sample *sample = add(name, strlen(text));
    put_text(sample, text);
    return sample;
}

/* The body in chunks, none of which says how large all will be. */
static void add_chunked(const struct gp_encoding *message)
{
    struct sample *sample = add("chunked", 4 * HEAD_BYTES + 2 * message->size_bytes);
    put_text(sample, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < message->n_parts; i++) {
        const char *at = message->parts[i].iov_base;
        for (size_t left = message->parts[i].iov_len, n; left; left -= n, at += n) {
            char line[32];
            n = left < CHUNK_BYTES ? left : CHUNK_BYTES;
            snprintf(line, sizeof line, "%zx\r\n", n);
            put_text(sample, line);
            put(sample, at, n);
            put_text(sample, "\r\n");
        }
    }
    put_text(sample, "0\r\n\r\n");
}

static void add_pipelined(const struct gp_encoding *message)
{
    struct sample *sample = add("pipelined", 4 * HEAD_BYTES + 2 * message->size_bytes);
    sample->n_answers = 3;
    put_post(sample, MESSAGE, message->size_bytes);
    put_message(sample, message);
    put_text(sample, "GET /control/is_ready HTTP/1.1\r\nHost: h\r\n\r\n");
    put_post(sample, "", message->size_bytes);
    put_message(sample, message);
}

static void encode(struct gp_arena *arena, int64_t n_floats, struct gp_encoding *message)
{
    static const int64_t three[] = {3};
    static const unsigned char bools[] = {0, 1, 1};
    static const uint16_t halves[] = {0x3f80, 0x4000, 0x4040};
    static const struct gp_string strings[] = {{"one", 3}, {"", 0}, {"three", 5}};
    int64_t *shape = gp_arena_alloc(arena, sizeof *shape);
    *shape = n_floats;
    const struct gp_tensor inputs[] = {gp_tensor_view(GP_FLOAT32, shape, 1, floats),
                                       gp_tensor_view(GP_BOOL, three, 1, bools),
                                       gp_tensor_view(GP_BFLOAT16, three, 1, halves),
                                       gp_tensor_view(GP_STRING, three, 1, strings)};
    const struct gp_call call = {.inputs = inputs, .n_inputs = 4};
    assert_int_equal(gp_request_encode(arena, &call, message, NULL), GP_OK);
}

static void make_requests(struct gp_arena *arena)
{
    struct gp_encoding small, large, huge, metadata;
    encode(arena, 30, &small);
    encode(arena, N_LARGE, &large);
    encode(arena, N_HUGE, &huge);
    assert_int_equal(gp_metadata_request_encode(arena, &metadata, NULL), GP_OK);
    add_post("2018", "", &large);
    add_post("message", MESSAGE, &large);
    add_post("mapped", MESSAGE, &huge);
    add_chunked(&large);
    add_pipelined(&small);
    add_post("metadata", MESSAGE, &metadata);
    add_post("metadata of 2018", "", &metadata);
    metadata.size_bytes = metadata.parts[0].iov_len - 8;
    struct sample *broken = add("broken", HEAD_BYTES + metadata.size_bytes);
    put_post(broken, MESSAGE, metadata.size_bytes);
    put(broken, metadata.parts[0].iov_base, metadata.size_bytes);
    add_text("page", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    add_text("head", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")->is_head = true;
    add_text("metrics", "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")->is_varying = true;
    add_text("ready", "GET /control/is_ready HTTP/1.1\r\nHost: h\r\n"
                      "Accept: application/json\r\n\r\n");
    add_text("reserved",
             "GET /v1/x HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n");
    add_text("bad head", "GET / HTTP/1.1\r\nBad Field: 1\r\n\r\n");
}

void samples_make(const struct gp_server_options *options)
{
    struct site site;
    struct gp_arena *arena = gp_arena_create();
    make_requests(arena);
    gp_arena_destroy(arena);
    site_open(&site, options);
    for (size_t s = 0; s < n_samples; s++) {
        struct sample *sample = &samples[s];
        struct peer peer;
        peer_open(&peer, &site);
        peer_send(&peer, sample->bytes, sample->size);
        for (size_t i = 0; i < sample->n_answers; i++) {
            const struct reply answer = peer_receive(&peer, sample->is_head);
            assert_int_not_equal(answer.status, 0);
            sample->status[i] = answer.status;
            sample->body_size[i] = answer.size;
            sample->body[i] = malloc(answer.size + 1);
            memcpy(sample->body[i], answer.body, answer.size);
        }
        peer_close(&peer);
    }
    site_close(&site);
}

void samples_free(void)
{
    for (size_t s = 0; s < n_samples; s++) {
        free(samples[s].bytes);
        for (size_t i = 0; i < MOST_ANSWERS; i++)
            free(samples[s].body[i]);
    }
    n_samples = 0;
}

struct reply sample_judge(const struct sample *sample, struct peer *peer, bool may_fail)
{
    struct reply answer = {0};
    for (size_t i = 0; i < sample->n_answers && !answer.is_last; i++) {
        answer = peer_receive(peer, sample->is_head);
        if (may_fail && (answer.status == 0 || answer.status == 503))
            continue;
        if (answer.status != sample->status[i])
            fail_msg("%s: answer %zu is %d, not %d: %.*s", sample->name, i, answer.status,
                     sample->status[i], (int)(answer.size < 300 ? answer.size : 300),
                     answer.body ? answer.body : "");
        if (sample->is_varying || (may_fail && answer.status >= 400 && answer.size))
            continue; /* what went wrong may be said as text where a message failed */
        assert_int_equal(answer.size, sample->body_size[i]);
        assert_memory_equal(answer.body, sample->body[i], answer.size);
    }
    return answer;
}

void sample_succeeds(const struct sample *sample, struct peer *peer)
{
    peer_send(peer, sample->bytes, sample->size);
    sample_judge(sample, peer, false);
}
