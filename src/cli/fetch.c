/* The cache of models named by URLs: a folder for each URL. It holds the model under its
 * own name, which determines its engine and its default name, and the conditions that ask
 * the server whether it is still the newest. Concurrent starts wait for each other at a
 * lock. A model is downloaded into a file of another name, and replaces the copy once it
 * is complete and on disk.
 *
 * An answer with status 200 may be any page, so the previous copy is put aside until the
 * new one has opened, and comes back if it does not. While there is a copy aside, the new
 * one is on trial: a start that takes the lock and finds this knows that the trial was
 * cut short. */
#include "cli/fetch.h"

#include "cli/cache_dir.h"
#include "cli/download.h"
#include "cli/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* In the folder of a URL, beside the model, whose name never begins with a dot. */
#define LOCK ".lock"
#define PART ".part"
#define LAST ".last"             /* the copy before the one on trial */
#define CONDITIONS ".conditions" /* of the copy that opened */
#define REFUSED ".refused"       /* the same for a newer one that did not open */

/* MAX_ENTRY: "/NAME-HASH/NAME" and its end. */
enum { MAX_NAME = sizeof((struct fetched *)0)->name - 1, MAX_ENTRY = 2 * MAX_NAME + 20 };
enum { DEFAULT_TIMEOUT_MS = 30000, LOCK_PAUSE_MS = 50 };

static const uint64_t default_max_bytes = UINT64_C(4) << 30;

bool fetch_is_url(const char *word)
{
    return strncasecmp(word, "http://", 7) == 0 || strncasecmp(word, "https://", 8) == 0;
}

/* --- what a URL says
 * ------------------------------------------------------------------ */

static const char *after_scheme(const char *url)
{
    return strstr(url, "://") + 3;
}

/* Without user:password@, and without the query, which may be just as secret. */
static void show_url(struct fetched *entry)
{
    const char *host = after_scheme(entry->url);
    const size_t scheme = (size_t)(host - entry->url);
    const char *at = memrchr(host, '@', strcspn(host, "/?#"));
    host = at ? at + 1 : host;
    const size_t size = strcspn(host, "?#");
    size_t n = gp_text_show(entry->shown, sizeof entry->shown, entry->url, scheme);
    n += gp_text_show(entry->shown + n, sizeof entry->shown - n, host, size);
    if (host[size] == '?')
        (void)gp_text_show(entry->shown + n, sizeof entry->shown - n, "?...", 4);
}

static int hex(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

/* Replaces characters that are invisible or not UTF-8 by underscores. */
static void tame(char *name)
{
    char *to = name;
    for (size_t n; *name; name += n) {
        uint32_t c = 0;
        n = gp_text_next(name, strlen(name), &c);
        const bool is_kept = n && gp_text_is_visible(c);
        n = n ? n : 1;
        memmove(to, is_kept ? name : "_", is_kept ? n : 1);
        to += is_kept ? n : 1;
    }
    *to = '\0';
}

/* The last part of the path, as a file name; if it is long, its end. */
static void name_file(struct fetched *entry)
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
        *to = c == '/' || !c || (c == '.' && to == entry->name) ? '_' : c;
        to++;
    }
    *to = '\0';
    tame(entry->name);
    if (!*entry->name)
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

/* --- the folder
 * ----------------------------------------------------------------------- */

static enum gp_status fail_at(const char *path, struct gp_error *err)
{
    return gp_error_set(err, GP_UNAVAILABLE,
                        "%.*s: %s; models are fetched into the folder of --cache-dir",
                        gp_cut(path, 300), path, strerror(errno));
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

/* CACHE/NAME-HASH, and into the path CACHE/NAME-HASH/FILE. */
static enum gp_status open_folder(struct fetched *entry, const char *cache_dir,
                                  struct gp_error *err)
{
    entry->path[0] = '\0';
    (void)cache_dir_find(cache_dir, entry->path, sizeof entry->path);
    const size_t cache = strlen(entry->path);
    if (!cache)
        return gp_error_set(err, GP_INVALID,
                            "%s: there is no HOME to keep it in: name a folder with "
                            "--cache-dir",
                            entry->shown);
    const char *dot = strrchr(entry->name, '.');
    const int stem = (int)(dot ? dot - entry->name : (ptrdiff_t)strlen(entry->name));
    if (cache + MAX_ENTRY > sizeof entry->path)
        return gp_error_set(err, GP_INVALID, "%.*s: the path is too long",
                            gp_cut(entry->path, 200), entry->path);
    char *end = entry->path + cache;
    end += sprintf(end, "/%.*s-%016llx", stem, entry->name,
                   (unsigned long long)hash(entry->url));
    if (!make_folders(entry->path))
        return fail_at(entry->path, err);
    entry->folder = open(entry->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (entry->folder < 0)
        return fail_at(entry->path, err);
    (void)sprintf(end, "/%s", entry->name);
    return GP_OK;
}

static enum gp_status take_lock(struct fetched *entry, struct log *log,
                                const atomic_bool *is_ending, struct gp_error *err)
{
    entry->lock = openat(entry->folder, LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int status = entry->lock < 0 ? -1 : flock(entry->lock, LOCK_EX | LOCK_NB);
    if (status != 0 && entry->lock >= 0 && errno == EWOULDBLOCK) {
        log_line(log, GP_LOG_INFO, "waiting for another process that fetches or opens %s",
                 entry->shown);
        while (!(is_ending && atomic_load(is_ending)) && status != 0 &&
               (errno == EWOULDBLOCK || errno == EINTR)) {
            (void)poll(NULL, 0, LOCK_PAUSE_MS);
            status = flock(entry->lock, LOCK_EX | LOCK_NB);
        }
    }
    return status == 0 ? GP_OK : fail_at(entry->path, err);
}

/* --- the model
 * ------------------------------------------------------------------------ */

/* Reads the conditions in this file into the request; false if there are none. */
static bool read_conditions(const struct fetched *entry, const char *file,
                            struct download *download)
{
    const int fd = openat(entry->folder, file, O_RDONLY | O_CLOEXEC);
    const ssize_t n =
        fd < 0 ? 0 : read(fd, download->conditions, sizeof download->conditions - 1);
    download->conditions[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        (void)close(fd);
    return n > 0;
}

/* Without them the next start fetches the model again, which is always safe. */
static void write_conditions(const struct fetched *entry, const char *file)
{
    const size_t size = strlen(entry->conditions);
    (void)unlinkat(entry->folder, file, 0);
    if (!size)
        return;
    const int fd =
        openat(entry->folder, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (!file_put(fd, entry->conditions, size))
        (void)unlinkat(entry->folder, file, 0);
    (void)close(fd);
}

static bool has_copy(const struct fetched *entry)
{
    return faccessat(entry->folder, entry->name, R_OK, 0) == 0;
}

/* Puts the copy that is aside back; false if there is none. Its conditions are still
 * there. */
static bool restore_last(const struct fetched *entry)
{
    return renameat(entry->folder, LAST, entry->folder, entry->name) == 0;
}

/* Makes the file in the model's place the copy. It never gets the conditions of another
 * file, even if this is interrupted: they would keep an old model for good. */
static void keep_new(const struct fetched *entry)
{
    (void)unlinkat(entry->folder, CONDITIONS, 0);
    (void)unlinkat(entry->folder, REFUSED, 0);
    (void)unlinkat(entry->folder, LAST, 0);
    write_conditions(entry, CONDITIONS);
}

/* Without a previous copy there is nothing to go back to: the new file is the copy, good
 * or bad, until the server has something else. */
static enum gp_status replace_copy(struct fetched *entry, const struct download *download,
                                   struct gp_error *err)
{
    const bool has_last = has_copy(entry);
    if (fsync(download->fd) != 0 ||
        (has_last && renameat(entry->folder, entry->name, entry->folder, LAST) != 0))
        return fail_at(entry->path, err);
    if (!has_last)
        (void)unlinkat(entry->folder, CONDITIONS, 0);
    if (renameat(entry->folder, PART, entry->folder, entry->name) != 0) {
        const enum gp_status status = fail_at(entry->path, err);
        (void)restore_last(entry);
        return status;
    }
    entry->is_on_trial = has_last;
    memcpy(entry->conditions, download->conditions, sizeof entry->conditions);
    if (!has_last)
        keep_new(entry);
    return GP_OK;
}

static enum gp_status download_copy(struct fetched *entry, struct download *download,
                                    struct gp_error *err)
{
    download->fd =
        openat(entry->folder, PART, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (download->fd < 0)
        return fail_at(entry->path, err);
    enum gp_status status = download_run(download, err);
    if (status == GP_OK && !download->is_unchanged)
        status = replace_copy(entry, download, err);
    (void)unlinkat(entry->folder, PART, 0);
    (void)close(download->fd);
    return status;
}

/* The local copy, or a new one. */
static enum gp_status refresh_copy(struct fetched *entry, struct download *download,
                                   struct gp_error *err)
{
    struct log *log = download->log;
    char size[32];
    /* a trial that was cut short proves nothing about either copy */
    (void)restore_last(entry);
    const bool is_there = has_copy(entry);
    const bool was_refused = is_there && read_conditions(entry, REFUSED, download);
    if (is_there && !was_refused)
        (void)read_conditions(entry, CONDITIONS, download);
    const enum gp_status status = download_copy(entry, download, err);
    download_write_size(size, sizeof size, download->n_bytes);
    if (status == GP_UNAVAILABLE && is_there) {
        log_line(log, GP_LOG_WARNING, "%s; serving the copy of an earlier start: %s",
                 err->message, entry->path);
        return GP_OK;
    }
    if (status != GP_OK)
        return status;
    if (!download->is_unchanged)
        log_line(log, GP_LOG_INFO, "fetched %s, %s, into %s", entry->shown, size,
                 entry->path);
    else if (was_refused)
        log_line(log, GP_LOG_WARNING,
                 "%s is still the one that did not open; serving the last copy that did: "
                 "%s (without the file " REFUSED
                 " beside it, it is fetched and tried again)",
                 entry->shown, entry->path);
    else
        log_line(log, GP_LOG_INFO, "%s has not changed: %s", entry->shown, entry->path);
    return GP_OK;
}

static void close_entry(struct fetched *entry)
{
    if (entry->lock >= 0)
        (void)close(entry->lock);
    if (entry->folder >= 0)
        (void)close(entry->folder);
    entry->lock = entry->folder = -1;
}

enum gp_status fetch_model(const struct fetch *fetch, const char *url, struct log *log,
                           struct fetched *entry, struct gp_error *err)
{
    *entry = (struct fetched){.url = url, .folder = -1, .lock = -1};
    show_url(entry);
    name_file(entry);
    struct download download = {
        .url = url,
        .shown = entry->shown,
        .max_bytes = fetch->max_bytes ? fetch->max_bytes : default_max_bytes,
        .timeout_ms = fetch->timeout_ms ? fetch->timeout_ms : DEFAULT_TIMEOUT_MS,
        .log = log,
        .is_ending = fetch->is_ending};
    enum gp_status status = open_folder(entry, fetch->cache_dir, err);
    if (status == GP_OK)
        status = take_lock(entry, log, fetch->is_ending, err);
    if (status == GP_OK)
        status = refresh_copy(entry, &download, err);
    if (!entry->is_on_trial)
        close_entry(entry);
    return status;
}

bool fetch_go_back(struct fetched *entry)
{
    entry->has_gone_back = entry->is_on_trial && restore_last(entry);
    return entry->has_gone_back;
}

void fetch_end(struct fetched *entry, bool has_opened)
{
    if (!entry->is_on_trial)
        return;
    if (has_opened && entry->has_gone_back)
        write_conditions(entry, REFUSED);
    else if (has_opened)
        keep_new(entry);
    close_entry(entry);
}
