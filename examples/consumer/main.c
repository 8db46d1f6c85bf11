/* A program with a model server inside: serves a function on a free port, asks it as any
 * client would, and stops it. */
#include <graphpipe/graphpipe.h>
#include <graphpipe/server.h>

#include <pthread.h>

static enum gp_status twice(void *self, const struct gp_call *call,
                            struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self;
    const struct gp_tensor *x = call->n_inputs ? &call->inputs[0] : NULL;
    const float *in = gp_tensor_data(x, GP_FLOAT32, err);
    float *y = NULL;
    if (in)
        y = gp_outputs_alloc(outputs, 0, GP_FLOAT32, x->shape, x->rank, err);
    for (size_t i = 0; y && i < x->size_bytes / sizeof *y; i++)
        y[i] = 2 * in[i];
    return y ? GP_OK : err->status;
}

static void *run(void *server)
{
    (void)gp_server_run(server, NULL);
    return NULL;
}

static int ask(const char *address)
{
    struct gp_error err;
    const int64_t shape[] = {3};
    const float numbers[] = {1, 2, 3};
    const struct gp_tensor input = gp_tensor_view(GP_FLOAT32, shape, 1, numbers);
    const struct gp_call call = {.inputs = &input, .n_inputs = 1};
    struct gp_result *result = NULL;
    struct gp_client *client = gp_client_create(address, NULL, &err);
    const float *answer = NULL;
    if (client && gp_client_infer(client, &call, &result, &err) == GP_OK)
        answer = gp_tensor_data(gp_result_output(result, 0), GP_FLOAT32, &err);
    if (answer)
        printf("graphpipe %s: twice 1 2 3 is %g %g %g\n", gp_version(), (double)answer[0],
               (double)answer[1], (double)answer[2]);
    else
        fprintf(stderr, "%s\n", err.message);
    gp_result_destroy(result);
    gp_client_destroy(client);
    return answer ? 0 : 1;
}

int main(void)
{
    struct gp_error err;
    const char *const listen[] = {"127.0.0.1:0"};
    const struct gp_server_options options = {
        .size_bytes = sizeof options, .listen = listen, .n_listen = 1};
    struct gp_server *server = gp_server_create_function(twice, NULL, &options, &err);
    pthread_t thread;
    if (!server || pthread_create(&thread, NULL, run, server) != 0) {
        fprintf(stderr, "cannot serve: %s\n", server ? "no thread" : err.message);
        gp_server_destroy(server);
        return 1;
    }
    const int status = ask(gp_server_address(server, 0));
    gp_server_stop(server);
    pthread_join(thread, NULL);
    gp_server_destroy(server);
    return status;
}
