/* The request that test_wire and test_wire_values break, and how they look at what comes
 * of it. */
#ifndef GP_TEST_WIRE_REQUEST_H
#define GP_TEST_WIRE_REQUEST_H

#include "test_wire_messages.h"

static const int64_t THREE[] = {3}, TWO_BY_TWO[] = {2, 2};
static const double DOUBLES[] = {1, 2, 3};
static const struct gp_string STRINGS[] = {
    {"one", 3}, {"", 0}, {"three", 5}, {"a\0b", 3}};

enum { N_INPUTS = 2 };

struct fixture {
    struct gp_arena *arena;
    struct bytes message;
    struct gp_request request;
    struct gp_error err;
};

/* float64[3] "numbers", string[2,2] "strings"; outputs "out". */
static inline struct bytes sound_request(struct gp_arena *arena)
{
    struct gp_tensor inputs[N_INPUTS] = {
        gp_tensor_view(GP_FLOAT64, THREE, 1, DOUBLES),
        gp_tensor_view(GP_STRING, TWO_BY_TWO, 2, STRINGS)};
    const char *outputs[] = {"out"};
    inputs[0].name = "numbers";
    inputs[1].name = "strings";
    const struct gp_call call = {.inputs = inputs,
                                 .n_inputs = N_INPUTS,
                                 .output_names = outputs,
                                 .n_outputs = 1,
                                 .config = "config"};
    struct gp_encoding encoding;
    assert_int_equal(gp_request_encode(arena, &call, &encoding, NULL), GP_OK);
    return bytes_of(&encoding);
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->arena = gp_arena_create();
    f->message = sound_request(f->arena);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    gp_arena_destroy(f->arena);
    free(f->message.data);
    free(f);
    return 0;
}

static inline enum gp_status decode(struct fixture *f)
{
    return gp_request_decode(f->arena, f->message.data, f->message.size, 0, &f->request,
                             &f->err);
}

static inline void assert_refused(struct fixture *f, enum gp_status status,
                                  const char *text)
{
    assert_int_equal(decode(f), status);
    assert_int_equal(f->err.status, status);
    assert_string_equal(f->err.message, text);
    assert_int_equal(gp_request_decode(f->arena, f->message.data, f->message.size, 0,
                                       &f->request, NULL),
                     status);
}

#endif
