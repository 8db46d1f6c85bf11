/* cli/cache_dir.h - where this user's caches are: models that were fetched, and in rows/ the row cache. */
#ifndef GP_CLI_CACHE_DIR_H
#define GP_CLI_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the folder that --cache-dir names, or else graphpipe in $XDG_CACHE_HOME or ~/.cache. False
 * if there is no HOME either, or too little room. */
bool cache_dir_find(const char *given, char *path, size_t size);

/* The same of the rows in it. */
bool cache_dir_rows(const char *given, char *path, size_t size);

#endif
