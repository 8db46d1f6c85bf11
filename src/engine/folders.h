/* engine/folders.h - where plug-ins and the libraries installed with them may lie. */
#ifndef GP_ENGINE_FOLDERS_H
#define GP_ENGINE_FOLDERS_H

#include "base/text.h"

/* The folder of the running program into path; false where /proc does not say. */
bool engine_exe_folder(char *path, size_t path_size);

/* Adds every folder of plug-ins to *list, in the order of looking, each terminated:
 * engine_dir (unless NULL), those of GRAPHPIPE_ENGINE_PATH, ../lib/graphpipe from the
 * program, and graphpipe/ beside the shared library that this code is in. None twice. */
void engine_folders(const char *engine_dir, struct text *list);

/* The entry after `at`, or the first one after NULL; NULL at the end. */
const char *engine_folder_next(const struct text *list, const char *at);

/* Adds a terminated entry, unless it is there. */
void engine_folder_add(struct text *list, const char *folder);

#endif
