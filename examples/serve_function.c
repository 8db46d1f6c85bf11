/* A model server made of a function: y = 2x, whatever the shape. Try it:
 *     serve_function &
 *     graphpipe infer http://127.0.0.1:9000 'float32[2,2]:1,2,3,4' */
#include <graphpipe/server.h>

static enum gp_status twice(void *self, const struct gp_call *call,
                            struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self;
    if (call->n_inputs != 1)
        return gp_error_set(err, GP_INVALID, "wanted 1 input, got %u", call->n_inputs);
    const struct gp_tensor *x = &call->inputs[0];
    const float *in = gp_tensor_data(x, GP_FLOAT32, err);
    float *out =
        in ? gp_outputs_alloc(outputs, 0, GP_FLOAT32, x->shape, x->rank, err) : NULL;
    for (size_t i = 0; out && i < x->size_bytes / sizeof *out; i++)
        out[i] = 2 * in[i];
    return out ? GP_OK : err->status;
}

int main(void)
{
    return gp_serve_function(twice, NULL, NULL);
}
