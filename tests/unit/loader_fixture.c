#include "loader_fixture.h"

#include "entries.h"
#include "lines.h"

#include <semaphore.h>

struct loader_fixture loading;

struct order {
    struct loader_command command; /* first */
    sem_t is_done;
};

int loader_fixture_begin(void **state)
{
    loading = (struct loader_fixture){0};
    loading.n_descriptors = count_entries("/proc/self/fd");
    kept_log_begin(&loading.log);
    models_fixture_begin((void **)&loading.f);
    loading.f->host.log = &loading.log;
    assert_int_equal(
        loader_init(&loading.loader, &loading.f->models, &loading.f->host, &loading.err),
        GP_OK);
    return tree_make(state);
}

int loader_fixture_end(void **state)
{
    loader_stop(&loading.loader);
    models_fixture_end((void **)&loading.f);
    loader_finish(&loading.loader);
    kept_log_end(&loading.log);
    assert_int_equal(count_entries("/proc/self/fd"), loading.n_descriptors);
    return tree_remove(state);
}

void loading_start(void)
{
    assert_int_equal(loader_start(&loading.loader, &loading.err), GP_OK);
}

struct model *loading_open(const char *name, const char *path)
{
    const struct gp_model_options options = {
        .name = name, .path = path, .engine = fixture_engine("echo"), .n_slots = 1};
    assert_int_equal(loader_open(&loading.loader, &options, &loading.err), GP_OK);
    return models_entry(&loading.f->models, name)->versions->model;
}

static void end_order(struct loader_command *command)
{
    (void)sem_post(&((struct order *)(void *)command)->is_done);
}

static enum gp_status obey(struct loader_command command)
{
    struct order order = {.command = command};
    order.command.done = end_order;
    assert_int_equal(sem_init(&order.is_done, 0, 0), 0);
    loader_command(&loading.loader, &order.command);
    while (sem_wait(&order.is_done) != 0)
        continue;
    (void)sem_destroy(&order.is_done);
    loading.err = order.command.error;
    loading.is_refused = order.command.is_refused;
    return loading.err.status;
}

enum gp_status loading_order(enum loader_ask ask, const char *name)
{
    return obey((struct loader_command){.ask = ask, .name = name});
}

enum gp_status loading_configure(const struct gp_server_options *options)
{
    return obey((struct loader_command){.ask = LOADER_CONFIGURE, .options = options});
}

struct model *loading_find(const char *path)
{
    struct model *model = models_find(&loading.f->models, path, &loading.err);
    if (model)
        model_drop(model);
    return model;
}

void assert_finds_none(const char *path, const char *message)
{
    assert_null(loading_find(path));
    assert_lines(loading.err.message, message);
}

void assert_error(enum gp_status status, const char *message)
{
    assert_int_equal(loading.err.status, status);
    assert_lines(loading.err.message, message);
}
