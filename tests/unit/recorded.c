#include "recorded.h"

#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

void recorded_put_message(const char *path, const struct gp_encoding *message)
{
    tree_put(path, "");
    FILE *file = fopen(tree_path(path), "wb");
    assert_non_null(file);
    for (size_t i = 0; i < message->n_parts; i++)
        assert_int_equal(
            fwrite(message->parts[i].iov_base, 1, message->parts[i].iov_len, file),
            message->parts[i].iov_len);
    assert_int_equal(fclose(file), 0);
}

void recorded_put(const char *path, const char *name, float value, const char *config)
{
    const float values[] = {value, value, value};
    const int64_t shape[] = {1, 3};
    const struct gp_tensor tensor = {name, shape, values, sizeof values, GP_FLOAT32, 2};
    const struct gp_call call = {
        .size_bytes = sizeof call, .inputs = &tensor, .n_inputs = 1, .config = config};
    struct gp_encoding message;
    struct gp_arena *arena = gp_arena_create();
    assert_int_equal(gp_request_encode(arena, &call, &message, NULL), GP_OK);
    recorded_put_message(path, &message);
    gp_arena_destroy(arena);
}
