/* model/warm_up_requests.h - the requests of a warm-up: generated, or recorded in files.
 *
 * Generated requests are all alike: the default inputs, filled with zeros or empty strings. A dimension
 * that the model leaves open is 1, an input of any type is float32, and one of any rank has a single
 * element; so has the one input for a model that takes anything and describes nothing. A recorded request is a message as a client sends it, without the HTTP head.
 */
#ifndef GP_MODEL_WARM_UP_REQUESTS_H
#define GP_MODEL_WARM_UP_REQUESTS_H

#include "model/model.h"

enum { WARM_UP_MAX_REQUESTS = 10000 };

struct warm_up_requests {
    size_t n;
    struct gp_arena *arena;
    const char **paths;         /* of recorded requests; NULL: they are generated */
    struct gp_encoding message; /* of every generated request */
    void *zeros;                /* its data */
};

/* `what` is the warm_up of gp_model_options. Finish even if this fails; finish takes a zeroed one. */
enum gp_status warm_up_requests_init(struct warm_up_requests *requests,
                                     const struct model *model, const char *what,
                                     struct gp_error *err);
void warm_up_requests_finish(struct warm_up_requests *requests);

/* Reads request `index` as if it had been received: into the run's body, with views in the arena. From
 * any thread. */
enum gp_status warm_up_requests_read(const struct warm_up_requests *requests,
                                     size_t index, struct gp_arena *arena,
                                     struct engine_run *run, struct gp_request *request,
                                     struct gp_error *err);

/* The same for a recorded request, with all of it in the arena, and decoded. */
enum gp_status warm_up_requests_decode(const struct warm_up_requests *requests,
                                       size_t index, struct gp_arena *arena,
                                       struct gp_request *request, struct gp_error *err);

/* Reads a message that was just made as if it had been received, likewise. */
enum gp_status warm_up_requests_view(const struct gp_encoding *message,
                                     struct gp_arena *arena, struct engine_run *run,
                                     struct gp_request *request, struct gp_error *err);

#endif
