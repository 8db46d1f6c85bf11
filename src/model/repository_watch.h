/* model/repository_watch.h - when to look at a repository again.
 *
 *     repository_watch_init(&watch, "/srv/models", 0);
 *     while ((wait_ms = repository_watch_wait(&watch, clock_now_ns())) > 0)
 *         poll(watch.fd, POLLIN, wait_ms);
 *     look, and then: repository_watch_looked(&watch, clock_now_ns(), are_all_settled);
 *
 * The kernel (inotify) reports changes made on this machine. Network disks report nothing, so the
 * repository is also looked at every few seconds. Only a look tells what to do.
 *
 * While files change, looks are a second apart: a copy is complete once two of them see the same
 * (catalog.h).
 *
 * Threads: none of its own; belongs to one thread at a time.
 */
#ifndef GP_MODEL_REPOSITORY_WATCH_H
#define GP_MODEL_REPOSITORY_WATCH_H

#include <graphpipe/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

enum {
    REPOSITORY_WATCH_POLL_MS = 5000,   /* by default */
    REPOSITORY_WATCH_SETTLE_MS = 1000, /* between looks while something changes */
    REPOSITORY_WATCH_MAX_FOLDERS = 8192
};

struct repository_watch {
    int fd; /* to poll for reading; -1: wait for the time only. Any call may change it. */
    const char *path; /* borrowed */
    int64_t poll_ns;
    int64_t look_ns;   /* when to look next without news; 0: at once ... */
    int64_t settle_ns; /* ... and with news */
    bool has_news;
    bool is_stale; /* some watched folders may have moved */
    bool has_given_up;
    size_t n_folders;
    dev_t device; /* of the watched folder; 0: none */
    ino_t inode;
    struct gp_error trouble; /* GP_OK: none, or already reported */
};

/* poll_ms: 0 for the default. Cannot fail: it waits for a folder that does not exist yet. */
void repository_watch_init(struct repository_watch *watch, const char *path,
                           unsigned poll_ms);
void repository_watch_finish(struct repository_watch *watch);

/* How many ms to wait for fd at most before calling this again; 0: look now. */
int repository_watch_wait(struct repository_watch *watch, int64_t now_ns);

/* Called after each look; is_settled: everything that it found was. */
void repository_watch_looked(struct repository_watch *watch, int64_t now_ns,
                             bool is_settled);

/* True once after the kernel has refused to watch; from then on only the time counts. *err says
 * why, and what would help. */
bool repository_watch_has_trouble(struct repository_watch *watch, struct gp_error *err);

#endif
