/* What is told of the models as JSON. */
#include "server/models_json.h"

#include "scene.h"
#include "served.h"

/* The function of the scene. */
/* The function of scenes. */
#define ITS_SHAPES                                                                       \
    ",\n  \"inputs\": [\n    {\"name\": \"x\", \"type\": \"uint8\", \"shape\": [-1]}\n " \
    " ],"                                                                                \
    "\n  \"outputs\": [\n    {\"name\": \"y\", \"type\": \"uint8\", \"shape\": [-1]},\n" \
    "    {\"name\": \"z\", \"type\": \"uint8\", \"shape\": [-1]}\n  ]"

static void assert_json(struct gp_server *server, const char *wanted)
{
    struct text text = {0};
    models_write_json(server, &text);
    assert_string_equal(text.data, wanted);
    text_finish(&text);
}

static void a_server_without_models(void **state)
{
    static struct gp_server server;
    (void)state;
    models_init(&server.models);
    assert_json(&server, "{\n  \"server\": \"graphpipe " GP_VERSION "\",\n"
                         "  \"models\": [\n  ]\n}\n");
    models_finish(&server.models);
}

static void a_lone_model(void **state)
{
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "one"});
    f->server->models.open->load_ns = 1999 * CLOCK_MS + 999999;
    f->server->models.open->batch_rules.max_rows = 8;
    assert_json(f->server,
                "{\n"
                "  \"server\": \"graphpipe " GP_VERSION "\",\n"
                "  \"default\": \"one\",\n"
                "  \"models\": [\n"
                "    {\"name\": \"one\", \"state\": \"ready\", \"version\": 1,\n"
                "      \"versions\": [{\"version\": 1, \"state\": \"ready\", "
                "\"load_ms\": 1999}],\n"
                "      \"max_batch\": 8" ITS_SHAPES "}\n"
                "  ]\n"
                "}\n");
    scene_end(f);
}

/* The version that answers for the name is the newest that is ready; a name that was unloaded is so
 * whatever its versions are. */
static void models_in_each_state(void **state)
{
    static const struct gp_model_alias aliases[] = {{"stable", 2}, {"q\"", 7}};
    static const struct gp_model_options many = {.size_bytes = sizeof many,
                                                 .name = "many",
                                                 .aliases = aliases,
                                                 .n_aliases = 2},
                                         none = {.size_bytes = sizeof none,
                                                 .name = "none"},
                                         gone = {.size_bytes = sizeof gone,
                                                 .name = "gone"};
    struct gp_error why;
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "zero"});
    struct gp_server *server = f->server;
    struct model_entry *entry = served_entry(server, &many);
    served_state(server, entry, 2, MODEL_LOADING, NULL);
    served_state(server, entry, 9, MODEL_FAILED, "no \"file\"");
    served_version(server, entry, 3, 1)->warm_up_ns = 45 * CLOCK_MS + 999999;
    entry = served_entry(server, &none);
    gp_error_set(&why, GP_IO, "no version");
    models_set_error(&server->models, entry, &why);
    entry = served_entry(server, &gone);
    served_state(server, entry, 1, MODEL_UNLOADED, NULL);
    models_set_unloaded(&server->models, entry, true);
    assert_json(
        server,
        "{\n"
        "  \"server\": \"graphpipe " GP_VERSION "\",\n"
        "  \"default\": \"zero\",\n"
        "  \"models\": [\n"
        "    {\"name\": \"gone\", \"state\": \"unloaded\",\n"
        "      \"versions\": [{\"version\": 1, \"state\": \"unloaded\"}]},\n"
        "    {\"name\": \"many\", \"state\": \"ready\", \"version\": 3,\n"
        "      \"versions\": [{\"version\": 9, \"state\": \"failed\", \"error\": "
        "\"no \\\"file\\\"\"}, {\"version\": 3, \"state\": \"ready\", \"load_ms\": 0, "
        "\"warm_up_ms\": 45}, {\"version\": 2, \"state\": \"loading\"}],\n"
        "      \"aliases\": {\"stable\": 2, \"q\\\"\": 7},\n"
        "  \"inputs\": [\n  ],\n  \"outputs\": [\n  ]},\n"
        "    {\"name\": \"none\", \"state\": \"failed\", \"error\": \"no version\",\n"
        "      \"versions\": []},\n"
        "    {\"name\": \"zero\", \"state\": \"ready\", \"version\": 1,\n"
        "      \"versions\": [{\"version\": 1, \"state\": \"ready\", \"load_ms\": "
        "0}]" ITS_SHAPES "}\n"
        "  ]\n"
        "}\n");
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_without_models),
        cmocka_unit_test(a_lone_model),
        cmocka_unit_test(models_in_each_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
