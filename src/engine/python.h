/* engine/python.h - what the python3 on PATH has installed. */
#ifndef GP_ENGINE_PYTHON_H
#define GP_ENGINE_PYTHON_H

#include "base/text.h"

/* Adds its package folders to *list, as engine_folder_add does; nothing when there is no
 * python3, or when it does not answer within 5 s. */
void engine_python_folders(struct text *list);

#endif
