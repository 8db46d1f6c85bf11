#include "server/metrics_models.h"

#include <inttypes.h>

/* Those of the children of models that are closed. */
static void add_counted(struct metrics_version *version)
{
    const struct counters *counters = &version->counts->counters;
    struct isolate_counts *children = &version->children;
    children->n_restarts = counters_sum(counters, COUNTS_CHILD_RESTARTS);
    for (unsigned i = 0; i < 4; i++) {
        children->ended[i] = counters_sum(counters, COUNTS_CHILD_ENDED + i);
        version->has_children = version->has_children || children->ended[i];
    }
}

static void add_children(struct metrics_version *version, struct isolate *isolate)
{
    const struct isolate_counts now = isolate_count(isolate);
    struct isolate_counts *children = &version->children;
    version->has_children = true;
    children->n_restarts += now.n_restarts;
    for (int i = 0; i < 4; i++) {
        children->children[i] += now.children[i];
        children->ended[i] += now.ended[i];
    }
}

/* Several models are open while one takes over from another. */
static void add_open(struct metrics_version *version, const struct models *models)
{
    for (struct model *model = models->open; model; model = model->next) {
        if (model->counts != version->counts)
            continue;
        version->n_waiting += slots_n_waiting(&model->slots);
        version->n_slots += model->slots.n;
        version->has_batches = version->has_batches || model->batch_rules.max_rows > 1;
        version->has_cache = version->has_cache || model->flights;
        if (model->isolate)
            add_children(version, model->isolate);
    }
}

static void add_state(struct metrics_version *version, const struct model_entry *entry)
{
    const struct model_version *from = entry->versions;
    while (from && from->counts != version->counts)
        from = from->next;
    if (!from)
        return;
    version->is_there = true;
    version->state = from->state;
    version->has_failed = from->error.status != GP_OK;
    version->load_ns = from->model ? from->model->load_ns : 0;
    version->warm_up_ns = from->model ? from->model->warm_up_ns : 0;
}

static bool collect_version(struct metrics_models *all, const struct model_entry *entry,
                            struct counts *counts)
{
    struct metrics_version *version = gp_arena_alloc(all->arena, sizeof *version);
    if (!version)
        return false;
    *version = (struct metrics_version){.counts = counts};
    counts_hold(counts);
    *all->end = version;
    all->end = &version->next;
    text_puts(&version->labels, "model=");
    text_label(&version->labels, entry->name);
    text_printf(&version->labels, ",version=\"%" PRIu64 "\"", counts->version);
    add_state(version, entry);
    add_counted(version);
    add_open(version, all->models);
    return !version->labels.is_short;
}

/* With the table locked. */
static void collect_entry(const struct model_entry *entry, void *arg)
{
    struct metrics_models *all = arg;
    for (struct counts *counts = entry->counts; counts; counts = counts->next)
        all->is_short = !collect_version(all, entry, counts) || all->is_short;
}

bool metrics_collect_models(struct models *models, struct gp_arena *arena,
                            struct metrics_models *all)
{
    *all = (struct metrics_models){.models = models, .arena = arena, .end = &all->first};
    models_list(models, collect_entry, all);
    return !all->is_short;
}

void metrics_drop_models(struct metrics_models *all)
{
    for (struct metrics_version *version = all->first; version; version = version->next) {
        text_finish(&version->labels);
        counts_drop(version->counts);
    }
}
