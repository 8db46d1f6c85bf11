/* The configuration file and the models that come out of it: files of every wrong kind with
 * the words of their errors, memory that runs short at every place, and what the server gets. */
#include "base/mem.h"

#include <graphpipe/message.h>

#include <stdbool.h>

static unsigned n_until_short; /* allocations that go well; 0: all */

static bool is_short(void)
{
    return n_until_short && --n_until_short == 0;
}

static void *short_arena_alloc(struct gp_arena *arena, size_t size_bytes)
{
    return is_short() ? NULL : gp_arena_alloc(arena, size_bytes);
}

static void *short_alloc(size_t size_bytes)
{
    return is_short() ? NULL : mem_alloc(size_bytes);
}

static void *short_resize(void *block, size_t size_bytes)
{
    return is_short() ? NULL : mem_resize(block, size_bytes);
}

#define gp_arena_alloc short_arena_alloc
#define mem_alloc short_alloc
#define mem_resize short_resize
#include "cli/cache_dir.c"
#include "cli/config.c"
#include "cli/config_fill.c"
#include "cli/file.c"
#include "cli/json_doc.c"
#include "cli/models.c"
#include "cli/models_fill.c"
#include "cli/option_help.c"
#include "cli/option_values.c"
#include "cli/options.c"
#include "cli/serve_options.c"
#undef gp_arena_alloc

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct gp_arena *arena;
static char path[64];
static struct config config;
static struct serve_values values;
static struct options options;
static struct gp_server_options server;
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/gp-config-%d", (int)getpid());
    arena = gp_arena_create();
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gp_arena_destroy(arena);
    (void)unlink(path);
    return 0;
}

static void write_config(const char *text)
{
    const struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    struct gp_encoding content = {.parts = &part, .n_parts = 1};
    assert_int_equal(file_write(path, &content, NULL), GP_OK);
}

/* serve --config FILE with these arguments (ended by NULL), as far as it goes without a server. */
static enum gp_status gather(const char *const *argv)
{
    memset(&values, 0, sizeof values);
    options = (struct options){
        .table = serve_options, .n = SERVE_N_OPTIONS, .values = &values, .arena = arena};
    err = (struct gp_error){0};
    if (options_parse(&options, (char *const *)(uintptr_t)argv, &err) != GP_OK)
        return err.status;
    values.config = path;
    if (config_gather(&config, &options, &err) != GP_OK)
        return err.status;
    return config_fill(&config, &server, &err);
}

static enum gp_status read_config(const char *text)
{
    static const char *const none[] = {NULL};
    write_config(text);
    return gather(none);
}

/* What is in the file, and what the error says. */
static const char *const refused[][2] = {
    {"[]", "1: the file wants an object, not an empty array"},
    {"3", "1: the file wants an object, not 3"},
    {"{\n\"max-bod\": 1}", "2: \"max-bod\" is no setting; did you mean \"max-body\"?"},
    {"{\"max_body\": 1}", "1: \"max_body\" is no setting; did you mean \"max-body\"?"},
    {"{\"zebra\": 1}", "1: \"zebra\" is no setting"},
    {"{\"\": 1}", "1: \"\" is no setting"},
    {"{\"model\": \"x\"}", "\"model\" is a flag only; did you mean \"models\"?"},
    {"{\"config\": \"x\"}", "1: \"config\" is a flag only"},
    {"{\"$schema\": 1}", "1: $schema wants a string, not 1"},
    {"{\"listen\": 5}", "listen wants a string or an array of strings, not 5"},
    {"{\"listen\": []}", "not an empty array"},
    {"{\"listen\": [\"a\", [\"b\"]]}", "array of strings, not an array"},
    {"{\"listen\": [\"a\", \"\"]}", "array of strings, not the string \"\""},
    {"{\"listen\": \"a\\u0000b\"}", "not a string with \\u0000 in it"},
    {"{\"listen\\u0000\": \"a\"}", "1: \"listen\" goes on with \\u0000"},
    {"{\"listen\": \"a\",\n\n\"listen\": \"b\"}",
     "3: listen is set a second time; the first is in line 1"},
    {"{\"engine\": 1}", "1: engine wants a string, not 1"},
    {"{\"engine\": \"a\\u0000\"}", "engine wants a string, not a string with"},
    {"{\"instances\": \"2\"}", "instances wants a number, from 0 to 4096, not the "},
    {"{\"instances\": 4097}", "instances wants a number, from 0 to 4096, not \"4097\""},
    {"{\"instances\": -1}", "not -1"},
    {"{\"instances\": 1.5}", "not 1.5"},
    {"{\"instances\": 1e400}", "no JSON: "},
    {"{\"instances\": 18446744073709551616}", "not 1.84467e+19"},
    {"{\"max-body\": 0}", "max-body wants a size such as 64M or 1GiB, from 1 to"},
    {"{\"max-body\": \"64X\"}", "not \"64X\""},
    {"{\"max-body\": true}", "not true"},
    {"{\"timeout\": 1.5}",
     "timeout wants a duration such as 500ms, 10s or 2m, or seconds, not 1.5"},
    {"{\"isolate\": 1}", "isolate wants true or false, not 1"},
    {"{\"isolate\": null}", "not null"},
    {"{\"log-format\": \"xml\"}", "log-format wants text or json, not \"xml\""},
    {"{\"engine-option\": \"a=b\"}", "wants an object of strings and numbers, not the"},
    {"{\"engine-option\": {}}", "not an empty object"},
    {"{\"engine-option\": {\"a\": {}}}", "not an empty object"},
    {"{\"engine-option\": {\"\": 1}}", "engine-option wants an object of"},
    {"{\"engine-option\": {\"a=b\": 1}}", "not the string \"a=b\""},
    {"{\"timeout\": 18446744073709551615}", "not \"18446744073709551615\""},
    {"{\"engine-option\": {\"a\\u0000\": 1}}", "not a string with \\u0000 in it"},
    {"{\"engine-option\": {\"device\": \"cpu\"},\n\"device\": \"cuda\"}",
     "2: device=cuda and "},
    {"{\"default-model\": \"x\", \"models\": {\"a\": {\"path\": \"p\"}}}",
     "1: default-model: no model is called \"x\""},
    {"{\"models\": []}", "1: models wants an object, not an empty array"},
    {"{\"models\": {}, \"models\": {}}", "\"models\" is set a second time"},
    {"{\"models\": {\"a\": 1}}", "1: a wants an object, not 1"},
    {"{\"models\": {\"a\": {}}}", "1: model \"a\" has no path, and there is no rep"},
    {"{\"models\": {\"a\": {},\n\"a\": {}}}",
     "2: models: two are called \"a\"; the first is in line 1"},
    {"{\"models\": {\"a\": {\"pth\": 1}}}",
     "\"pth\" is no setting of a model; did you mean \"path\"?"},
    {"{\"models\": {\"a\": {\"listen\": \"x\"}}}",
     "\"listen\" is for the whole server, at the top of the file"},
    {"{\"models\": {\"a\": {\"model\": \"x\"}}}", "\"model\" is no setting of a model"},
    {"{\"models\": {\"a\": {\"path\": \"p\", \"versions\": \"new\"}}}",
     "1: versions wants newest, newest:N or the numbers of versions, not \"new\""},
    {"{\"models\": {\"a\": {\"path\": \"p\", \"versions\": \"newest:0\"}}}",
     "not \"newest:0\""},
    {"{\"models\": {\"a\": {\"path\": \"p\", \"versions\": [\"newest\", 3]}}}",
     "not \"newest\""},
    {"{\"models\": {\"a\": {\"path\": \"p\", \"versions\": "
     "\"99999999999999999999\"}}}",
     "not \"99999999999999999999\""},
    {"{\"models\": {\"a\": {\"path\": \"p\",\n\"aliases\": {\"3\": 4}}}}",
     "2: aliases wants names, each with the number of a version, not \"3=4\""},
    {"{\"models\": {\"a\": {\"path\": \"p\", \"aliases\": {\"s\": \"x\"}}}}",
     "not \"s=x\""},
    {"{\"models\": {\"a\": {\"path\": \"p\", \"aliases\": {\"a/b\": 1}}}}",
     "aliases: a name has 1 to 128 letters"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (read_config(refused[i][0]) == GP_OK)
            fail_msg("%s was taken", refused[i][0]);
        if (strncmp(err.message, path, strlen(path)) != 0 ||
            !strstr(err.message, refused[i][1]))
            fail_msg("%s: %s", refused[i][0], err.message);
    }
}

static void test_names(void **state)
{
    (void)state;
    char name[200] = "";
    memset(name, 'a', 128);
    assert_int_equal(model_check_name("x", name, &err), GP_OK);
    name[128] = 'a';
    assert_int_equal(model_check_name("x", name, &err), GP_INVALID);
    static const char *const good[] = {"a", "0", "A.b_c-d", "v3", "v1.0", "controls"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(model_check_name("x", good[i], &err), GP_OK);
    static const char *const bad[] = {
        "",         ".",   "..", "-a", "_a", "a/b",     "a b",     "\n",      "a%2f",
        "\xc3\xa4", "a\n", "v1", "v2", "ui", "control", "metrics", "versions"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (model_check_name("x", bad[i], &err) == GP_OK)
            fail_msg("%s was taken", bad[i]);
}

static void test_too_many(void **state)
{
    (void)state;
    struct text text = {0};
    text_puts(&text, "{\"models\": {\"m\": {}");
    for (int i = 0; i < CONFIG_MAX_MODELS; i++)
        text_printf(&text, ",\n\"m%d\": {}", i);
    text_puts(&text, "}}");
    assert_int_equal(read_config(text.data), GP_INVALID);
    assert_non_null(strstr(err.message, ":1: 4097 models, but at most 4096"));
    text_finish(&text);
}

static const char *const sample =
    "{\"engine\": \"top\", \"engine-option\": {\"k\": 1}, \"max-body\": \"2M\",\r\n"
    "\"default-model\": \"b\", \"repository\": \"/r\", \"allow-host\": [\"h\", "
    "\"i:1\"],\r\n"
    "\"models\": {\r\n"
    "\"a\": {\"path\": \"/a\", \"device\": \"cuda\", \"instances\": 3, \"timeout\": "
    "\"2s\",\r\n"
    "  \"versions\": [3, \"4\"], \"aliases\": {\"stable\": 3}, \"warm-up\": \"2\",},\r\n"
    "\"b\": {\"engine\": \"own\", \"python\": \"py\", \"versions\": \"newest:2\",\r\n"
    "  \"inputs\": [\"x\", \"y\"], \"isolate\": true}, // and no more\r\n"
    "\"c\": {\"engine-option\": {\"other\": \"o\"}}}}\r\n";

/* Lists that models share with the server are not added to. */
static void test_what_the_server_gets(void **state)
{
    (void)state;
    assert_int_equal(read_config(sample), GP_OK);
    assert_string_equal(server.default_model, "b");
    assert_string_equal(server.repository, "/r");
    assert_string_equal(server.allow_hosts[1], "i:1");
    assert_int_equal(server.n_models, 3);
    assert_string_equal(server.model_defaults->engine, "top");
    assert_int_equal(server.model_defaults->n_engine_options, 1);
    const struct gp_model_options *a = &server.models[0];
    assert_int_equal(a->size_bytes, sizeof *a);
    assert_string_equal(a->name, "a");
    assert_string_equal(a->path, "/a");
    assert_string_equal(a->engine, "top");
    assert_int_equal(a->n_engine_options, 2);
    assert_string_equal(a->engine_options[0], "k=1");
    assert_string_equal(a->engine_options[1], "device=cuda");
    assert_int_equal(a->n_slots, 3);
    assert_int_equal(a->timeout_ms, 2000);
    assert_int_equal(a->max_body_bytes, 2 << 20);
    assert_int_equal(a->n_newest, 0);
    assert_int_equal(a->n_versions, 2);
    assert_int_equal(a->versions[1], 4);
    assert_int_equal(a->n_aliases, 1);
    assert_string_equal(a->aliases[0].name, "stable");
    assert_int_equal(a->aliases[0].version, 3);
    assert_string_equal(a->warm_up, "2");
    const struct gp_model_options *b = &server.models[1];
    assert_null(b->path);
    assert_string_equal(b->engine, "own");
    assert_string_equal(b->engine_options[1], "python=py");
    assert_int_equal(b->n_newest, 2);
    assert_string_equal(b->inputs[1], "y");
    assert_true(b->isolate && !a->isolate);
    const struct gp_model_options *c = &server.models[2];
    assert_int_equal(c->n_engine_options, 1);
    assert_string_equal(c->engine_options[0], "other=o");
    assert_int_equal(c->n_newest, 1);
}

/* Where rows are kept, for how long, and of which models. */
static void test_cache(void **state)
{
    static const struct {
        const char *given, *xdg, *home, *wanted;
    } folders[] = {{"/given", "/xdg", "/home", "/given/rows"},
                   {NULL, "/xdg", "/home", "/xdg/graphpipe/rows"},
                   {NULL, "not/whole", "/home", "/home/.cache/graphpipe/rows"},
                   {NULL, "", "/home", "/home/.cache/graphpipe/rows"},
                   {NULL, "", "", NULL}};
    (void)state;
    assert_int_equal(read_config("{\"cache\": true, \"cache-size\": \"5MiB\",\n"
                                 "\"cache-ttl\": \"1001ms\", \"cache-dir\": \"/c\",\n"
                                 "\"cache-url\": \"redis://h\",\n"
                                 "\"models\": {\"a\": {\"path\": \"/a\"},\n"
                                 "\"b\": {\"path\": \"/b\", \"cache\": false}}}"),
                     GP_OK);
    assert_string_equal(server.cache_dir, "/c/rows");
    assert_string_equal(server.cache_url, "redis://h");
    assert_int_equal(server.cache_size_bytes, 5 << 20);
    assert_int_equal(server.cache_ttl_s, 2); /* not less than was asked for */
    assert_true(server.models[0].cache && !server.models[1].cache);
    assert_int_equal(read_config("{\"engine\": \"echo\"}"), GP_OK);
    assert_int_equal(server.cache_size_bytes, 1 << 30);
    assert_int_equal(server.cache_ttl_s, 0);
    assert_null(server.cache_url);
    assert_false(server.models[0].cache);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct serve_values given = {.fetch.cache_dir = folders[i].given};
        (void)setenv("XDG_CACHE_HOME", folders[i].xdg, 1);
        (void)setenv("HOME", folders[i].home, 1);
        assert_int_equal(config_fill_server(&given, arena, &server, &err), GP_OK);
        if (folders[i].wanted)
            assert_string_equal(server.cache_dir, folders[i].wanted);
        else
            assert_null(server.cache_dir);
    }
    char room[16];
    assert_true(cache_dir_rows("0123456789", room, sizeof room)); /* just fits */
    assert_false(cache_dir_rows("01234567890", room, sizeof room));
    assert_false(cache_dir_find("0123456789012345", room, sizeof room));
}

/* The command line says which models there are; their tables stay, and those of the repository. */
static void test_words(void **state)
{
    (void)state;
    write_config(sample);
    assert_int_equal(gather((const char *[]){"a=/z", "n=/n", "--instances", "7", NULL}),
                     GP_OK);
    assert_int_equal(server.n_models, 4);
    assert_string_equal(server.models[0].path, "/z");
    assert_int_equal(server.models[0].n_versions, 2);
    assert_int_equal(server.models[0].n_slots, 7);
    assert_string_equal(server.models[1].name, "n");
    assert_string_equal(server.models[1].engine, "top");
    assert_string_equal(server.models[2].name, "b");
    assert_string_equal(server.models[3].name, "c");
    assert_int_equal(gather((const char *[]){"/z", NULL}), GP_INVALID);
    assert_non_null(strstr(err.message, "needs a name"));
    assert_int_equal(gather((const char *[]){"n=/z", "n=/y", NULL}), GP_INVALID);
    assert_non_null(strstr(err.message, "two models are called \"n\""));
    assert_int_equal(gather((const char *[]){"a b=/z", NULL}), GP_INVALID);
    assert_non_null(strstr(err.message, "not \"a b\""));

    write_config("{\"models\": {\"a\": {\"path\": \"/a\", \"instances\": 3}}}");
    assert_int_equal(gather((const char *[]){"/z", NULL}), GP_OK);
    assert_int_equal(server.n_models, 1);
    assert_string_equal(server.models->path, "/z");
    assert_null(server.models->name);
    assert_int_equal(server.models->n_slots, 0);
    assert_int_equal(gather((const char *[]){NULL}), GP_OK);
    assert_int_equal(server.n_models, 1);
    assert_string_equal(server.models->path, "/a");
    assert_string_equal(server.models->name, "a");
    assert_int_equal(server.models->n_slots, 3);
}

/* An engine alone is a model without a name and a path. */
static void test_engine_alone(void **state)
{
    (void)state;
    assert_int_equal(read_config("{\"engine\": \"echo\", \"device\": \"d\"}"), GP_OK);
    assert_int_equal(server.n_models, 1);
    assert_string_equal(server.models->engine, "echo");
    assert_string_equal(server.models->engine_options[0], "device=d");
    assert_true(!server.models->name && !server.models->path);
    assert_int_equal(read_config("{\"engine\": \"echo\", \"repository\": \"/r\"}"),
                     GP_OK);
    assert_int_equal(server.n_models, 0);
}

static void test_short_memory(void **state)
{
    (void)state;
    static const char *const argv[] = {"a=/z", "n=/n", NULL};
    write_config(sample);
    enum gp_status status = GP_NO_MEMORY;
    unsigned n = 0;
    for (; status == GP_NO_MEMORY && n < 1000; n++) {
        n_until_short = n + 1;
        status = gather(argv);
        if (status == GP_NO_MEMORY)
            assert_non_null(strstr(err.message, "out of memory"));
    }
    assert_int_equal(status, GP_OK);
    assert_true(n > 30);
    n_until_short = 0;
}

static void test_print(void **state)
{
    (void)state;
    write_config(sample);
    assert_int_equal(gather((const char *[]){"a=/z", NULL}), GP_OK);
    struct text text = {0};
    char line[128];
    models_print(&text, &config.models);
    (void)snprintf(line, sizeof line, "instances = 3                       # %s:4\n",
                   path);
    assert_non_null(strstr(text.data, "\n[models.a]\npath = /z "));
    assert_non_null(strstr(text.data, line));
    text_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_names),
        cmocka_unit_test(test_too_many), cmocka_unit_test(test_what_the_server_gets),
        cmocka_unit_test(test_words),    cmocka_unit_test(test_short_memory),
        cmocka_unit_test(test_print),    cmocka_unit_test(test_engine_alone),
        cmocka_unit_test(test_cache),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
