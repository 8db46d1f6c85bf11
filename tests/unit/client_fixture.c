#include "client_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

char *seven;
size_t seven_size;

const struct gp_call no_inputs = {.n_inputs = 0};

int client_fixture_begin(void **state)
{
    (void)state;
    static const float value = 7;
    const struct gp_tensor output = gp_tensor_view(GP_FLOAT32, NULL, 0, &value);
    struct gp_encoding encoding;
    struct gp_arena *arena = gp_arena_create();
    assert_int_equal(gp_response_encode(arena, &output, 1, 0, &encoding, NULL), GP_OK);
    seven = scripted_flatten(&encoding);
    seven_size = encoding.size_bytes;
    gp_arena_destroy(arena);
    return 0;
}

int client_fixture_end(void **state)
{
    (void)state;
    free(seven);
    return 0;
}

void assert_works(struct gp_client *client)
{
    struct gp_result *result;
    struct gp_error err;
    if (gp_client_infer(client, &no_inputs, &result, &err) != GP_OK)
        fail_msg("%s", err.message);
    const float *value = gp_tensor_data(gp_result_output(result, 0), GP_FLOAT32, NULL);
    assert_true(*value == 7.0f);
    gp_result_destroy(result);
}

void with_large_call(void (*check)(struct gp_client *, const struct gp_call *),
                     struct gp_client *client)
{
    static const int64_t shape[] = {32 << 20};
    char *bytes = calloc(1, 32 << 20);
    assert_non_null(bytes);
    const struct gp_tensor input = gp_tensor_view(GP_UINT8, shape, 1, bytes);
    check(client, &(struct gp_call){.inputs = &input, .n_inputs = 1});
    free(bytes);
}
