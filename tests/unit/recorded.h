/* Recorded requests in the files of a test (temp_tree.h), for warm-ups. */
#ifndef GP_TESTS_RECORDED_H
#define GP_TESTS_RECORDED_H

#include <graphpipe/message.h>

/* One with three floats of this value, by name or not, and a config or not. */
void recorded_put(const char *path, const char *name, float value, const char *config);

void recorded_put_message(const char *path, const struct gp_encoding *message);

#endif
