/* Around the example of status.h: nobody listens there, and it says so. */
#include <graphpipe/client.h>

int main(void)
{
    struct gp_client *client = gp_client_create("unix:/nobody/listens", NULL, NULL);
    const struct gp_call call = {0};
    struct gp_result *result = NULL;
#include "example.inc"
    gp_result_destroy(result);
    gp_client_destroy(client);
    return 0;
}
