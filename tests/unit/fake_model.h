/* A model of a test's own engine, and inferences that note what becomes of them. */
#ifndef GP_TESTS_FAKE_MODEL_H
#define GP_TESTS_FAKE_MODEL_H

#include "model/model.h"
#include "model/run.h"

struct fake_model {
    struct model model; /* held by the test */
    struct model_host host;
    struct log log; /* without a thread; silent until the test sets its descriptor */
    struct gp_engine engine;
    atomic_int n_left; /* how often its last user has let go */
};

/* What engines are called with. */
typedef enum gp_status fake_run(void *handle, uint32_t slot, const struct gp_call *call,
                                struct gp_outputs *outputs, struct gp_error *err);

void fake_model_begin(struct fake_model *fake, struct poller *poller, uint32_t n_slots,
                      unsigned max_waiting);
/* Nothing waits, every slot is free, and nobody else holds the model. */
void fake_model_end(struct fake_model *fake);

/* Runs of the engine; without it they succeed with no outputs. */
void fake_model_run_with(struct fake_model *fake, fake_run *run, void *handle);

/* It takes batches of so many rows, padded to these sizes, which are borrowed. */
void fake_model_batch(struct fake_model *fake, uint64_t max_rows, const uint32_t *sizes,
                      size_t n_sizes);

/* Its rows are cached, in this folder. */
void fake_model_cache(struct fake_model *fake, const char *dir);

struct fake_inference {
    struct inference inference; /* first */
    struct share_taker client;  /* its own, unless the test sets another */
    atomic_bool is_left;
    atomic_int n_asked; /* whether it is left */
    atomic_int n_back;
};

/* Bound, with no inputs and no outputs, for fake_inference_renew to be called before each use. */
void fake_inference_begin(struct fake_inference *fake, struct fake_model *model);
void fake_inference_end(struct fake_inference *fake);

/* As new, for another run, with this deadline (0: none). */
void fake_inference_renew(struct fake_inference *fake, int64_t deadline_ns);

/* The one that a run is of. */
struct fake_inference *fake_inference_of(const struct gp_call *call);

#endif
