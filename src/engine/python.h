/* engine/python.h - the Python interpreter that is asked for engines and libraries. */
#ifndef GP_ENGINE_PYTHON_H
#define GP_ENGINE_PYTHON_H

#include "base/text.h"

#include <graphpipe/engine.h>

#include <stdbool.h>

/* Adds the package folders of the python3 on PATH to *list, as engine_folder_add does;
 * nothing if there is no python3, or if it does not answer within 5 s. */
void engine_python_folders(struct text *list);

/* The interpreter for an engine that is a Python program: a path, or a name on PATH. */
const char *engine_python(const struct gp_engine_options *options);

/* The error for an interpreter that cannot be started; `reason` is an errno. */
enum gp_status engine_python_failure(const char *python, int reason,
                                     struct gp_error *err);

/* Asks such an engine about its environment: *answer gets the version, then the path and
 * whatever else it found, each terminated. It may take as long as imports do, 60 s at
 * most. */
enum gp_status engine_python_probe(const char *script,
                                   const struct gp_engine_options *options,
                                   struct text *answer, struct gp_error *err);

#endif
