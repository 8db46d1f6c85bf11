#include "sync_fixture.h"

struct sync_fixture following;

static void close_at_once(void *context, struct model *model)
{
    (void)context;
    models_close(&following.f->models, model);
}

int sync_fixture_begin(void **state)
{
    following = (struct sync_fixture){0};
    assert_int_equal(tree_make(state), 0);
    assert_int_equal(models_fixture_begin((void **)&following.f), 0);
    turned_clock_set(100 * CLOCK_S);
    kept_log_begin(&following.log);
    following.f->host.log = &following.log;
    following.f->host.is_ending = &following.is_ending;
    following.f->host.left = close_at_once;
    following.defaults =
        (struct gp_model_options){.size_bytes = sizeof following.defaults,
                                  .engine = fixture_engine("echo"),
                                  .n_slots = 1};
    tree_put("/m/1/model.onnx", "one");
    return 0;
}

int sync_fixture_follow(void **state)
{
    assert_int_equal(sync_fixture_begin(state), 0);
    assert_int_equal(sync_fixture_init(tree_root), GP_OK);
    assert_serves("m 1");
    assert_logged(&following.log, "m version 1 is ready: loaded in 0 ms\n");
    return 0;
}

int sync_fixture_end(void **state)
{
    sync_finish(&following.sync);
    turned_clock_end();
    assert_int_equal(models_fixture_end((void **)&following.f), 0);
    kept_log_end(&following.log);
    return tree_remove(state);
}

enum gp_status sync_fixture_init(const char *path)
{
    return sync_init(&following.sync, &following.f->models, &following.f->host, path,
                     &following.defaults, &following.err);
}

void look_after(int64_t ms, const struct model_entry *at_once)
{
    turned_clock_add(ms * CLOCK_MS);
    assert_int_equal(sync_look(&following.sync, at_once, &following.err), GP_OK);
}

void look_twice(void)
{
    look_after(60000, NULL);
    look_after(60000, NULL);
}

void assert_serves(const char *wanted)
{
    struct text found = {0};
    const struct models *models = &following.f->models;
    for (size_t i = 0; i < models->n_entries; i++) {
        const struct model_entry *entry = models->entries[i];
        text_printf(&found, "%s%s", i ? "  " : "", entry->name);
        for (const struct model_version *v = entry->versions; v; v = v->next)
            if (v->model)
                text_printf(&found, " %d", (int)v->number);
    }
    assert_string_equal(found.size_bytes ? found.data : "", wanted);
    text_finish(&found);
}
