#include "model/warm_up.h"

#include "base/clock.h"
#include "model/trial.h"
#include "model/warm_up_requests.h"

struct warm_up {
    struct warm_up_requests requests;
    int64_t limit_ns;
};

/* "warm-up request 2 of 5, requests/b: ..." */
static void explain_failure(struct trial *trial, const struct warm_up *warm_up,
                            size_t index)
{
    const struct warm_up_requests *requests = &warm_up->requests;
    const struct gp_error *why = &trial->inference.error;
    const char *path = requests->paths ? requests->paths[index] : "";
    if (trial_is_over(trial))
        gp_error_set(&trial->error, GP_UNAVAILABLE,
                     "the server ended during the warm-up");
    else if (why->status == GP_DEADLINE)
        gp_error_set(&trial->error, GP_DEADLINE,
                     "warm-up request %zu of %zu%s%.*s: still running after %lld ms",
                     index + 1, requests->n, *path ? ", " : "", gp_cut(path, 120), path,
                     (long long)(warm_up->limit_ns / CLOCK_MS));
    else
        gp_error_set(&trial->error, why->status, "warm-up request %zu of %zu%s%.*s: %s",
                     index + 1, requests->n, *path ? ", " : "", gp_cut(path, 120), path,
                     why->message);
}

static bool play_request(struct trial *trial, const struct warm_up *warm_up, size_t index)
{
    struct inference *inference = &trial->inference;
    trial_begin(trial);
    const bool is_well =
        warm_up_requests_read(&warm_up->requests, index, inference->arena,
                              &inference->run.engine_run, &trial->request,
                              &inference->error) == GP_OK &&
        trial_run(trial);
    if (!is_well)
        explain_failure(trial, warm_up, index);
    trial_end(trial);
    return is_well;
}

static bool play_requests(struct trial *trial, void *context)
{
    const struct warm_up *warm_up = context;
    bool is_well = true;
    for (size_t i = 0; i < warm_up->requests.n && is_well; i++)
        is_well = play_request(trial, warm_up, i);
    return is_well;
}

enum gp_status warm_up_model(struct model *model, const char *what, int64_t limit_ns,
                             struct gp_error *err)
{
    const int64_t began_ns = clock_now_ns();
    struct warm_up warm_up = {.limit_ns = limit_ns};
    const struct trial_plan plan = {.name = "warm-up",
                                    .model = model,
                                    .n_slots = model->slots.n,
                                    .limit_ns = limit_ns,
                                    .play = play_requests,
                                    .context = &warm_up};
    enum gp_status status = GP_OK;
    if (what)
        status = warm_up_requests_init(&warm_up.requests, model, what, err);
    if (status == GP_OK && warm_up.requests.n) {
        struct gp_error why;
        status = trials_run(&plan, &why);
        model->warm_up_ns = clock_now_ns() - began_ns;
        if (status != GP_OK)
            gp_error_set(err, status, "%s", why.message);
    }
    warm_up_requests_finish(&warm_up.requests);
    return status;
}
