#include "tenants.h"

#include "chance.h"
#include "fake_model.h"

/* Opened, one after the other. */
enum { MAX_TENANTS = 1000, N_VERSIONS = 3, MAX_WAITING = 16 };

struct tenant {
    struct model_host host; /* tells it apart from one that had its address before */
    struct tenants *all;
    const struct model *model;
    atomic_int n_inferences; /* that hold it */
    atomic_int n_left;
    atomic_bool is_closed;
};

struct tenants {
    struct models models;
    const struct model_host *host;
    tenants_work *work;
    struct tenant of[MAX_TENANTS];
    unsigned n;
    pthread_mutex_t left_lock;
    struct model *left; /* to be closed */
};

static struct tenant *tenant_of(const struct model *model)
{
    return model->host->left_context;
}

static void check_open(struct model *model, void *arg)
{
    (void)arg;
    CHECK(!atomic_load(&tenant_of(model)->is_closed));
    CHECK(!atomic_load(&tenant_of(model)->n_left));
}

static void leave_model(void *context, struct model *model)
{
    struct tenant *tenant = context;
    struct tenants *tenants = tenant->all;
    CHECK(model == tenant->model);
    CHECK(!atomic_load(&tenant->n_inferences));
    CHECK(atomic_fetch_add(&tenant->n_left, 1) == 0);
    pthread_mutex_lock(&tenants->left_lock);
    model->next_left = tenants->left;
    tenants->left = model;
    pthread_mutex_unlock(&tenants->left_lock);
}

static enum gp_status run_tenant(void *self, const struct gp_call *call,
                                 struct gp_outputs *outputs, struct gp_error *err)
{
    struct tenant *tenant = self;
    (void)outputs;
    CHECK(fake_inference_of(call)->inference.model == tenant->model);
    const enum gp_status status = tenant->all->work(call, err);
    CHECK(!atomic_load(&tenant->n_left));
    CHECK(!atomic_load(&tenant->is_closed));
    return status;
}

static struct model_entry *any_entry(struct tenants *tenants)
{
    return tenants->models.entries[any((unsigned)tenants->models.n_entries)];
}

static void publish_any(struct tenants *tenants)
{
    if (tenants->n == MAX_TENANTS)
        return;
    struct tenant *tenant = &tenants->of[tenants->n++];
    const struct gp_model_options options = {
        .name = "m", .n_slots = 1 + any(2), .max_waiting = 1 + any(MAX_WAITING)};
    tenant->all = tenants;
    tenant->host = *tenants->host;
    tenant->host.left = leave_model;
    tenant->host.left_context = tenant;
    struct model *model =
        model_open_function(&tenant->host, run_tenant, tenant, &options, NULL, NULL);
    struct model_version *version =
        models_version(&tenants->models, any_entry(tenants), 1 + any(N_VERSIONS));
    CHECK(model && version);
    tenant->model = model;
    models_publish(&tenants->models, version, model);
}

static void retire_any(struct tenants *tenants)
{
    struct model_entry *entry = any_entry(tenants);
    struct model_version *version = entry->versions;
    while (version && version->next && any(2))
        version = version->next;
    if (version)
        models_retire(&tenants->models, entry, version);
}

static void close_left(struct tenants *tenants)
{
    pthread_mutex_lock(&tenants->left_lock);
    struct model *model = tenants->left;
    tenants->left = NULL;
    pthread_mutex_unlock(&tenants->left_lock);
    while (model) {
        struct model *next = model->next_left;
        CHECK(atomic_load(&model->n_users) == 0);
        CHECK(!atomic_exchange(&tenant_of(model)->is_closed, true));
        models_close(&tenants->models, model);
        model = next;
    }
}

void tenants_change(struct tenants *tenants)
{
    switch (any(4)) {
    case 0:
        publish_any(tenants);
        break;
    case 1:
        retire_any(tenants);
        break;
    case 2:
        close_left(tenants);
        break;
    default:
        models_each(&tenants->models, check_open, NULL);
    }
}

struct tenants *tenants_begin(const struct model_host *host, tenants_work *work)
{
    static const struct gp_model_options options[] = {{.name = "a"}, {.name = "b"}};
    struct tenants *tenants = calloc(1, sizeof *tenants);
    struct gp_error err;
    CHECK(tenants);
    tenants->host = host;
    tenants->work = work;
    models_init(&tenants->models);
    pthread_mutex_init(&tenants->left_lock, NULL);
    for (int i = 0; i < 2; i++)
        CHECK(models_add(&tenants->models, &options[i], &err));
    CHECK(models_set_default(&tenants->models, "b", &err) == GP_OK);
    return tenants;
}

/* All that were opened have been left and closed, each once. */
void tenants_end(struct tenants *tenants)
{
    for (size_t i = 0; i < tenants->models.n_entries; i++)
        while (tenants->models.entries[i]->versions)
            models_retire(&tenants->models, tenants->models.entries[i],
                          tenants->models.entries[i]->versions);
    close_left(tenants);
    for (unsigned i = 0; i < tenants->n; i++) {
        CHECK(tenants->of[i].n_left == 1);
        CHECK(tenants->of[i].is_closed);
    }
    CHECK(!tenants->models.open);
    models_finish(&tenants->models);
    pthread_mutex_destroy(&tenants->left_lock);
    free(tenants);
}

void tenants_each(struct tenants *tenants, void (*visit)(struct model *model, void *arg))
{
    models_each(&tenants->models, visit, NULL);
}

bool tenants_hold(struct tenants *tenants, struct inference *inference)
{
    static const char *const paths[] = {
        "/", "/a", "/a/versions/1", "/b", "/b/versions/2", "/b/versions/3"};
    struct gp_error err;
    struct model *model =
        models_find(&tenants->models, paths[any(sizeof paths / sizeof *paths)], &err);
    if (!model) {
        CHECK(err.status == GP_NOT_FOUND || err.status == GP_UNAVAILABLE);
        return false;
    }
    check_open(model, NULL);
    atomic_fetch_add(&tenant_of(model)->n_inferences, 1);
    if (any(16) == 0)
        models_each(&tenants->models, check_open, NULL);
    inference->model = model;
    return true;
}

void tenants_drop(struct inference *inference)
{
    check_open(inference->model, NULL);
    atomic_fetch_sub(&tenant_of(inference->model)->n_inferences, 1);
    model_drop(inference->model);
}
