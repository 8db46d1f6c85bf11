/* Models that come and go in a table, for what must hold whoever does what at the same time: each goes
 * once, after the last inference that holds it. One thread is their loader, and calls everything
 * but hold and drop. */
#ifndef GP_TESTS_TENANTS_H
#define GP_TESTS_TENANTS_H

#include "model/models.h"

struct tenants;

/* What their engine does. */
typedef enum gp_status tenants_work(const struct gp_call *call, struct gp_error *err);

/* The host gives them a pool and a poller. */
struct tenants *tenants_begin(const struct model_host *host, tenants_work *work);

/* Nobody holds any. */
void tenants_end(struct tenants *tenants);

/* Opens one, takes one away, or closes those that have been left. */
void tenants_change(struct tenants *tenants);

void tenants_each(struct tenants *tenants, void (*visit)(struct model *model, void *arg));

/* Sets the inference's model by an address. False: there is none there now. */
bool tenants_hold(struct tenants *tenants, struct inference *inference);
void tenants_drop(struct inference *inference);

#endif
