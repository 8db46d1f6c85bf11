#include "served.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct model_entry *served_entry(struct gp_server *server,
                                 const struct gp_model_options *options)
{
    struct gp_error err;
    struct model_entry *entry = models_add(&server->models, options, &err);
    if (!entry)
        fail_msg("%s", err.message);
    return entry;
}

static struct model_version *version_of(struct gp_server *server,
                                        struct model_entry *entry, uint64_t number)
{
    struct model_version *version = models_version(&server->models, entry, number);
    assert_non_null(version);
    return version;
}

void served_state(struct gp_server *server, struct model_entry *entry, uint64_t number,
                  enum model_state state, const char *why)
{
    struct gp_error err = {GP_OK, ""};
    if (why)
        gp_error_set(&err, GP_IO, "%s", why);
    models_set_state(&server->models, version_of(server, entry, number), state, &err);
}

static enum gp_status answer_nothing(void *self, const struct gp_call *call,
                                     struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self, (void)call, (void)outputs, (void)err;
    return GP_OK;
}

struct model *served_version(struct gp_server *server, struct model_entry *entry,
                             uint64_t number, uint32_t n_slots)
{
    static const struct gp_metadata none;
    const struct gp_model_options options = {.name = entry->name, .n_slots = n_slots};
    struct gp_error err;
    struct model *model = model_open_function(&server->loader.host, answer_nothing, NULL,
                                              &options, &none, &err);
    if (!model)
        fail_msg("%s", err.message);
    model->version = number;
    models_publish(&server->models, version_of(server, entry, number), model);
    return model;
}
