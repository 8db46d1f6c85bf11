/* Finds and opens a framework's runtime library for a plug-in. The surest place comes
 * first: what the user names, what was installed beside the plug-ins, what tools/setup
 * fetched into .deps/, what the system's loader knows, and last what the python3 on PATH
 * has installed, which costs a process. If a file is found but unusable the search goes
 * on, and an error mentions it. Libraries are never closed. */
#include "base/place.h"
#include "engine/engine.h"
#include "engine/folders.h"
#include "engine/python.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fnmatch.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LEVELS_UP = 4 };

struct search {
    const struct gp_library *library;
    struct text looked; /* the searched places, for the error */
    struct text reason; /* the first file that was found but unusable */
    char *path;
    size_t path_size;
    void *handle;
};

/* Where the library was found in the end, with links resolved by the loader. */
static void say_path(struct search *search, const char *file)
{
    struct link_map *map = NULL;
    if (dlinfo(search->handle, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name[0])
        file = map->l_name;
    (void)snprintf(search->path, search->path_size, "%s", file);
}

static bool try_file(struct search *search, const char *file)
{
    const char *symbol = search->library->symbol;
    char words[PLACE_WORDS_BYTES];
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    const bool is_good = handle && (!symbol || dlsym(handle, symbol));
    if (is_good) {
        search->handle = handle;
        say_path(search, file);
    } else if (strchr(file, '/') && search->reason.size_bytes == 0) {
        const char *why = handle ? NULL : dlerror();
        if (why)
            text_printf(&search->reason, "%s%s", why, place_loader_limit(why, words));
        else
            text_printf(&search->reason, "%s lacks %s", file, symbol);
    }
    return is_good;
}

/* The path of the newest matching file in the folder. */
static bool newest(const char *folder, const char *pattern, char *path, size_t path_size)
{
    char best[NAME_MAX + 1] = "";
    DIR *dir = opendir(folder);
    if (!dir)
        return false;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        if (fnmatch(pattern, entry->d_name, FNM_PERIOD) == 0 &&
            strverscmp(entry->d_name, best) > 0)
            memcpy(best, entry->d_name, strlen(entry->d_name) + 1);
    closedir(dir);
    return best[0] && snprintf(path, path_size, "%s/%s", folder, best) < (int)path_size;
}

static void say_looked(struct search *search, const char *place)
{
    text_printf(&search->looked, "%s%s", search->looked.size_bytes ? ", " : "", place);
}

static bool try_folder(struct search *search, const char *folder)
{
    char path[PATH_MAX];
    say_looked(search, folder);
    return newest(folder, search->library->pattern, path, sizeof path) &&
           try_file(search, path);
}

/* In a folder of plug-ins, or in the one beside them that an installation puts a framework of
 * several libraries in. */
static bool try_plugin_folder(struct search *search, const char *folder)
{
    char inner[PATH_MAX];
    struct stat info;
    if (try_folder(search, folder))
        return true;
    return search->library->deps &&
           snprintf(inner, sizeof inner, "%s/%s", folder, search->library->deps) <
               (int)sizeof inner &&
           stat(inner, &info) == 0 && try_folder(search, inner);
}

static bool try_plugin_folders(struct search *search)
{
    struct text folders = {0};
    bool is_found = false;
    engine_folders(NULL, &folders);
    for (const char *at = engine_folder_next(&folders, NULL); at && !is_found;
         at = engine_folder_next(&folders, at))
        is_found = try_plugin_folder(search, at);
    text_finish(&folders);
    return is_found;
}

/* .deps/ of the source tree that the program was built in. */
static bool try_deps(struct search *search)
{
    char folder[PATH_MAX], deps[PATH_MAX];
    struct stat info;
    if (!search->library->deps || !engine_exe_folder(folder, sizeof folder))
        return false;
    for (int i = 0; i < LEVELS_UP; i++) {
        if (snprintf(deps, sizeof deps, "%s/.deps/%s", folder, search->library->deps) <
                (int)sizeof deps &&
            stat(deps, &info) == 0 && try_folder(search, deps))
            return true;
        char *slash = strrchr(folder, '/');
        if (!slash)
            break;
        *slash = '\0';
    }
    return false;
}

static bool try_system(struct search *search)
{
    if (!search->library->file)
        return false;
    say_looked(search, "the system's libraries");
    return try_file(search, search->library->file);
}

static bool try_python(struct search *search)
{
    struct text sites = {0};
    char folder[PATH_MAX];
    struct stat info;
    bool is_found = false;
    if (!search->library->package)
        return false;
    say_looked(search, "the packages of python3");
    engine_python_folders(&sites);
    for (const char *at = engine_folder_next(&sites, NULL); at && !is_found;
         at = engine_folder_next(&sites, at))
        is_found = snprintf(folder, sizeof folder, "%s/%s", at,
                            search->library->package) < (int)sizeof folder &&
                   stat(folder, &info) == 0 && try_folder(search, folder);
    text_finish(&sites);
    return is_found;
}

/* The value of --engine-option library=PATH, or NULL. */
static const char *library_option(const struct gp_engine_options *options)
{
    static const char key[] = "library=";
    for (size_t i = 0; options && i < options->n_options; i++)
        if (strncmp(options->options[i], key, sizeof key - 1) == 0)
            return options->options[i] + sizeof key - 1;
    return NULL;
}

/* The end of a message: the command that installs the library, if known. */
static const char *remedy(const struct search *search)
{
    return search->library->remedy ? search->library->remedy : "";
}

static const char *before_remedy(const struct search *search)
{
    return *remedy(search) ? ENGINE_BEFORE_REMEDY : "";
}

/* What is wrong with the file or folder that was found. */
static const char *reason(const struct search *search)
{
    return search->reason.size_bytes ? search->reason.data : "no file in it matches";
}

/* Only the named file or folder: the user wants that one. */
static void try_named(struct search *search, const char *named, struct gp_error *err)
{
    struct stat info;
    const char *slash = strchr(named, '/') ? "" : "./";
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s%s", slash, named) >= (int)sizeof path ||
        stat(path, &info) != 0)
        gp_error_set(err, GP_NOT_FOUND, "library=%.*s: there is no such file%s%s",
                     gp_cut(named, 300), named, before_remedy(search), remedy(search));
    else if (S_ISDIR(info.st_mode) ? !try_folder(search, path) : !try_file(search, path))
        gp_error_set(err, GP_UNAVAILABLE, "library=%.*s: %.*s%s%s", gp_cut(named, 100),
                     named, gp_cut(reason(search), 250), reason(search),
                     before_remedy(search), remedy(search));
}

static void not_found(const struct search *search, struct gp_error *err)
{
    const char *looked = search->looked.size_bytes ? search->looked.data : "nowhere";
    if (search->reason.size_bytes)
        gp_error_set(err, GP_UNAVAILABLE, "%s cannot be used: %.*s%s%s",
                     search->library->pattern, gp_cut(reason(search), 300),
                     reason(search), before_remedy(search), remedy(search));
    else
        gp_error_set(err, GP_UNAVAILABLE, "%s is not there: looked in %.*s%s%s",
                     search->library->pattern, gp_cut(looked, 300), looked,
                     before_remedy(search), remedy(search));
}

void *engine_library_open(const struct gp_library *library,
                          const struct gp_engine_options *options, char *path,
                          size_t path_size, struct gp_error *err)
{
    char unwanted[PATH_MAX];
    struct search search = {.library = library,
                            .path = path ? path : unwanted,
                            .path_size = path ? path_size : sizeof unwanted};
    const char *named = library_option(options);
    if (named)
        try_named(&search, named, err);
    else if (!try_plugin_folders(&search) && !try_deps(&search) && !try_system(&search) &&
             !try_python(&search))
        not_found(&search, err);
    text_finish(&search.looked);
    text_finish(&search.reason);
    return search.handle;
}
