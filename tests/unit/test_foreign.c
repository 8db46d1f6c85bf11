/* What is no message is named. */
#include <graphpipe/message.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sample {
    const char *bytes;
    size_t size_bytes;
    const char *said;
};

#define SAMPLE(bytes, said)                                                              \
    {                                                                                    \
        bytes, sizeof(bytes) - 1, said                                                   \
    }

/* In memory of its own size, so that a byte too far is noticed. */
static void refuse(const struct sample *sample, bool is_answer, struct gp_error *err)
{
    struct gp_arena *arena = gp_arena_create();
    char *bytes = malloc(sample->size_bytes + !sample->size_bytes);
    struct gp_request request;
    struct gp_response response;
    assert_non_null(bytes);
    memcpy(bytes, sample->bytes, sample->size_bytes);
    const enum gp_status status =
        is_answer
            ? gp_response_decode(arena, bytes, sample->size_bytes, 0, &response, err)
            : gp_request_decode(arena, bytes, sample->size_bytes, 0, &request, err);
    assert_int_equal(status, GP_MALFORMED);
    free(bytes);
    gp_arena_destroy(arena);
}

static void kinds_are_named(void **state)
{
    static const struct sample samples[] = {
        SAMPLE("{\"inputs\": [1]}", "JSON"),
        SAMPLE("{}", "JSON"),
        SAMPLE(" \t\r\n[[1, 2], [3, 4]]", "JSON"),
        SAMPLE("<!doctype html>", "HTML or XML"),
        SAMPLE("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
        SAMPLE("\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        SAMPLE("GIF89a..", "a GIF picture"),
        SAMPLE("RIFF\x24\0\0\0WEBP", "a WebP picture or a sound"),
        SAMPLE("II*\0\x08\0\0\0", "a TIFF picture"),
        SAMPLE("MM\0*\0\0\0\x08", "a TIFF picture"),
        SAMPLE("%PDF-1.7", "a PDF document"),
        SAMPLE("\x1f\x8b\x08\0\0\0\0\0\0\x03", "gzip data"),
        SAMPLE("\x28\xb5\x2f\xfd\x24\0\0\0", "Zstandard data"),
        SAMPLE("PK\3\4\x14\0\0\0", "a zip archive"),
        SAMPLE("\x93NUMPY\1\0", "a .npy file"),
        SAMPLE("--abc\r\nContent-Disposition: form-data", "a multipart form"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct gp_error err;
        char wanted[128];
        refuse(&samples[i], false, &err);
        snprintf(wanted, sizeof wanted, "request: %s", samples[i].said);
        assert_memory_equal(err.message, wanted, strlen(wanted));
        assert_non_null(strstr(err.message, ", not a GraphPipe message; "));
        refuse(&samples[i], true, &err);
        snprintf(wanted, sizeof wanted, "response: %s", samples[i].said);
        assert_memory_equal(err.message, wanted, strlen(wanted));
        assert_null(strchr(err.message, ';')); /* nothing is sent */
    }
}

static void others_are_not(void **state)
{
    static const struct sample samples[] = {
        SAMPLE("", "0 bytes are too few"),
        SAMPLE(" \n", "2 bytes are too few"),
        SAMPLE("GIF", "3 bytes are too few"),
        SAMPLE("inputs={1}", "root table offset"),
        SAMPLE("\0{\"inputs", "root table offset"),
        SAMPLE("        ", "root table offset"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct gp_error err;
        refuse(&samples[i], false, &err);
        assert_non_null(strstr(err.message, samples[i].said));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_named),
        cmocka_unit_test(others_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
