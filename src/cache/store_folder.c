#include "cache/store_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define GENERATION "generation"
#define DAMAGED "rows.mdb.damaged"

/* Of the files of rows too: what is in a row, and the digest that it is known by. */
enum { FORMAT = 1, LOCK_PAUSE_MS = 5, LOCK_WAIT_MS = 5000 };
static const char magic[8] = "GPROWS\n";

const char *folder_network_name(uint64_t type)
{
    static const struct {
        uint32_t type;
        const char *name;
    } networks[] = {
        {0x6969, "NFS"},        {0x517b, "SMB"},        {0xfe534d42, "SMB"},
        {0xff534d42, "CIFS"},   {0x01021997, "9p"},     {0x65735546, "FUSE"},
        {0x5346414f, "AFS"},    {0x6b414653, "AFS"},    {0x73757245, "Coda"},
        {0x00c36400, "Ceph"},   {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"},
        {0x564c, "NCP"},        {0x7461636f, "OCFS2"},  {0x01161970, "GFS2"},
        {0x19830326, "BeeGFS"}, {0xaad7aaea, "PanFS"},  {0x786f4256, "vboxsf"},
    };
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if (networks[i].type == (uint32_t)type)
            return networks[i].name;
    return NULL;
}

/* --- files of rows --- */

void folder_name(const struct store_folder *folder, uint64_t number,
                 char file[FOLDER_FILE_BYTES])
{
    (void)snprintf(file, FOLDER_FILE_BYTES, "%s/rows-%" PRIu64 ".mdb", folder->path,
                   number);
}

bool folder_has(const struct store_folder *folder, uint64_t number)
{
    char file[FOLDER_FILE_BYTES];
    folder_name(folder, number, file);
    return access(file, F_OK) == 0;
}

static void remove_lock_of(const char *file)
{
    char lock[FOLDER_FILE_BYTES + 8];
    (void)snprintf(lock, sizeof lock, "%s-lock", file);
    (void)unlink(lock);
}

void folder_remove(const struct store_folder *folder, uint64_t number)
{
    char file[FOLDER_FILE_BYTES];
    folder_name(folder, number, file);
    (void)unlink(file);
    remove_lock_of(file);
}

static void tell_set_aside(const struct store_folder *folder, const char *what,
                           const char *why)
{
    struct log *log = folder->log;
    if (log)
        log_line(log, GP_LOG_WARNING,
                 "the row cache in %s begins anew: %s; it was set aside as *.damaged, "
                 "which may be removed",
                 folder->path, why ? why : what);
}

void folder_set_aside(const struct store_folder *folder, uint64_t number, const char *why)
{
    char file[FOLDER_FILE_BYTES], aside[FOLDER_FILE_BYTES];
    folder_name(folder, number, file);
    (void)snprintf(aside, sizeof aside, "%s/" DAMAGED, folder->path);
    if (rename(file, aside) != 0)
        (void)unlink(file);
    remove_lock_of(file);
    char words[300];
    (void)snprintf(words, sizeof words, "rows-%" PRIu64 ".mdb: %s", number, why);
    tell_set_aside(folder, file, words);
}

/* The number of the next file of rows in the folder; false after the last. */
static bool read_number(DIR *dir, uint64_t *number)
{
    for (const struct dirent *entry; (entry = readdir(dir));) {
        char *end;
        if (strncmp(entry->d_name, "rows-", 5) != 0)
            continue;
        *number = strtoull(entry->d_name + 5, &end, 10);
        if (strcmp(end, ".mdb") == 0 || strcmp(end, ".mdb-lock") == 0)
            return true;
    }
    return false;
}

static DIR *open_list(const struct store_folder *folder)
{
    const int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir && fd >= 0)
        (void)close(fd);
    return dir;
}

void folder_clean(const struct store_folder *folder, uint64_t young, uint64_t old)
{
    DIR *dir = open_list(folder);
    if (!dir)
        return;
    for (uint64_t number; read_number(dir, &number);)
        if (number != young && number != old)
            folder_remove(folder, number);
    (void)closedir(dir);
}

/* --- what is shared --- */

/* Files that no `generation` speaks of are of a format that nobody knows. The highest number. */
static uint64_t set_all_aside(const struct store_folder *folder)
{
    DIR *dir = open_list(folder);
    uint64_t highest = 0;
    if (!dir)
        return highest;
    for (uint64_t number; read_number(dir, &number);) {
        char file[FOLDER_FILE_BYTES];
        folder_name(folder, number, file);
        if (renameat(folder->fd, strrchr(file, '/') + 1, folder->fd, DAMAGED) != 0)
            (void)unlink(file);
        remove_lock_of(file);
        highest = number > highest && number < UINT64_MAX / 2 ? number : highest;
    }
    (void)closedir(dir);
    return highest;
}

/* Under another name first: who finds it finds it whole. */
static int make_shared(const struct store_folder *folder, uint64_t number)
{
    struct folder_shared shared = {.format = FORMAT, .number = number};
    memcpy(shared.magic, magic, sizeof magic);
    const int fd = openat(folder->fd, GENERATION ".new",
                          O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    const ssize_t n = write(fd, &shared, sizeof shared);
    if (n == (ssize_t)sizeof shared &&
        renameat(folder->fd, GENERATION ".new", folder->fd, GENERATION) == 0)
        return fd;
    if (n >= 0 && n < (ssize_t)sizeof shared)
        errno = ENOSPC;
    const int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

static bool is_ours(int fd)
{
    struct folder_shared shared;
    struct stat stat;
    return fstat(fd, &stat) == 0 && stat.st_size == sizeof shared &&
           pread(fd, &shared, sizeof shared, 0) == (ssize_t)sizeof shared &&
           memcmp(shared.magic, magic, sizeof magic) == 0 && shared.format == FORMAT;
}

/* A descriptor of `generation`, which is as it should be. */
static int open_shared(const struct store_folder *folder)
{
    int fd = openat(folder->fd, GENERATION, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? make_shared(folder, set_all_aside(folder) + 2) : -1;
    if (is_ours(fd))
        return fd;
    (void)close(fd);
    if (renameat(folder->fd, GENERATION, folder->fd, GENERATION ".damaged") != 0)
        return -1;
    tell_set_aside(folder, GENERATION,
                   "its file \"" GENERATION
                   "\" is not one of this release, or is damaged");
    return make_shared(folder, set_all_aside(folder) + 2);
}

static bool map_shared(struct store_folder *folder)
{
    const int fd = open_shared(folder);
    if (fd < 0)
        return false;
    void *map =
        mmap(NULL, sizeof *folder->shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const int error = errno;
    (void)close(fd);
    errno = error;
    if (map != MAP_FAILED)
        folder->shared = map;
    return map != MAP_FAILED;
}

/* --- the folder --- */

bool folder_lock(struct store_folder *folder)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    for (int waited_ms = 0; flock(folder->lock_fd, LOCK_EX | LOCK_NB) != 0;) {
        if (errno != EINTR && (errno != EWOULDBLOCK || waited_ms >= LOCK_WAIT_MS))
            return false;
        (void)nanosleep(&pause, NULL);
        waited_ms += LOCK_PAUSE_MS;
    }
    return true;
}

void folder_unlock(struct store_folder *folder)
{
    (void)flock(folder->lock_fd, LOCK_UN);
}

/* As mkdir -p, with a folder that is only its owner's at the end. */
static bool make_folders(char *path)
{
    for (char *at = path + 1;; at++) {
        at += strcspn(at, "/");
        const char was = *at;
        *at = '\0';
        const bool is_there = mkdir(path, 0700) == 0 || errno == EEXIST;
        *at = was;
        if (!is_there || !was)
            return is_there;
    }
}

static enum gp_status fail_at(const struct store_folder *folder, const char *what,
                              struct gp_error *err)
{
    return gp_error_set(
        err, errno == ENOMEM ? GP_NO_MEMORY : GP_UNAVAILABLE,
        "--cache-dir %.*s: %s: %s; rows are cached in a folder that this user "
        "may write to, on a local disk with room",
        gp_cut(folder->path, 200), folder->path, what, strerror(errno));
}

static enum gp_status check_disk(const struct store_folder *folder, struct gp_error *err)
{
    struct statfs disk;
    if (fstatfs(folder->fd, &disk) != 0)
        return fail_at(folder, "cannot tell which file system it is on", err);
    const char *name = folder_network_name((uint64_t)disk.f_type);
    if (!name)
        return GP_OK;
    return gp_error_set(
        err, GP_UNSUPPORTED,
        "--cache-dir %.*s is on %s: LMDB maps the files of the row cache, which "
        "that cannot share; name a folder on a local disk",
        gp_cut(folder->path, 200), folder->path, name);
}

/* The byte is locked by its own open file, whatever else of this process closes. */
static enum gp_status claim_number(struct store_folder *folder, struct gp_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    lock.l_start = getpid();
    if (fcntl(folder->pid_fd, F_OFD_SETLK, &lock) == 0)
        return GP_OK;
    if (errno != EAGAIN && errno != EACCES)
        return fail_at(folder, "cannot lock its file \"lock\"", err);
    return gp_error_set(
        err, GP_BUSY,
        "--cache-dir %.*s is already used by a process %ld: by this one, or by that "
        "of another container; give each a folder of its own, or let the containers "
        "share process numbers (docker run --pid, shareProcessNamespace)",
        gp_cut(folder->path, 100), folder->path, (long)getpid());
}

static enum gp_status open_files(struct store_folder *folder, struct gp_error *err)
{
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd < 0)
        return fail_at(folder, "cannot open it", err);
    enum gp_status status = check_disk(folder, err);
    if (status != GP_OK)
        return status;
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    folder->lock_fd = openat(folder->fd, "lock", flags, 0600);
    folder->pid_fd = folder->lock_fd >= 0 ? openat(folder->fd, "lock", flags, 0600) : -1;
    if (folder->pid_fd < 0)
        return fail_at(folder, "cannot open its file \"lock\"", err);
    status = claim_number(folder, err);
    if (status != GP_OK)
        return status;
    if (!folder_lock(folder))
        return fail_at(folder, "another process keeps its file \"lock\"", err);
    const bool is_mapped = map_shared(folder);
    const int error = errno;
    folder_unlock(folder);
    errno = error;
    return is_mapped ? GP_OK
                     : fail_at(folder, "cannot map its file \"" GENERATION "\"", err);
}

enum gp_status folder_open(struct store_folder *folder, const char *path, struct log *log,
                           struct gp_error *err)
{
    *folder = (struct store_folder){.fd = -1, .lock_fd = -1, .pid_fd = -1, .log = log};
    const size_t size = path ? strlen(path) : 0;
    if (size == 0 || size > sizeof folder->path - 64)
        return gp_error_set(err, GP_INVALID,
                            "--cache-dir: a path of %zu bytes; wanted 1 to %zu", size,
                            sizeof folder->path - 64);
    memcpy(folder->path, path, size + 1);
    if (!make_folders(folder->path))
        return fail_at(folder, "cannot make it", err);
    char *whole = realpath(path, NULL); /* the process may go to another folder */
    if (whole && strlen(whole) < sizeof folder->path - 64)
        memcpy(folder->path, whole, strlen(whole) + 1);
    free(whole);
    const enum gp_status status = open_files(folder, err);
    if (status != GP_OK)
        folder_close(folder);
    return status;
}

void folder_close(struct store_folder *folder)
{
    const int fds[] = {folder->fd, folder->lock_fd, folder->pid_fd};
    if (folder->shared)
        (void)munmap(folder->shared, sizeof *folder->shared);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    *folder = (struct store_folder){.fd = -1, .lock_fd = -1, .pid_fd = -1};
}
