#include "models_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { POOL_BYTES = 1 << 24 };

static void note_left(void *context, struct model *model)
{
    struct models_fixture *f = context;
    assert_int_equal(atomic_load(&model->n_users), 0);
    assert_false(model_hold(model)); /* for good */
    f->left = model;
    f->n_left++;
}

static void close_none(void *context)
{
    (void)context;
}

int models_fixture_begin(void **state)
{
    struct models_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    models_init(&f->models);
    still_begin(&f->poller);
    f->host = (struct model_host){.pool = pool_create(POOL_BYTES),
                                  .poller = &f->poller,
                                  .n_cores = 1,
                                  .max_waiting = 1,
                                  .left = note_left,
                                  .left_context = f,
                                  .close_left = close_none};
    assert_non_null(f->host.pool);
    *state = f;
    return 0;
}

int models_fixture_end(void **state)
{
    struct models_fixture *f = *state;
    models_finish(&f->models);
    assert_int_equal(f->poller.n_needed, 0); /* all are closed */
    pool_destroy(f->host.pool);
    still_end(&f->poller);
    free(f);
    return 0;
}

const char *fixture_engine(const char *name)
{
    static char paths[4][4096];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/lib/%s/graphpipe-engine-%s.so",
                   getenv("GP_BUILD_DIR"),
                   strcmp(name, "echo") == 0 ? "graphpipe" : "graphpipe-test", name);
    return path;
}

static enum gp_status answer_nothing(void *self, const struct gp_call *call,
                                     struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self, (void)call, (void)outputs, (void)err;
    return GP_OK;
}

struct model *fixture_open(struct models_fixture *f)
{
    const struct gp_model_options options = {.name = "m", .n_slots = 2};
    struct model *model =
        model_open_function(&f->host, answer_nothing, NULL, &options, NULL, NULL);
    assert_non_null(model);
    return model;
}

struct model_entry *fixture_add(struct models_fixture *f, const char *name)
{
    const struct gp_model_options options = {.name = name};
    struct gp_error err;
    struct model_entry *entry = models_add(&f->models, &options, &err);
    assert_non_null(entry);
    return entry;
}

struct model_version *fixture_version(struct models_fixture *f, struct model_entry *entry,
                                      uint64_t number)
{
    struct model_version *version = models_version(&f->models, entry, number);
    assert_non_null(version);
    return version;
}

struct model *fixture_serve(struct models_fixture *f, struct model_entry *entry,
                            uint64_t number)
{
    struct model *model = fixture_open(f);
    models_publish(&f->models, fixture_version(f, entry, number), model);
    return model;
}

void assert_finds(struct models_fixture *f, const char *path, struct model *wanted)
{
    struct gp_error err;
    struct model *model = models_find(&f->models, path, &err);
    if (model != wanted)
        fail_msg("%s: %s", path, model ? "another model" : err.message);
    model_drop(model);
}

void assert_refuses(struct models_fixture *f, const char *path, enum gp_status status,
                    const char *message)
{
    struct gp_error err;
    if (models_find(&f->models, path, &err))
        fail_msg("%s: a model", path);
    assert_int_equal(err.status, status);
    assert_string_equal(err.message, message);
}

void assert_left(struct models_fixture *f, const struct model *model)
{
    assert_int_equal(f->n_left, 1);
    assert_ptr_equal(f->left, model);
    models_close(&f->models, f->left);
    f->left = NULL;
    f->n_left = 0;
}
