/* Models of URLs, one and several: what is fetched, what the server gets in place of URLs, and
 * what is tried and remembered when it does not open. Fetching and the server are made up. */
#include "base/mem.h"
#include "cli/serve.h"

#include <assert.h>
#include <string.h>

static struct fetched *fetched[8]; /* in their order */
static bool was_good[8];
static unsigned n_fetched, n_ended, n_created;
static unsigned n_fetches, n_refusals; /* that go well; of the server */
static unsigned n_with_last;           /* of those that are fetched */
static bool is_memory_short;
static const atomic_bool *is_told_of_the_end;
static char paths[3][64]; /* of the models that the server was last made with */

static bool fake_is_url(const char *word)
{
    return strncmp(word, "http://", 7) == 0;
}

static enum gp_status fake_fetch(const struct fetch *fetch, const char *url,
                                 struct log *log, struct fetched *item,
                                 struct gp_error *err)
{
    (void)log;
    is_told_of_the_end = fetch->is_ending;
    if (n_fetched == n_fetches)
        return gp_error_set(err, GP_UNAVAILABLE, "not to be had");
    *item = (struct fetched){.url = url};
    (void)snprintf(item->path, sizeof item->path, "/copy/%s", url + 7);
    fetched[n_fetched++] = item;
    return GP_OK;
}

static bool fake_go_back(struct fetched *item)
{
    item->has_gone_back = false;
    for (unsigned i = 0; i < n_with_last; i++)
        item->has_gone_back |= item == fetched[i];
    return item->has_gone_back;
}

static void fake_end(struct fetched *item, bool is_good)
{
    assert(item == fetched[n_ended]);
    was_good[n_ended++] = is_good;
}

static enum gp_status open_models(const struct gp_server_options *options,
                                  struct gp_error *err)
{
    for (size_t i = 0; i < 3; i++) {
        const char *path = i < options->n_models ? options->models[i].path : NULL;
        (void)snprintf(paths[i], sizeof paths[i], "%s", path ? path : "");
    }
    return n_created++ >= n_refusals ? GP_OK : gp_error_set(err, GP_INVALID, "no model");
}

static struct gp_server *fake_create(const struct gp_server_options *options,
                                     struct gp_error *err)
{
    return open_models(options, err) == GP_OK ? (struct gp_server *)(void *)paths : NULL;
}

static enum gp_status fake_reload(struct gp_server *server,
                                  const struct gp_server_options *options,
                                  struct gp_error *err)
{
    (void)server;
    return open_models(options, err);
}

static void *fake_array(size_t n, size_t size_bytes)
{
    return is_memory_short ? NULL : mem_array(n, size_bytes);
}

#define fetch_is_url fake_is_url
#define fetch_model fake_fetch
#define fetch_go_back fake_go_back
#define fetch_end fake_end
#define gp_server_create fake_create
#define gp_server_reload fake_reload
#define mem_array fake_array
#include "cli/serve_fetch.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct gp_model_options models[] = {
    {.name = "a", .path = "http://a"},
    {.name = "b", .path = "/b"},
    {.name = "c", .path = "http://c"},
};
static const struct gp_server_options several = {.models = models, .n_models = 3};
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    n_fetched = n_ended = n_created = n_refusals = n_with_last = 0;
    n_fetches = 8;
    is_memory_short = false;
    return 0;
}

static struct gp_server running;

static bool reload(const struct gp_server_options *options)
{
    err = (struct gp_error){0};
    return serve_reload(&running, options, &(struct fetch){0}, &err) == GP_OK;
}

static bool create(const struct gp_server_options *options)
{
    return serve_create(options, &(struct fetch){0}, &err) != NULL;
}

static void nothing_to_fetch(void **state)
{
    (void)state;
    is_memory_short = true; /* none is needed */
    assert_true(create(&(struct gp_server_options){.repository = "/r"}));
    assert_true(create(&(struct gp_server_options){.models = &models[1], .n_models = 1}));
    assert_string_equal(paths[0], "/b");
    assert_int_equal(n_fetched + n_ended, 0);
}

/* A URL that two models have. */
static void fetched_once(void **state)
{
    (void)state;
    const struct gp_model_options same[] = {models[2], models[2]};
    assert_true(create(&(struct gp_server_options){.models = same, .n_models = 2}));
    assert_int_equal(n_fetched, 1);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(paths[i], "/copy/c");
    assert_true(n_ended == 1 && was_good[0]);
}

static void several_are_fetched(void **state)
{
    (void)state;
    assert_true(create(&several));
    assert_string_equal(paths[0], "/copy/a");
    assert_string_equal(paths[1], "/b");
    assert_string_equal(paths[2], "/copy/c");
    assert_true(n_fetched == 2 && n_ended == 2 && was_good[0] && was_good[1]);
}

static void one_is_not_to_be_had(void **state)
{
    (void)state;
    n_fetches = 1;
    assert_false(create(&several));
    assert_string_equal(err.message, "not to be had");
    assert_true(n_created == 0 && n_ended == 1 && !was_good[0]);
}

static void a_lone_one_does_not_open(void **state)
{
    (void)state;
    n_refusals = 1;
    n_with_last = 1;
    const struct gp_server_options lone = {.models = models, .n_models = 1};
    assert_true(create(&lone));
    assert_true(n_created == 2 && n_ended == 1 && was_good[0]);
    (void)set_up(state);
    n_refusals = 1; /* and there is no other copy */
    assert_false(create(&lone));
    assert_string_equal(err.message, "no model");
    assert_true(n_created == 1 && n_ended == 1 && !was_good[0]);
}

/* Which of them it was is not known, so none is remembered as refused. */
static void one_of_several_does_not_open(void **state)
{
    (void)state;
    n_refusals = 1;
    n_with_last = 1;
    assert_true(create(&several));
    assert_true(n_created == 2 && n_ended == 2 && !was_good[0] && was_good[1]);
    (void)set_up(state);
    n_refusals = 2;
    n_with_last = 2;
    assert_false(create(&several));
    assert_string_equal(err.message, "no model");
    assert_true(n_created == 2 && n_ended == 2 && !was_good[0] && !was_good[1]);
}

static void memory_is_short(void **state)
{
    (void)state;
    is_memory_short = true;
    assert_false(create(&several));
    assert_int_equal(err.status, GP_NO_MEMORY);
    assert_int_equal(n_fetched + n_created + n_ended, 0);
}

/* As at the start, but that a download ends with the server. */
static void a_reload_fetches(void **state)
{
    assert_true(reload(&several));
    assert_string_equal(paths[0], "/copy/a");
    assert_string_equal(paths[1], "/b");
    assert_true(n_fetched == 2 && n_ended == 2 && was_good[0] && was_good[1]);
    assert_ptr_equal(is_told_of_the_end, &running.is_draining);
    (void)set_up(state);
    n_fetches = 1;
    assert_false(reload(&several)); /* nothing is taken over */
    assert_string_equal(err.message, "not to be had");
    assert_true(n_created == 0 && n_ended == 1 && !was_good[0]);
    (void)set_up(state);
    is_memory_short = true;
    assert_false(reload(&several));
    assert_int_equal(n_fetched + n_created + n_ended, 0);
    assert_true(reload(&(struct gp_server_options){.repository = "/r"}));
}

static void a_reload_goes_back(void **state)
{
    (void)state;
    n_refusals = 1;
    n_with_last = 1;
    assert_true(reload(&several));
    assert_true(n_created == 2 && n_ended == 2 && !was_good[0] && was_good[1]);
    (void)set_up(state);
    n_refusals = 1; /* and there is no other copy */
    assert_false(reload(&several));
    assert_string_equal(err.message, "no model");
    assert_true(n_created == 1 && n_ended == 2 && !was_good[0] && !was_good[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_to_fetch, set_up),
        cmocka_unit_test_setup(fetched_once, set_up),
        cmocka_unit_test_setup(several_are_fetched, set_up),
        cmocka_unit_test_setup(one_is_not_to_be_had, set_up),
        cmocka_unit_test_setup(a_lone_one_does_not_open, set_up),
        cmocka_unit_test_setup(one_of_several_does_not_open, set_up),
        cmocka_unit_test_setup(memory_is_short, set_up),
        cmocka_unit_test_setup(a_reload_fetches, set_up),
        cmocka_unit_test_setup(a_reload_goes_back, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
