/* cores.h - how many runs want the cores, for engines that choose a run's threads by that. */
#ifndef GP_ENGINES_CORES_H
#define GP_ENGINES_CORES_H

#include <graphpipe/engine.h>

/* The runs that share the cores as this one begins: those of its own model, n_own with this
 * one, or more where the host knows of others. */
static inline uint32_t cores_n_runs(const struct gp_call *call, uint32_t n_own,
                                    uint32_t n_cores)
{
    const uint32_t n_free = GP_HAS(call, n_free_cores) ? call->n_free_cores : 0;
    const uint32_t n_all = n_free && n_free < n_cores ? n_cores - n_free + 1 : 1;
    return n_all > n_own ? n_all : n_own;
}

#endif
