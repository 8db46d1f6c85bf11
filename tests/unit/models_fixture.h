/* The table of models, with functions for models, and the test for their loader. */
#ifndef GP_TESTS_MODELS_FIXTURE_H
#define GP_TESTS_MODELS_FIXTURE_H

#include "model/models.h"

#include "still_poller.h"

struct models_fixture {
    struct models models;
    struct model_host host;
    struct poller poller;
    struct model *left; /* the last that was, not closed yet */
    unsigned n_left;
};

/* Around each test of cmocka; at the end all models are closed, and nothing is left of them. */
int models_fixture_begin(void **state);
int models_fixture_end(void **state);

/* The path of an engine of the build: "echo", or one of tests/engines. Valid until the fourth call
 * from now. */
const char *fixture_engine(const char *name);

struct model *fixture_open(struct models_fixture *f);

struct model_entry *fixture_add(struct models_fixture *f, const char *name);

struct model_version *fixture_version(struct models_fixture *f, struct model_entry *entry,
                                      uint64_t number);

/* A version that is ready; gives its model. */
struct model *fixture_serve(struct models_fixture *f, struct model_entry *entry,
                            uint64_t number);

void assert_finds(struct models_fixture *f, const char *path, struct model *wanted);

void assert_refuses(struct models_fixture *f, const char *path, enum gp_status status,
                    const char *message);

/* This one, and no other, has been left since the last time, and closes it. */
void assert_left(struct models_fixture *f, const struct model *model);

#endif
