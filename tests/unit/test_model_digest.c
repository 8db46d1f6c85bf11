/* What a model with a cache is known by beside its files: its engine and the options of that. Whatever decides
 * what it answers has another digest. */
#include "digest_fixture.h"
#include "model/model_files.h"
#include "temp_tree.h"

#include <graphpipe/version.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void the_engine_counts(void **state)
{
    static const char *const some[] = {"device=cpu", "library=/l"},
                             *const turned[] = {"library=/l", "device=cpu"},
                             *const joined[] = {"device=cpulibrary=/l", ""};
    (void)state;
    tree_put("/m.onnx", "weights");
    const struct digest none = digest_of("/m.onnx");
    digested.options.engine_options = some;
    digested.options.n_engine_options = 2;
    const struct digest two = digest_of("/m.onnx");
    assert_false(digests_are_equal(none, two));
    digested.options.n_engine_options = 1;
    digest_assert_other("/m.onnx", two);
    digested.options.n_engine_options = 2;
    digested.options.engine_options = joined;
    digest_assert_other("/m.onnx", two);
    digested.options.engine_options = turned; /* the last of two with a name may count */
    digest_assert_other("/m.onnx", two);
    digested.options.engine_options = some;
    digest_assert_same("/m.onnx", two);
    digested.model.engine_version = "1.3";
    digest_assert_other("/m.onnx", two);
    digested.model.engine_version = "1.2";
    digested.options.engine = "openvino";
    digest_assert_other("/m.onnx", two);
}

/* What is kept in folders is found by it: whoever changes it raises its first number. */
static void it_is_made_of_these(void **state)
{
    static const char *const some[] = {"device=cpu", "library=/l"};
    struct digester digester;
    struct digest digest;
    (void)state;
    tree_put("/m.onnx", "weights");
    digested.options.engine_options = some;
    digested.options.n_engine_options = 2;
    (void)digest_of("/m.onnx");
    digest_begin(&digester);
    digest_add_number(&digester, 1);
    digest_add_text(&digester, GP_VERSION);
    digest_add_text(&digester, "onnx");
    digest_add_text(&digester, "1.2");
    digest_add_number(&digester, 2);
    digest_add_text(&digester, some[0]);
    digest_add_text(&digester, some[1]);
    digest_add(&digester, &digested.model.files->digest, sizeof digest);
    digest_end(&digester, &digest);
    assert_true(digests_are_equal(digested.model.digest, digest));

    digested.model.engine_version = NULL; /* as if it were empty */
    digest = digest_of("/m.onnx");
    digested.model.engine_version = "";
    digest_assert_same("/m.onnx", digest);
}

/* Those whose models are all in their files. */
static void engines_of_files(void **state)
{
    static const char *const engines[] = {"onnx", "openvino", "pytorch", "tensorflow"};
    (void)state;
    tree_put("/m", "weights");
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) {
        digested.options.engine = engines[i];
        const struct digest digest = digest_of("/m");
        digest_assert_same("/m", digest);
        tree_put("/m", "other");
        digest_assert_other("/m", digest);
        tree_put("/m", "weights");
    }
}

static void what_does_not_change_answers_does_not_count(void **state)
{
    static const char *const names[] = {"x"};
    (void)state;
    tree_put("/m.onnx", "weights");
    const struct digest digest = digest_of("/m.onnx");
    digested.options.isolate = 1;
    digested.options.name = "other";
    digested.options.inputs = digested.options.outputs = names;
    digested.options.n_inputs = digested.options.n_outputs = 1;
    digested.options.n_slots = 3;
    digested.options.max_batch = 8;
    digest_assert_same("/m.onnx", digest);
}

static void an_engine_without_a_file(void **state)
{
    (void)state;
    digested.options.engine = "echo";
    const struct digest digest = digest_of(NULL);
    digest_assert_same(NULL, digest);
    digest_assert_same("/gone", digest); /* it does not look */
}

/* Its rows are for this very opening. */
static void code_is_other_each_time(void **state)
{
    static const char *const engines[] = {"python", "some", "./graphpipe-engine-onnx.so"};
    (void)state;
    tree_put("/m.py", "import other");
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) {
        digested.options.engine = engines[i];
        digest_assert_other("/m.py", digest_of("/m.py"));
    }
    digested.model.files = NULL;
    digested.options.engine = NULL; /* a function */
    assert_int_equal(model_digest_end(&digested.model, &digested.options, &digested.err),
                     GP_OK);
    const struct digest digest = digested.model.digest;
    assert_int_equal(model_digest_end(&digested.model, &digested.options, &digested.err),
                     GP_OK);
    assert_false(digests_are_equal(digested.model.digest, digest));
}

static void another_server_is_not_cached(void **state)
{
    (void)state;
    digested.options.engine = "remote";
    digest_assert_refused(NULL, GP_UNSUPPORTED, "--cache is not for the engine remote: ");
    digested.options.engine = "/lib/graphpipe-engine-remote.so";
    digested.engine.name = "remote";
    digest_assert_refused(NULL, GP_UNSUPPORTED, "--cache is not for the engine remote: ");
}

/* --- processes of it that are started anew --- */

static void the_same_files_are_the_same_model(void **state)
{
    (void)state;
    digested.model.store = (struct store *)(void *)&digested.model; /* it has one */
    tree_put("/m.onnx", "weights");
    (void)digest_of("/m.onnx");
    model_digest_reopened(&digested.model);
    assert_true(atomic_load(&digested.model.salt) == 0);
    digested.options.engine = "echo";
    (void)digest_of("/gone");
    model_digest_reopened(&digested.model);
    assert_true(atomic_load(&digested.model.salt) == 0);
    assert_logged(&digested.kept, "");
}

static void other_files_are_another_model(void **state)
{
    (void)state;
    digested.model.store = (struct store *)(void *)&digested.model;
    tree_put("/m.onnx", "weights");
    (void)digest_of("/m.onnx");
    tree_put("/m.onnx", "others!");
    model_digest_reopened(&digested.model);
    const uint64_t salt = atomic_load(&digested.model.salt);
    assert_true(salt != 0);
    model_digest_reopened(&digested.model);
    assert_true(atomic_load(&digested.model.salt) != salt &&
                atomic_load(&digested.model.salt) != 0);
    assert_logged(&digested.kept,
                  "warning: */m.onnx has changed since it was read: load the model "
                  "again; until then what was cached of it is not answered any more\n*");
}

static void code_is_another_model(void **state)
{
    (void)state;
    digested.options.engine = "python";
    tree_put("/m.py", "import other");
    (void)digest_of("/m.py");
    model_digest_reopened(&digested.model); /* without a cache nothing is of interest */
    assert_true(atomic_load(&digested.model.salt) == 0);
    digested.model.store = (struct store *)(void *)&digested.model;
    model_digest_reopened(&digested.model);
    assert_true(atomic_load(&digested.model.salt) != 0);
    assert_logged(&digested.kept, "");
}

#define TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, digest_begin_test, digest_end_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_engine_counts),
        TEST(it_is_made_of_these),
        TEST(engines_of_files),
        TEST(what_does_not_change_answers_does_not_count),
        TEST(an_engine_without_a_file),
        TEST(code_is_other_each_time),
        TEST(another_server_is_not_cached),
        TEST(the_same_files_are_the_same_model),
        TEST(other_files_are_another_model),
        TEST(code_is_another_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
