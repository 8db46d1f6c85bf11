/* Contents are read, not mapped: a file that is cut meanwhile would end the process. */
#include "model/model_files.h"

#include "base/mem.h"
#include "model/contents.h"
#include "model/mentions.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20 };

struct model_file {
    struct model_file *next;
    const char *path;
    struct stat info;
};

struct files_reading {
    struct model_files *files;
    struct digester digester;
    size_t top_size;  /* of the path of the folder */
    const char *path; /* of a lone file */
    const char *name; /* in its folder */
    size_t stem_size; /* of its name */
    int fd;           /* its own */
    unsigned n_files; /* beside it */
    unsigned char *piece;
};

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static enum gp_status refuse_change(const char *path, struct gp_error *err)
{
    return gp_error_set(err, GP_UNAVAILABLE,
                        "%s has changed since it was read: load the model again", path);
}

static enum gp_status keep_file(struct model_files *files, const char *path,
                                const struct stat *info, struct gp_error *err)
{
    struct model_file *file = gp_arena_alloc(files->arena, sizeof *file);
    if (!file)
        return gp_error_set(err, GP_NO_MEMORY, "no memory to read the model's files");
    *file = (struct model_file){files->first, path, *info};
    files->first = file;
    return GP_OK;
}

/* --- the contents of one --- */

/* Its size comes first: no other file goes on where it ends. */
static enum gp_status add_contents(struct files_reading *reading, int fd,
                                   const char *path, const struct stat *info,
                                   struct gp_error *err)
{
    uint64_t n_left = (uint64_t)info->st_size;
    digest_add_number(&reading->digester, n_left);
    for (;;) {
        const ssize_t n = read(fd, reading->piece, PIECE_BYTES);
        if (n < 0)
            return listing_refuse(path, errno, err);
        if (n == 0)
            return n_left ? refuse_change(path, err) : GP_OK;
        if ((uint64_t)n > n_left)
            return refuse_change(path, err);
        if (atomic_load(reading->files->is_ending))
            return gp_error_set(err, GP_UNAVAILABLE, "the server is ending");
        digest_add(&reading->digester, reading->piece, (size_t)n);
        n_left -= (uint64_t)n;
    }
}

static enum gp_status add_file_of(struct files_reading *reading, int fd, const char *path,
                                  struct gp_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return listing_refuse(path, errno, err);
    if (!S_ISREG(info.st_mode))
        return refuse_change(path, err);
    const enum gp_status status = keep_file(reading->files, path, &info, err);
    return status == GP_OK ? add_contents(reading, fd, path, &info, err) : status;
}

static enum gp_status add_file(struct files_reading *reading, const char *path,
                               struct gp_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return listing_refuse(path, errno, err);
    const enum gp_status status = add_file_of(reading, fd, path, err);
    close(fd);
    return status;
}

/* --- a folder --- */

static enum gp_status add_entry(void *context, const char *path, const struct stat *info,
                                struct gp_error *err)
{
    struct files_reading *reading = context;
    digest_add_text(&reading->digester, path + reading->top_size);
    digest_add_number(&reading->digester, info->st_mode & S_IFMT);
    return S_ISREG(info->st_mode) ? add_file(reading, path, err)
                                  : keep_file(reading->files, path, info, err);
}

static enum gp_status add_folder(struct files_reading *reading, const char *path,
                                 const struct stat *info, struct gp_error *err)
{
    const struct listing_root anywhere = {.path = path, .real = "/"};
    reading->top_size = strlen(path);
    const enum gp_status status = keep_file(reading->files, path, info, err);
    return status == GP_OK ? contents_walk(reading->files->arena, &anywhere, path,
                                           add_entry, reading, err)
                           : status;
}

/* --- a lone file, and what is beside it --- */

/* Among the names in a folder. */
struct beside {
    const char *path;
    const char *shown; /* its path from the lone file's folder; a folder's with a slash */
    const char *name;  /* the end of that */
    bool is_folder;
    bool has_stem; /* the lone file's */
};

static size_t stem_size(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && dot != name ? (size_t)(dot - name) : strlen(name);
}

static bool has_stem(const struct files_reading *reading, const char *shown)
{
    return stem_size(shown) == reading->stem_size &&
           memcmp(shown, reading->name, reading->stem_size) == 0;
}

/* False if memory is short. */
static bool show_entry(struct gp_arena *arena, const char *before, const char *name,
                       const struct stat *info, struct beside *entry)
{
    const size_t size = strlen(before) + strlen(name) + 2;
    char *shown = gp_arena_alloc(arena, size);
    entry->is_folder = S_ISDIR(info->st_mode);
    entry->shown = shown;
    if (shown)
        (void)snprintf(shown, size, "%s%s%s", before, name, entry->is_folder ? "/" : "");
    entry->name = shown ? shown + strlen(before) : NULL;
    return shown;
}

/* What cannot be looked at is nothing that a model could be read from. */
static enum gp_status list_beside(struct files_reading *reading, const char *folder,
                                  const char *before, struct beside **entries, size_t *n,
                                  struct gp_error *err)
{
    struct gp_arena *arena = reading->files->arena;
    struct listing listing;
    if (listing_read_all(arena, folder, &listing, err) != GP_OK)
        return err->status;
    *n = 0;
    *entries = gp_arena_alloc(arena, listing.n_names * sizeof **entries);
    for (size_t i = 0; *entries && i < listing.n_names; i++) {
        struct beside *entry = &(*entries)[*n];
        const char *name = listing.names[i];
        struct stat info;
        if (listing_join(arena, folder, name, &entry->path, err) != GP_OK)
            return err->status;
        if (stat(entry->path, &info) != 0 ||
            (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) ||
            (!*before && strcmp(name, reading->name) == 0))
            continue;
        if (!show_entry(arena, before, name, &info, entry))
            return listing_no_memory(err);
        entry->has_stem = !entry->is_folder && !*before && has_stem(reading, name);
        (*n)++;
    }
    return *entries ? GP_OK : listing_no_memory(err);
}

static enum gp_status add_beside(struct files_reading *reading, const char *folder,
                                 const char *before, unsigned depth,
                                 struct gp_error *err);

static enum gp_status add_mentioned(struct files_reading *reading,
                                    const struct beside *entry, unsigned depth,
                                    struct gp_error *err)
{
    if (entry->is_folder)
        return add_beside(reading, entry->path, entry->shown, depth + 1, err);
    if (++reading->n_files > CONTENTS_MAX_FILES)
        return gp_error_set(err, GP_TOO_LARGE, "%s names more than %d files",
                            reading->path, CONTENTS_MAX_FILES);
    digest_add_number(&reading->digester, entry->has_stem);
    digest_add_text(&reading->digester,
                    entry->shown + (entry->has_stem ? reading->stem_size : 0));
    return add_file(reading, entry->path, err);
}

static enum gp_status add_beside(struct files_reading *reading, const char *folder,
                                 const char *before, unsigned depth, struct gp_error *err)
{
    struct beside *entries = NULL;
    size_t n = 0;
    if (depth > CONTENTS_MAX_DEPTH)
        return gp_error_set(err, GP_TOO_LARGE,
                            "%s names folders more than %d deep: does a symbolic link "
                            "lead back to one of them?",
                            reading->path, CONTENTS_MAX_DEPTH);
    if (list_beside(reading, folder, before, &entries, &n, err) != GP_OK)
        return err->status;
    struct mention *mentions =
        gp_arena_alloc(reading->files->arena, n * sizeof *mentions);
    if (!mentions)
        return listing_no_memory(err);
    for (size_t i = 0; i < n; i++)
        mentions[i] = (struct mention){.name = entries[i].name,
                                       .size_bytes = strlen(entries[i].name)};
    enum gp_status status = mentions_find(reading->fd, reading->path, mentions, n,
                                          reading->files->is_ending, err);
    for (size_t i = 0; i < n && status == GP_OK; i++)
        if (mentions[i].is_found || entries[i].has_stem)
            status = add_mentioned(reading, &entries[i], depth, err);
    return status;
}

static enum gp_status add_lone(struct files_reading *reading, const char *path,
                               struct gp_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = listing_copy(reading->files->arena, slash ? path : ".");
    if (!folder)
        return listing_no_memory(err);
    if (slash)
        folder[slash == path ? 1 : slash - path] = '\0';
    reading->path = path;
    reading->name = slash ? slash + 1 : path;
    reading->stem_size = stem_size(reading->name);
    const enum gp_status status = add_file_of(reading, reading->fd, path, err);
    return status == GP_OK ? add_beside(reading, folder, "", 0, err) : status;
}

/* --- both --- */

static enum gp_status add_path(struct files_reading *reading, const char *path,
                               struct gp_error *err)
{
    struct stat info;
    reading->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (reading->fd < 0 || fstat(reading->fd, &info) != 0)
        return listing_refuse(path, errno, err);
    digest_add_number(&reading->digester, info.st_mode & S_IFMT);
    return S_ISDIR(info.st_mode) ? add_folder(reading, path, &info, err)
                                 : add_lone(reading, path, err);
}

enum gp_status model_files_read(struct model_files *files, const char *path,
                                struct gp_error *err)
{
    struct files_reading reading = {.files = files, .fd = -1};
    enum gp_status status = GP_OK;
    files->arena = gp_arena_create();
    reading.piece = mem_alloc(PIECE_BYTES);
    digest_begin(&reading.digester);
    if (!files->arena || !reading.piece)
        status = gp_error_set(err, GP_NO_MEMORY, "no memory to read the model's files");
    else if (path)
        status = add_path(&reading, path, err);
    if (reading.fd >= 0)
        close(reading.fd);
    mem_free(reading.piece);
    digest_end(&reading.digester, &files->digest);
    return status;
}

enum gp_status model_files_check(const struct model_files *files, struct gp_error *err)
{
    for (const struct model_file *file = files->first; file; file = file->next) {
        struct stat info;
        if (stat(file->path, &info) != 0 || !is_same(&info, &file->info))
            return refuse_change(file->path, err);
    }
    return GP_OK;
}

void model_files_finish(struct model_files *files)
{
    gp_arena_destroy(files->arena);
    *files = (struct model_files){0};
}
