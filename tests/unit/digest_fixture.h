/* A model that is opened for its digest alone. */
#ifndef GP_TESTS_DIGEST_FIXTURE_H
#define GP_TESTS_DIGEST_FIXTURE_H

#include "kept_log.h"
#include "model/model.h"

/* Of engine "onnx" 1.2, unless the test says something else before it opens it. */
struct digest_fixture {
    atomic_bool is_ending;
    struct gp_engine engine;
    struct model model;
    struct model_host host;
    struct log kept;
    struct gp_model_options options;
    struct gp_error err;
};

extern struct digest_fixture digested;

/* For cmocka: with an empty folder. */
int digest_begin_test(void **state);
int digest_end_test(void **state);

/* Opens what is at this path; or at a path of the tree, or none if it is NULL. */
enum gp_status digest_open(const char *path);
enum gp_status digest_open_at(const char *path);

/* What that has, or the test fails. */
struct digest digest_of(const char *path);
bool digests_are_equal(struct digest a, struct digest b);

#define digest_assert_same(path, digest)                                                 \
    assert_true(digests_are_equal(digest_of(path), digest))
#define digest_assert_other(path, digest)                                                \
    assert_false(digests_are_equal(digest_of(path), digest))

void digest_assert_refused(const char *path, enum gp_status status, const char *words);

#endif
