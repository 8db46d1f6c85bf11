#include "model/signature.h"

#include <string.h>

bool signature_has_rows(const struct inference *inference)
{
    const uint32_t n = inference->run.engine_run.call.n_inputs;
    for (uint32_t i = 0; i < n; i++)
        if (!inference->inputs[i].rank ||
            (uint64_t)inference->inputs[i].shape[0] != inference->n_rows)
            return false;
    return n;
}

/* Names of a described model are mostly the same pointers. */
static bool are_equal_names(const char *a, const char *b)
{
    return a == b || strcmp(a ? a : "", b ? b : "") == 0;
}

static bool are_equal_rows(const struct gp_tensor *a, const struct gp_tensor *b)
{
    return a->rank == b->rank && are_equal_names(a->name, b->name) &&
           memcmp(a->shape + 1, b->shape + 1, (a->rank - 1) * sizeof *a->shape) == 0;
}

bool signature_matches(const struct inference *a, const struct inference *b)
{
    const struct gp_call *call_a = &a->run.engine_run.call;
    const struct gp_call *call_b = &b->run.engine_run.call;
    if (call_a->n_inputs != call_b->n_inputs || call_a->n_outputs != call_b->n_outputs ||
        !are_equal_names(call_a->config, call_b->config))
        return false;
    for (uint32_t i = 0; i < call_a->n_inputs; i++)
        if (a->wanted[i] != b->wanted[i] || !are_equal_rows(&a->inputs[i], &b->inputs[i]))
            return false;
    for (uint32_t i = 0; i < call_a->n_outputs; i++)
        if (!are_equal_names(call_a->output_names[i], call_b->output_names[i]))
            return false;
    return true;
}
