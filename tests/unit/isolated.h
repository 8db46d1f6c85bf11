/* Isolated engines whose children are real: the test's plug-ins, or any, in graphpipe's worker. */
#ifndef GP_TESTS_ISOLATED_H
#define GP_TESTS_ISOLATED_H

#include "engine/isolate_child.h"

/* Opens it; worker and hang_ns are set. The test fails if it cannot. */
struct isolate *isolated_open(struct isolate_options options);

/* The same for a plug-in with one slot and nothing else. */
struct isolate *isolated_open_plain(struct pool *pool, const char *name);

/* The path of a plug-in of tests/engines; valid until the next call. */
const char *isolated_plugin(const char *name);

/* One run in slot 0, as of the server. */
enum gp_status isolated_run(struct engine_run *run, struct isolate *isolate,
                            const char *config, const struct gp_tensor *inputs,
                            uint32_t n_inputs, struct gp_error *err);

void isolated_close(struct isolate *isolate);

#endif
