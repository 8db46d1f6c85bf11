/* New options while memory is short: what fails is told, and the same options again make up for it. */
#include "fault.h"
#include "model/configure.h"
#include "sync_fixture.h"

#include <errno.h>

enum { N_ENDLESS = 1000 };

static bool is_refused;

/* Two sets of models, which have b in common; the second is with the repository. */
static enum gp_status configure(bool is_second)
{
    static const struct gp_model_alias aliases[] = {{"stable", 1}};
    struct gp_model_options models[] = {following.defaults, following.defaults};
    models[0].name = "b";
    models[0].path = "/nonexistent";
    models[0].n_slots += is_second;
    models[0].aliases = aliases;
    models[0].n_aliases = is_second;
    models[1].name = is_second ? "c" : "a";
    models[1].path = "/nonexistent";
    const struct gp_server_options options = {.models = models,
                                              .n_models = 2,
                                              .model_defaults = &following.defaults,
                                              .repository = is_second ? tree_root : NULL,
                                              .default_model = "b"};
    return configure_models(&following.f->models, &following.f->host, &following.sync,
                            &options, &is_refused, &following.err);
}

static void assert_configures(bool is_second)
{
    if (configure(is_second) != GP_OK)
        fail_msg("%s", following.err.message);
    turned_clock_add(60 * CLOCK_S);
    assert_int_equal(sync_look(&following.sync, NULL, NULL), GP_OK);
    assert_string_equal(following.f->models.by_default->name, "b");
}

static void assert_leads_to_a_model(const char *path)
{
    struct model *model = models_find(&following.f->models, path, &following.err);
    if (!model)
        fail_msg("%s: %s", path, following.err.message);
    model_drop(model);
}

/* True if an allocation has failed. What serves "/" is never gone. */
static bool configure_failing(unsigned from, unsigned n)
{
    fault_begin(
        &(struct fault){.calls = FAULT_MEMORY, .from = from, .n = n, .error = ENOMEM});
    const enum gp_status status = configure(true);
    const bool is_hit = fault_end() > 0;
    if (status != GP_OK) {
        assert_true(is_hit);
        assert_int_equal(status, GP_NO_MEMORY);
        assert_true(following.err.message[0]);
        assert_true(!is_refused || !following.sync.path); /* then nothing has changed */
    } else {
        assert_non_null(following.sync.path);
    }
    assert_leads_to_a_model("/");
    return is_hit;
}

static void what_fails_is_made_up_for(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 2; n++) {
        unsigned from = 0;
        bool is_hit = true;
        for (; is_hit; from++) {
            assert_true(from < N_ENDLESS);
            assert_configures(false);
            assert_serves("a 1  b 1");
            is_hit = configure_failing(from, n);
            assert_configures(true);
            assert_leads_to_a_model("/b/versions/stable");
            assert_leads_to_a_model("/c");
        }
        print_message("%u allocations\n", from - 1);
        assert_true(from > 1);
    }
    assert_true(
        kept_log_has(&following.log, "error: repository: no memory for the model \"m\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_fails_is_made_up_for, sync_fixture_begin,
                                        sync_fixture_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
