/* model/model_name.h - valid names of models, which are part of their URLs. */
#ifndef GP_MODEL_MODEL_NAME_H
#define GP_MODEL_MODEL_NAME_H

#include <graphpipe/status.h>

enum { MODEL_NAME_MAX_BYTES = 128 };

/* 1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or a digit, and not a route. */
enum gp_status model_name_check(const char *name, struct gp_error *err);

#endif
