/* Around C of documents that is a few statements: what they take as given. */
#include <graphpipe/graphpipe.h>

enum gp_status fragment(struct gp_client *client, struct gp_result *result,
                        struct gp_call call, const int64_t *shape, float *pixels,
                        struct gp_error err);
enum gp_status fragment(struct gp_client *client, struct gp_result *result,
                        struct gp_call call, const int64_t *shape, float *pixels,
                        struct gp_error err)
{
    {
#include "example.inc"
    }
    return err.status;
}
