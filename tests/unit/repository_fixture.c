#include "repository_fixture.h"

#include "lines.h"

#include <inttypes.h>

struct fixture fixture;

int fixture_make(void **state)
{
    fixture.arena = gp_arena_create();
    memset(&fixture.err, 0, sizeof fixture.err);
    return fixture.arena ? tree_make(state) : -1;
}

int fixture_remove(void **state)
{
    gp_arena_destroy(fixture.arena);
    return tree_remove(state);
}

static const char *below(const char *path)
{
    const size_t n = strlen(tree_root);
    assert_memory_equal(path, tree_root, n);
    return path + n;
}

void fixture_describe(struct text *text)
{
    for (size_t i = 0; i < fixture.catalog.n_models; i++)
        for (size_t k = 0; k < fixture.catalog.models[i].n_versions; k++) {
            struct catalog_version *version = &fixture.catalog.models[i].versions[k];
            const bool is_ok =
                repository_examine(&fixture.catalog, version, &fixture.err) == GP_OK;
            text_printf(text, "%s %" PRIu64 "%s%s\n", fixture.catalog.models[i].name,
                        version->number, is_ok ? " " : ": ",
                        is_ok ? below(version->path) : fixture.err.message);
            assert_true(!is_ok || version->fingerprint);
        }
    for (size_t i = 0; i < fixture.catalog.n_problems; i++) {
        const struct catalog_problem *problem = &fixture.catalog.problems[i];
        assert_true(problem->status != GP_OK);
        text_printf(text, "! %s", problem->name);
        if (problem->has_version)
            text_printf(text, " %" PRIu64, problem->version);
        text_printf(text, " %s\n", problem->message);
    }
}

void assert_shows(const char *wanted)
{
    struct text text = {0};
    fixture_describe(&text);
    assert_lines(text.data ? text.data : "", wanted);
    text_finish(&text);
}

enum gp_status fixture_look(const char *path)
{
    return repository_look(fixture.arena, path, NULL, &fixture.catalog, &fixture.err);
}

void assert_found(const char *wanted)
{
    const enum gp_status status = fixture_look(tree_root);
    if (status != GP_OK)
        fail_msg("%s: %s", gp_status_name(status), fixture.err.message);
    assert_shows(wanted);
}

void assert_refused(const char *path, enum gp_status status, const char *message)
{
    assert_int_equal(fixture_look(path), status);
    assert_int_equal(fixture.err.status, status);
    if (!strstr(fixture.err.message, message))
        fail_msg("wanted \"%s\" in \"%s\"", message, fixture.err.message);
}
