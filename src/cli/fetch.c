/* The cache of models named by URLs: a folder for each URL, with the model under its own name,
 * which tells its engine and how it is called, and what asks its server whether it is still
 * the newest. Starts at the same time wait for one another at a lock. The model comes into a
 * file of another name, which replaces the copy once it is whole and on the disk; one that was
 * left by an end in between is written over by the next start. */
#include "cli/fetch.h"

#include "cli/download.h"
#include "cli/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* In the folder of a URL, beside the model, whose name never begins with a dot. */
#define LOCK ".lock"
#define PART ".part"
#define CONDITIONS ".conditions"

/* MAX_ENTRY: "/NAME-HASH/NAME" and its end. */
enum { MAX_NAME = 150, MAX_ENTRY = 2 * MAX_NAME + 20, SHOWN_BYTES = 200 };
enum { DEFAULT_TIMEOUT_MS = 30000 };

static const uint64_t default_max_bytes = UINT64_C(4) << 30;

struct entry {
    const char *url;
    char shown[SHOWN_BYTES];
    char name[MAX_NAME + 1]; /* of the model's file */
    char *path;              /* of the same */
    size_t path_size;
    int folder;
    int lock;
};

bool fetch_is_url(const char *word)
{
    return strncasecmp(word, "http://", 7) == 0 || strncasecmp(word, "https://", 8) == 0;
}

/* --- what a URL says ------------------------------------------------------------------ */

static const char *after_scheme(const char *url)
{
    return strstr(url, "://") + 3;
}

/* Without user:password@, and without the query, which may be as secret. */
static void show(struct entry *entry)
{
    const char *host = after_scheme(entry->url);
    const int scheme = (int)(host - entry->url);
    const char *at = memrchr(host, '@', strcspn(host, "/?#"));
    host = at ? at + 1 : host;
    const size_t size = strcspn(host, "?#");
    (void)snprintf(entry->shown, sizeof entry->shown, "%.*s%.*s%s", scheme, entry->url,
                   (int)size, host, host[size] == '?' ? "?..." : "");
}

static int hex(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

/* The last part of the path, as a file may be called; of a long one the end. */
static void name_file(struct entry *entry)
{
    const char *path = after_scheme(entry->url);
    path += strcspn(path, "/?#");
    const char *end = path + strcspn(path, "?#"), *from = end;
    while (from > path && from[-1] != '/')
        from--;
    from = end - from > MAX_NAME ? end - MAX_NAME : from;
    char *to = entry->name;
    for (; from < end; from++) {
        char c = *from;
        if (c == '%' && end - from > 2 && hex(from[1]) >= 0 && hex(from[2]) >= 0) {
            c = (char)(hex(from[1]) * 16 + hex(from[2]));
            from += 2;
        }
        const bool is_odd = (unsigned char)c < ' ' || c == 0x7f || c == '/' ||
                            (c == '.' && to == entry->name);
        *to++ = is_odd ? '_' : c;
    }
    *to = '\0';
    if (to == entry->name)
        (void)strcpy(entry->name, "model.bin");
}

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *text)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        sum = (sum ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return sum;
}

/* --- the folder ----------------------------------------------------------------------- */

static enum gp_status fail(const char *path, struct gp_error *err)
{
    return gp_error_set(err, GP_IO,
                        "%.300s: %s; models are fetched into the folder of --cache-dir",
                        path, strerror(errno));
}

/* As mkdir -p; a failure leaves the path cut where it was. */
static bool make_folders(char *path)
{
    for (char *at = path + 1;; at++) {
        at += strcspn(at, "/");
        const char was = *at;
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return false;
        *at = was;
        if (!was)
            return true;
    }
}

/* The folder of all models into the path: how much of it is used, or 0. */
static size_t write_cache(const struct entry *entry, const char *wanted)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (wanted && *wanted)
        n = snprintf(entry->path, entry->path_size, "%s", wanted);
    else if (xdg && *xdg == '/')
        n = snprintf(entry->path, entry->path_size, "%s/graphpipe", xdg);
    else if (home && *home)
        n = snprintf(entry->path, entry->path_size, "%s/.cache/graphpipe", home);
    return n > 0 ? (size_t)n : 0;
}

/* CACHE/NAME-HASH, and in the path CACHE/NAME-HASH/FILE. */
static enum gp_status open_folder(struct entry *entry, const char *cache_dir,
                                  struct gp_error *err)
{
    const size_t cache = write_cache(entry, cache_dir);
    if (!cache)
        return gp_error_set(err, GP_INVALID,
                            "%s: there is no HOME to keep it in: name a folder with "
                            "--cache-dir",
                            entry->shown);
    const char *dot = strrchr(entry->name, '.');
    const int stem = (int)(dot ? dot - entry->name : (ptrdiff_t)strlen(entry->name));
    if (cache + MAX_ENTRY > entry->path_size)
        return gp_error_set(err, GP_INVALID, "%.200s: the path is too long", entry->path);
    char *end = entry->path + cache;
    end += sprintf(end, "/%.*s-%016llx", stem, entry->name,
                   (unsigned long long)hash(entry->url));
    if (!make_folders(entry->path))
        return fail(entry->path, err);
    entry->folder = open(entry->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (entry->folder < 0)
        return fail(entry->path, err);
    (void)sprintf(end, "/%s", entry->name);
    return GP_OK;
}

static enum gp_status lock(struct entry *entry, const struct log *log,
                           struct gp_error *err)
{
    entry->lock = openat(entry->folder, LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int status = entry->lock < 0 ? -1 : flock(entry->lock, LOCK_EX | LOCK_NB);
    if (status != 0 && entry->lock >= 0 && errno == EWOULDBLOCK) {
        log_line(log, GP_LOG_INFO, "waiting for another process that fetches %s",
                 entry->shown);
        do
            status = flock(entry->lock, LOCK_EX);
        while (status != 0 && errno == EINTR);
    }
    return status == 0 ? GP_OK : fail(entry->path, err);
}

/* --- the model ------------------------------------------------------------------------ */

static void read_conditions(const struct entry *entry, struct download *download)
{
    const int fd = openat(entry->folder, CONDITIONS, O_RDONLY | O_CLOEXEC);
    const ssize_t n =
        fd < 0 ? 0 : read(fd, download->conditions, sizeof download->conditions - 1);
    download->conditions[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

/* Without it the next start fetches the model again, which is right in any case. */
static void write_conditions(const struct entry *entry, const struct download *download)
{
    const int fd =
        openat(entry->folder, CONDITIONS, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (!file_put(fd, download->conditions, strlen(download->conditions)))
        (void)unlinkat(entry->folder, CONDITIONS, 0);
    (void)close(fd);
}

/* Never the conditions of another model, whenever it is interrupted: that would keep an old model
 * for good. */
static enum gp_status replace(const struct entry *entry, const struct download *download,
                              struct gp_error *err)
{
    if (fsync(download->fd) != 0)
        return fail(entry->path, err);
    (void)unlinkat(entry->folder, CONDITIONS, 0);
    if (renameat(entry->folder, PART, entry->folder, entry->name) != 0)
        return fail(entry->path, err);
    write_conditions(entry, download);
    return GP_OK;
}

/* The copy that is there, or a new one. */
static enum gp_status refresh(const struct entry *entry, struct download *download,
                              struct gp_error *err)
{
    const struct log *log = download->log;
    const bool is_there = faccessat(entry->folder, entry->name, R_OK, 0) == 0;
    char size[32];
    if (is_there)
        read_conditions(entry, download);
    enum gp_status status = download_run(download, err);
    if (status == GP_UNAVAILABLE && is_there) {
        log_line(log, GP_LOG_WARNING, "%s; serving the copy of an earlier start: %s",
                 err->message, entry->path);
        return GP_OK;
    }
    if (status == GP_OK && download->is_unchanged) {
        log_line(log, GP_LOG_INFO, "%s has not changed: %s", entry->shown, entry->path);
        return GP_OK;
    }
    if (status == GP_OK)
        status = replace(entry, download, err);
    download_write_size(size, sizeof size, download->n_bytes);
    if (status == GP_OK)
        log_line(log, GP_LOG_INFO, "fetched %s, %s, into %s", entry->shown, size,
                 entry->path);
    return status;
}

enum gp_status fetch_model(const struct fetch *fetch, const char *url,
                           const struct log *log, char *path, size_t path_size,
                           struct gp_error *err)
{
    struct entry entry = {
        .url = url, .path = path, .path_size = path_size, .folder = -1, .lock = -1};
    show(&entry);
    name_file(&entry);
    struct download download = {
        .url = url,
        .shown = entry.shown,
        .fd = -1,
        .max_bytes = fetch->max_bytes ? fetch->max_bytes : default_max_bytes,
        .timeout_ms = fetch->timeout_ms ? fetch->timeout_ms : DEFAULT_TIMEOUT_MS,
        .log = log};
    enum gp_status status = open_folder(&entry, fetch->cache_dir, err);
    if (status == GP_OK)
        status = lock(&entry, log, err);
    if (status == GP_OK) {
        download.fd =
            openat(entry.folder, PART, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        status =
            download.fd < 0 ? fail(entry.path, err) : refresh(&entry, &download, err);
        (void)unlinkat(entry.folder, PART, 0);
    }
    const int descriptors[] = {download.fd, entry.lock, entry.folder};
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++)
        if (descriptors[i] >= 0)
            (void)close(descriptors[i]);
    return status;
}
