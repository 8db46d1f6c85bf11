/* What the loader's thread does when it is told to, and what it leaves as it was. */
#include "loader_fixture.h"
#include "model/load.h"
#include "recorded.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

/* The thread has ended: what was written, and closed, is all. */
static void stop(void)
{
    loader_stop(&loading.loader);
    assert_null(loading.loader.left);
}

/* --- load and unload --- */

static void one_is_unloaded_until_it_is_loaded(void **state)
{
    (void)state;
    loading_open("a", NULL);
    struct model *other = loading_open("b", NULL);
    loading_start();
    assert_true(loading.f->models.is_serving);
    assert_int_equal(loading_order(LOADER_UNLOAD, "a"), GP_OK);
    assert_finds_none("/a", "model \"a\" is not ready: it is unloaded");
    assert_null(models_entry(&loading.f->models, "a")->versions);
    assert_ptr_equal(loading_find("/b"), other);
    assert_int_equal(loading_order(LOADER_UNLOAD, "a"), GP_OK); /* again */
    assert_int_equal(loading_order(LOADER_LOAD, "a"), GP_OK);
    assert_non_null(loading_find("/a"));
    assert_false(models_entry(&loading.f->models, "a")->is_unloaded);
    stop();
    assert_int_equal(loading.f->poller.n_needed, 2);
    assert_logged(&loading.log, "a version 1 is no longer served\n"
                                "a version 1 is closed\n"
                                "a version 1 is ready: loaded in * ms\n");
}

/* Whether its files have changed or not. */
static void one_is_loaded_anew(void **state)
{
    (void)state;
    struct model *first = loading_open("a", NULL);
    assert_true(model_hold(first)); /* its address is not used again */
    loading_start();
    assert_int_equal(loading_order(LOADER_LOAD, "a"), GP_OK);
    assert_ptr_not_equal(loading_find("/a"), first);
    model_drop(first);
    stop();
    assert_logged(&loading.log, "a version 1 is ready: loaded in * ms\n"
                                "a version 1 is closed\n");
}

#define TEN "1234567890"

static void a_name_is_unknown(void **state)
{
    static const char name[] = TEN TEN TEN TEN TEN TEN "12345";
    (void)state;
    loading_open("a", NULL);
    loading_start();
    assert_int_equal(loading_order(LOADER_LOAD, "b"), GP_NOT_FOUND);
    assert_error(GP_NOT_FOUND, "no model is named \"b\"");
    assert_int_equal(loading_order(LOADER_UNLOAD, name), GP_NOT_FOUND);
    assert_error(GP_NOT_FOUND, "no model is named \"" TEN TEN TEN TEN TEN TEN "1234\"");
    assert_false(loading.is_refused);
    assert_non_null(loading_find("/a"));
}

/* Of a model "a", whose warm-up is a file that the test may take away. */
static struct gp_model_options with_warm_up(const char *engine, const char *config)
{
    recorded_put("/request", "input0", 0, config);
    return (struct gp_model_options){.name = "a",
                                     .engine = fixture_engine(engine),
                                     .n_slots = 1,
                                     .warm_up = tree_path("/request")};
}

static struct model *open_with_warm_up(void)
{
    const struct gp_model_options options = with_warm_up("echo", NULL);
    assert_int_equal(loader_open(&loading.loader, &options, &loading.err), GP_OK);
    return loading_find("/a");
}

static void a_load_that_fails_leaves_the_one_before(void **state)
{
    (void)state;
    struct model *model = open_with_warm_up();
    loading_start();
    tree_drop("/request");
    assert_int_equal(loading_order(LOADER_LOAD, "a"), GP_INVALID);
    assert_error(GP_INVALID, "warm-up: cannot read*");
    assert_ptr_equal(loading_find("/a"), model);
    assert_false(models_entry(&loading.f->models, "a")->is_unloaded);
    assert_string_equal(models_entry(&loading.f->models, "a")->versions->error.message,
                        loading.err.message);
    stop();
    assert_logged(&loading.log,
                  "error: a version 1 does not load, and the one before goes on: "
                  "warm-up: cannot read*\n");
}

static void a_load_that_fails_leaves_it_unloaded(void **state)
{
    (void)state;
    open_with_warm_up();
    loading_start();
    assert_int_equal(loading_order(LOADER_UNLOAD, "a"), GP_OK);
    tree_drop("/request");
    assert_int_equal(loading_order(LOADER_LOAD, "a"), GP_INVALID);
    assert_finds_none("/a", "model \"a\" is not ready: it is unloaded");
    recorded_put("/request", "input0", 0, NULL);
    assert_int_equal(loading_order(LOADER_LOAD, "a"), GP_OK);
    assert_non_null(loading_find("/a"));
    stop();
    assert_logged(&loading.log,
                  "a version 1 is no longer served\n"
                  "a version 1 is closed\n"
                  "error: a version 1 does not load: warm-up: cannot*\n"
                  "a version 1 is ready: loaded in * ms, warmed up in * ms\n");
}

/* However many have left since the last time. */
static void all_that_have_left_are_closed(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        loading_open(names[i], NULL);
        load_retire_all(&loading.f->models, &loading.loader.host,
                        models_entry(&loading.f->models, names[i]));
    }
    assert_int_equal(loading.f->poller.n_needed, 3);
    loading_start();
    stop();
    assert_int_equal(loading.f->poller.n_needed, 0);
    assert_null(loading.f->models.open);
}

/* Though nobody asks for anything. */
static void the_last_user_wakes_the_thread(void **state)
{
    (void)state;
    struct model *model = loading_open("a", NULL);
    assert_true(model_hold(model));
    loading_start();
    assert_int_equal(loading_order(LOADER_UNLOAD, "a"), GP_OK);
    assert_int_equal(loading_order(LOADER_UNLOAD, "b"), GP_NOT_FOUND);
    (void)usleep(10000); /* it sleeps by now, most likely */
    assert_false(kept_log_has(&loading.log, "is closed"));
    model_drop(model);
    for (int i = 0; !kept_log_has(&loading.log, "a version 1 is closed"); i++) {
        assert_true(i < PATIENCE_MS);
        (void)usleep(1000);
    }
}

/* Whether the kernel has all threads but this one waiting. */
static bool others_sleep(void)
{
    char own[64], text[256] = "";
    bool is_so = true;
    glob_t found;
    (void)snprintf(own, sizeof own, "/proc/self/task/%ld/stat",
                   (long)syscall(SYS_gettid));
    assert_int_equal(glob("/proc/self/task/*/stat", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "r");
        if (file && fgets(text, sizeof text, file) && strcmp(found.gl_pathv[i], own) != 0)
            is_so = is_so && strstr(text, ") S ");
        if (file)
            (void)fclose(file);
    }
    globfree(&found);
    return is_so;
}

/* Without a repository nothing but its own descriptor wakes it, not even what a shell left open. */
static void the_thread_sleeps(void **state)
{
    int ends[2];
    (void)state;
    const int input = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(write(ends[1], "x", 1), 1);
    loading_start();
    assert_int_equal(loading_order(LOADER_UNLOAD, "a"), GP_NOT_FOUND);
    for (int i = 0; !others_sleep(); i++) {
        assert_true(i < PATIENCE_MS);
        (void)usleep(1000);
    }
    stop();
    assert_int_equal(dup2(input, STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(close(input) | close(ends[0]) | close(ends[1]), 0);
}

/* --- reload --- */

static void only_what_has_changed_is_loaded_anew(void **state)
{
    (void)state;
    tree_put("/a", "1");
    tree_put("/b/saved_model.pb", "1");
    tree_put("/c", "1");
    struct model *a = loading_open("a", tree_path("/a"));
    struct model *b = loading_open("b", tree_path("/b"));
    loading_open("c", tree_path("/c"));
    struct model *d = loading_open("d", NULL);
    assert_true(model_hold(b));
    loading_start();
    assert_int_equal(loading_order(LOADER_UNLOAD, "c"), GP_OK);
    assert_int_equal(loading_order(LOADER_RELOAD, NULL), GP_OK);
    assert_ptr_equal(loading_find("/b"), b);
    tree_put("/b/saved_model.pb", "12");
    tree_put("/c", "12");
    assert_int_equal(loading_order(LOADER_RELOAD, NULL), GP_OK);
    assert_ptr_equal(loading_find("/a"), a);
    assert_ptr_not_equal(loading_find("/b"), b);
    assert_finds_none("/c", "model \"c\" is not ready: it is unloaded");
    assert_ptr_equal(loading_find("/d"), d);
    model_drop(b);
}

/* As a reload, and later than the signal: it is awaited. */
static void a_hangup_reloads(void **state)
{
    (void)state;
    tree_put("/a", "1");
    struct model *first = loading_open("a", tree_path("/a"));
    assert_true(model_hold(first));
    loading_start();
    tree_put("/a", "12");
    loader_hang_up(&loading.loader);
    for (int i = 0; loading_find("/a") == first; i++) {
        assert_true(i < PATIENCE_MS);
        (void)usleep(1000);
    }
    model_drop(first);
    stop();
    assert_logged(&loading.log, "SIGHUP: looking at the models' files again\n"
                                "a version 1 is ready: loaded in * ms\n"
                                "a version 1 is closed\n");
}

/* --- other options --- */

static void options_are_taken_or_refused(void **state)
{
    (void)state;
    struct gp_model_options models[2] = {
        {.name = "b", .engine = fixture_engine("echo"), .n_slots = 1},
        {.name = "b", .engine = fixture_engine("echo"), .n_slots = 1}};
    models[0].size_bytes = models[1].size_bytes = sizeof *models;
    struct gp_server_options options = {.models = models, .n_models = 2};
    struct model *a = loading_open("a", NULL);
    loading_start();
    assert_int_equal(loading_configure(&options), GP_INVALID);
    assert_error(GP_INVALID, "two models are named \"b\"");
    assert_true(loading.is_refused);
    assert_ptr_equal(loading_find("/a"), a);
    models[1].name = "c";
    assert_int_equal(loading_configure(&options), GP_OK);
    assert_false(loading.is_refused);
    assert_finds_none("/a", "no model is named \"a\"; there are: b, c");
    assert_non_null(loading_find("/c"));
}

/* --- the queue --- */

struct noted {
    struct loader_command command; /* first */
    const char *order;             /* in which they were done */
};

static char done[8];
static struct noted all[4];

static void note_done(struct loader_command *command)
{
    (void)strcat(done, ((struct noted *)(void *)command)->order);
}

static void command(struct noted *noted, enum loader_ask ask, const char *order)
{
    *noted = (struct noted){.command = {.ask = ask, .name = "a", .done = note_done},
                            .order = order};
    loader_command(&loading.loader, &noted->command);
}

static atomic_int n_done;

/* The first brings two others, and the first of those brings one more. */
static void do_more(struct loader_command *command)
{
    const struct noted *noted = (const struct noted *)(const void *)command;
    note_done(command);
    for (int i = 1; noted == &all[0] && i < 3; i++)
        loader_command(&loading.loader, &all[i].command);
    if (noted == &all[1])
        loader_command(&loading.loader, &all[3].command);
    atomic_fetch_add(&n_done, 1);
}

/* Also those that come while others wait. */
static void commands_are_obeyed_in_their_order(void **state)
{
    static const char *const orders[] = {"0", "1", "2", "3"};
    (void)state;
    done[0] = '\0';
    atomic_store(&n_done, 0);
    for (int i = 0; i < 4; i++)
        all[i] = (struct noted){
            .command = {.ask = LOADER_UNLOAD, .name = "a", .done = do_more},
            .order = orders[i]};
    loading_start();
    loader_command(&loading.loader, &all[0].command);
    for (int i = 0; atomic_load(&n_done) < 4; i++) {
        assert_true(i < PATIENCE_MS);
        (void)usleep(1000);
    }
    assert_string_equal(done, "0123");
}

/* --- the end --- */

static void without_a_thread_all_is_refused(void **state)
{
    (void)state;
    struct model *model = loading_open("a", NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(loading_order(LOADER_UNLOAD, "a"), GP_UNAVAILABLE);
        assert_error(GP_UNAVAILABLE, "the server does not run");
        assert_true(loading.is_refused);
        assert_ptr_equal(loading_find("/a"), model);
        if (i == 0)
            loading_start();
        stop();
    }
}

static void await_loading(const char *path)
{
    for (int i = 0; loading_find(path) || !strstr(loading.err.message, "it is loading");
         i++) {
        assert_true(i < PATIENCE_MS);
        (void)usleep(1000);
    }
}

static void what_has_changed_is_left_at_the_end(void **state)
{
    (void)state;
    tree_put("/a", "1");
    struct model *model = loading_open("a", tree_path("/a"));
    assert_true(model_hold(model));
    tree_put("/a", "another");
    atomic_store(&loading.loader.is_ending, true);
    assert_int_equal(load_changed(&loading.f->models, &loading.loader.host,
                                  models_entry(&loading.f->models, "a"), &loading.err),
                     GP_OK);
    assert_ptr_equal(loading_find("/a"), model);
    model_drop(model);
}

/* A warm-up that is under way is stopped, and what has not been begun is refused. */
static void the_end_waits_for_nobody(void **state)
{
    (void)state;
    char config[600];
    struct noted first, second, third;
    (void)snprintf(config, sizeof config, "until=%s", tree_path("/never"));
    const struct gp_model_options options = with_warm_up("slow", config);
    assert_int_equal(loader_declare(&loading.loader, &options, &loading.err), GP_OK);
    done[0] = '\0';
    loading_start();
    command(&first, LOADER_LOAD, "1");
    await_loading("/a");
    command(&second, LOADER_UNLOAD, "2");
    command(&third, LOADER_LOAD, "3");
    loader_hang_up(&loading.loader);
    loader_hurry(&loading.loader);
    assert_int_equal(loading_order(LOADER_LOAD, "a"), GP_UNAVAILABLE); /* at once */
    assert_error(GP_UNAVAILABLE, "the server does not run");
    stop();
    assert_string_equal(done, "123");
    assert_int_equal(first.command.error.status, GP_UNAVAILABLE);
    assert_string_equal(first.command.error.message,
                        "the server ended during the warm-up");
    assert_false(first.command.is_refused);
    for (int i = 0; i < 2; i++) {
        const struct loader_command *late = i ? &third.command : &second.command;
        assert_int_equal(late->error.status, GP_UNAVAILABLE);
        assert_string_equal(late->error.message, "the server is ending");
        assert_true(late->is_refused);
    }
    assert_logged(&loading.log, "error: a version 1 does not load: the server ended*\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOADER_TEST(one_is_unloaded_until_it_is_loaded),
        LOADER_TEST(one_is_loaded_anew),
        LOADER_TEST(a_name_is_unknown),
        LOADER_TEST(a_load_that_fails_leaves_the_one_before),
        LOADER_TEST(a_load_that_fails_leaves_it_unloaded),
        LOADER_TEST(all_that_have_left_are_closed),
        LOADER_TEST(the_last_user_wakes_the_thread),
        LOADER_TEST(the_thread_sleeps),
        LOADER_TEST(only_what_has_changed_is_loaded_anew),
        LOADER_TEST(a_hangup_reloads),
        LOADER_TEST(options_are_taken_or_refused),
        LOADER_TEST(commands_are_obeyed_in_their_order),
        LOADER_TEST(without_a_thread_all_is_refused),
        LOADER_TEST(what_has_changed_is_left_at_the_end),
        LOADER_TEST(the_end_waits_for_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
