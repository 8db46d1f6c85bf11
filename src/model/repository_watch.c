/* One inotify instance watches every folder of the repository: those of models and versions for
 * additions, those further down for written files. Watches belong to inodes, not to paths, so a
 * folder that was moved away keeps its watch. Then, and if the queue overflowed or the whole
 * repository was replaced, everything starts again with a new instance. Watches are set before
 * the look, so changes during the look are news again.
 *
 * Files open for writing make no news (IN_MODIFY would come with each write): the look caused by
 * their creation is repeated until they settle, and closing them is news.
 */
#include "model/repository_watch.h"

#include "base/clock.h"
#include "model/contents.h"
#include "model/listing.h"

#include <errno.h>
#include <limits.h>
#include <stdalign.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    NEWS = IN_CREATE | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM |
           IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK
};

/* --- watches -------------------------------------------------------------------------- */

static void close_watches(struct repository_watch *watch)
{
    if (watch->fd >= 0)
        close(watch->fd);
    watch->fd = -1;
    watch->n_folders = 0;
}

/* Gives up for good: a limit that was reached is soon reached again. */
static void give_up(struct repository_watch *watch, const char *reason,
                    const char *remedy)
{
    gp_error_set(&watch->trouble, GP_UNAVAILABLE,
                 "cannot watch the repository %s: %s%s; it is looked at every %d ms",
                 watch->path, reason, remedy, (int)(watch->poll_ns / CLOCK_MS));
    watch->has_given_up = true;
    close_watches(watch);
}

static void open_watches(struct repository_watch *watch)
{
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0)
        give_up(watch, strerror(errno),
                errno == EMFILE ? " (raise fs.inotify.max_user_instances)" : "");
}

static void watch_folder(struct repository_watch *watch, const char *path)
{
    if (inotify_add_watch(watch->fd, path, NEWS) < 0 &&
        (errno == ENOSPC || errno == ENOMEM))
        give_up(watch, strerror(errno),
                errno == ENOSPC ? " (raise fs.inotify.max_user_watches)" : "");
    else if (++watch->n_folders > REPOSITORY_WATCH_MAX_FOLDERS)
        give_up(watch, "it has too many folders", "");
}

/* Folders that cannot be read are not watched; a look says why. */
static void watch_tree(struct repository_watch *watch, struct gp_arena *arena,
                       const struct listing_root *root, const char *folder,
                       unsigned depth)
{
    struct listing listing;
    watch_folder(watch, folder);
    if (depth == CONTENTS_MAX_DEPTH)
        return;
    enum gp_status status = listing_read(arena, folder, &listing, NULL);
    for (size_t i = 0; i < listing.n_names && !watch->has_given_up; i++) {
        const char *path;
        struct stat info;
        status = listing_join(arena, folder, listing.names[i], &path, NULL);
        if (status == GP_OK)
            status = listing_stat(root, path, &info, NULL);
        if (status == GP_OK && S_ISDIR(info.st_mode))
            watch_tree(watch, arena, root, path, depth + 1);
        if (status == GP_NO_MEMORY)
            break;
    }
    if (status == GP_NO_MEMORY)
        watch->is_stale = true; /* until the next look */
}

/* Watches the folders that exist now. */
static void refresh_watches(struct repository_watch *watch)
{
    struct listing_root root;
    struct stat info = {0};
    struct gp_arena *arena = gp_arena_create();
    if (!arena) {
        watch->is_stale = true;
        return;
    }
    const enum gp_status status = listing_open(arena, watch->path, &root, &info, NULL);
    if (watch->is_stale || info.st_dev != watch->device || info.st_ino != watch->inode)
        close_watches(watch);
    if (watch->fd < 0)
        open_watches(watch);
    watch->n_folders = 0;
    watch->is_stale = status == GP_NO_MEMORY;
    watch->device = info.st_dev;
    watch->inode = info.st_ino;
    if (status == GP_OK && !watch->has_given_up)
        watch_tree(watch, arena, &root, root.path, 0);
    gp_arena_destroy(arena);
}

static bool is_replaced(const struct repository_watch *watch)
{
    struct stat info;
    if (stat(watch->path, &info) != 0)
        return watch->inode != 0;
    return info.st_dev != watch->device || info.st_ino != watch->inode;
}

/* --- news ----------------------------------------------------------------------------- */

static void take_events(struct repository_watch *watch, const char *bytes,
                        size_t size_bytes)
{
    const struct inotify_event *event;
    for (size_t at = 0; at < size_bytes; at += sizeof *event + event->len) {
        event = (const void *)(bytes + at);
        watch->has_news = true;
        if (event->mask & IN_Q_OVERFLOW ||
            (event->mask & IN_MOVED_FROM && event->mask & IN_ISDIR))
            watch->is_stale = true;
    }
}

static void read_news(struct repository_watch *watch)
{
    alignas(struct inotify_event) char bytes[4096];
    for (ssize_t n = 1; watch->fd >= 0 && (n > 0 || errno == EINTR);) {
        n = read(watch->fd, bytes, sizeof bytes);
        if (n > 0)
            take_events(watch, bytes, (size_t)n);
    }
}

void repository_watch_init(struct repository_watch *watch, const char *path,
                           unsigned poll_ms)
{
    *watch = (struct repository_watch){
        .fd = -1,
        .path = path,
        .poll_ns = (poll_ms ? poll_ms : REPOSITORY_WATCH_POLL_MS) * CLOCK_MS};
}

void repository_watch_finish(struct repository_watch *watch)
{
    close_watches(watch);
}

int repository_watch_wait(struct repository_watch *watch, int64_t now_ns)
{
    read_news(watch);
    int64_t due_ns = watch->look_ns;
    if (watch->has_news && watch->settle_ns < due_ns)
        due_ns = watch->settle_ns;
    if (now_ns < due_ns) {
        const int64_t wait_ms = (due_ns - now_ns + CLOCK_MS - 1) / CLOCK_MS;
        return wait_ms < INT_MAX ? (int)wait_ms : INT_MAX;
    }
    const bool is_needed =
        watch->fd < 0 || watch->has_news || watch->is_stale || is_replaced(watch);
    if (is_needed && !watch->has_given_up)
        refresh_watches(watch);
    watch->has_news = false;
    return 0;
}

void repository_watch_looked(struct repository_watch *watch, int64_t now_ns,
                             bool is_settled)
{
    watch->settle_ns = now_ns + REPOSITORY_WATCH_SETTLE_MS * CLOCK_MS;
    watch->look_ns = now_ns + watch->poll_ns;
    if (!is_settled && watch->settle_ns < watch->look_ns)
        watch->look_ns = watch->settle_ns;
}

bool repository_watch_has_trouble(struct repository_watch *watch, struct gp_error *err)
{
    if (watch->trouble.status == GP_OK)
        return false;
    *err = watch->trouble;
    watch->trouble.status = GP_OK;
    return true;
}
