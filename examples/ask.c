/* Asks a model what it thinks of some numbers, and prints the beginning of its outputs.
 * Try it: graphpipe serve --engine echo & ask http://127.0.0.1:9000 1 2 3 4 */
#include <graphpipe/client.h>

#include <stdlib.h>

int main(int argc, char **argv)
{
    float numbers[64];
    int64_t n = 0;
    for (int i = 2; i < argc && n < 64; i++)
        numbers[n++] = strtof(argv[i], NULL);
    const struct gp_tensor input = gp_tensor_view(GP_FLOAT32, &n, 1, numbers);
    const struct gp_call call = {.inputs = &input, .n_inputs = 1};

    struct gp_error err;
    struct gp_result *result = NULL;
    struct gp_client *client =
        gp_client_create(argc > 1 ? argv[1] : "http://127.0.0.1:9000", NULL, &err);
    if (!client || gp_client_infer(client, &call, &result, &err) != GP_OK) {
        fprintf(stderr, "ask: %s\n", err.message);
        gp_client_destroy(client);
        return 1;
    }
    for (uint32_t i = 0; i < gp_result_count(result); i++) {
        const struct gp_tensor *output = gp_result_output(result, i);
        const float *values = gp_tensor_data(output, GP_FLOAT32, &err);
        char shape[64];
        printf("%s ",
               gp_shape_format(output->dtype, output->shape, output->rank, shape, 64));
        for (size_t k = 0; values && k < output->size_bytes / sizeof *values && k < 8;
             k++)
            printf(" %g", (double)values[k]);
        printf("\n");
    }
    gp_result_destroy(result);
    gp_client_destroy(client);
    return 0;
}
