#include "digest_fixture.h"

#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct digest_fixture digested;

int digest_begin_test(void **state)
{
    struct digest_fixture *f = &digested;
    atomic_store(&f->is_ending, false);
    kept_log_begin(&f->kept);
    f->host = (struct model_host){.log = &f->kept, .is_ending = &f->is_ending};
    f->engine = (struct gp_engine){.name = "onnx"};
    f->model = (struct model){.host = &f->host,
                              .arena = gp_arena_create(),
                              .engine = &f->engine,
                              .engine_version = "1.2"};
    f->options = (struct gp_model_options){.engine = "onnx"};
    f->err = (struct gp_error){0};
    return tree_make(state);
}

int digest_end_test(void **state)
{
    model_digest_drop(&digested.model);
    gp_arena_destroy(digested.model.arena);
    kept_log_end(&digested.kept);
    return tree_remove(state);
}

enum gp_status digest_open(const char *path)
{
    struct digest_fixture *f = &digested;
    model_digest_drop(&f->model);
    f->model.files = NULL;
    f->options.path = path;
    const enum gp_status status = model_digest_begin(&f->model, &f->options, &f->err);
    return status == GP_OK ? model_digest_end(&f->model, &f->options, &f->err) : status;
}

enum gp_status digest_open_at(const char *path)
{
    return digest_open(path ? tree_path(path) : NULL);
}

struct digest digest_of(const char *path)
{
    if (digest_open_at(path) != GP_OK)
        fail_msg("%s: %s", path ? path : "no file", digested.err.message);
    return digested.model.digest;
}

bool digests_are_equal(struct digest a, struct digest b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

void digest_assert_refused(const char *path, enum gp_status status, const char *words)
{
    assert_int_equal(digest_open_at(path), status);
    if (!strstr(digested.err.message, words))
        fail_msg("\"%s\" is not in \"%s\"", words, digested.err.message);
}
