/* engine/folders.h - the folders of plug-ins and of the libraries installed with them. */
#ifndef GP_ENGINE_FOLDERS_H
#define GP_ENGINE_FOLDERS_H

#include "base/text.h"

/* Writes the folder of the running program into path; false if /proc does not say. */
bool engine_exe_folder(char *path, size_t path_size);

/* Adds every folder of plug-ins to *list, in search order, each terminated and once:
 * engine_dir (unless NULL), those of GRAPHPIPE_ENGINE_PATH, ../lib/graphpipe from the
 * program, and graphpipe/ beside the shared library that contains this code. */
void engine_folders(const char *engine_dir, struct text *list);

/* The entry after `at`, or the first one after NULL; NULL at the end. */
const char *engine_folder_next(const struct text *list, const char *at);

/* Adds a terminated entry, unless the list has it. */
void engine_folder_add(struct text *list, const char *folder);

#endif
