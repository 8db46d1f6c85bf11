#include "cli/cache_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cache_dir_find(const char *given, char *path, size_t size)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (given && *given)
        n = snprintf(path, size, "%s", given);
    else if (xdg && *xdg == '/')
        n = snprintf(path, size, "%s/graphpipe", xdg);
    else if (home && *home)
        n = snprintf(path, size, "%s/.cache/graphpipe", home);
    return n > 0 && (size_t)n < size;
}

bool cache_dir_rows(const char *given, char *path, size_t size)
{
    static const char rows[] = "/rows";
    if (!cache_dir_find(given, path, size))
        return false;
    const size_t n = strlen(path);
    if (size - n < sizeof rows)
        return false;
    memcpy(path + n, rows, sizeof rows);
    return true;
}
