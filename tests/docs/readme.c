/* Around the C of README.md: it asks a server that gives back what it gets. */
#include <graphpipe/client.h>

int main(void)
{
    static float pixels[1 * 3 * 224 * 224];
    const int64_t shape[] = {1, 3, 224, 224};
    struct gp_result *result = NULL;
    struct gp_error err;
#include "example.inc"
    const uint32_t n = gp_result_count(result);
    gp_result_destroy(result);
    gp_client_destroy(client);
    return n == 1 ? 0 : 1;
}
