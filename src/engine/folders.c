/* The list of folders is one text of terminated strings, so that it has one owner and no
 * limit. A program that links libgraphpipe-server from anywhere finds the plug-ins that
 * came with that library by the library's own path, which dladdr knows. */
#include "engine/folders.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *engine_folder_next(const struct text *list, const char *at)
{
    if (list->is_short || list->size_bytes == 0)
        return NULL;
    const char *next = at ? at + strlen(at) + 1 : list->data;
    return next < list->data + list->size_bytes ? next : NULL;
}

void engine_folder_add(struct text *list, const char *folder)
{
    for (const char *at = engine_folder_next(list, NULL); at;
         at = engine_folder_next(list, at))
        if (strcmp(at, folder) == 0)
            return;
    text_add(list, folder, strlen(folder) + 1);
}

/* Cuts the path down to its folder; that of the root is "/". */
static bool cut_to_folder(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash)
        return false;
    slash[slash == path ? 1 : 0] = '\0';
    return true;
}

bool engine_exe_folder(char *path, size_t path_size)
{
    const ssize_t n = readlink("/proc/self/exe", path, path_size - 1);
    if (n <= 0 || (size_t)n >= path_size - 1)
        return false;
    path[n] = '\0';
    return cut_to_folder(path);
}

/* The folder at `relative` from another one, if it exists. A file graphpipe beside the
 * program is the program. */
static void add_relative(struct text *list, const char *folder, const char *relative)
{
    char path[PATH_MAX * 2], real[PATH_MAX];
    struct stat info;
    if (snprintf(path, sizeof path, "%s/%s", folder, relative) < (int)sizeof path &&
        realpath(path, real) && stat(real, &info) == 0 && S_ISDIR(info.st_mode))
        engine_folder_add(list, real);
}

static void add_variable(struct text *list)
{
    const char *variable = getenv("GRAPHPIPE_ENGINE_PATH");
    char folder[PATH_MAX];
    while (variable && *variable) {
        const size_t n = strcspn(variable, ":");
        if (n > 0 && n < sizeof folder) {
            memcpy(folder, variable, n);
            folder[n] = '\0';
            engine_folder_add(list, folder);
        }
        variable += n + (variable[n] == ':');
    }
}

void engine_folders(const char *engine_dir, struct text *list)
{
    char folder[PATH_MAX];
    Dl_info self;
    if (engine_dir && *engine_dir)
        engine_folder_add(list, engine_dir);
    add_variable(list);
    if (engine_exe_folder(folder, sizeof folder))
        add_relative(list, folder, "../lib/graphpipe");
    static const char here[] = "";
    if (dladdr(here, &self) && self.dli_fname && realpath(self.dli_fname, folder) &&
        cut_to_folder(folder))
        add_relative(list, folder, "graphpipe");
}
