#include "cache/store_rows.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* LMDB asserts what a damaged file may break, and would abort. Each call that walks through pages has a
 * place to go back to instead; what it held then, a slot of a reader or the writers' mutex, is given back
 * with its transaction. */
enum { ASSERTED = ENOTRECOVERABLE };
static _Thread_local jmp_buf *rescue;

static void leave_assertion(MDB_env *env, const char *message)
{
    (void)env;
    (void)message;
    if (rescue)
        longjmp(*rescue, 1);
}

#define RESCUED(call)                                                                    \
    do {                                                                                 \
        jmp_buf place;                                                                   \
        if (_setjmp(place) == 0) {                                                       \
            rescue = &place;                                                             \
            result = (call);                                                             \
        } else {                                                                         \
            result = ASSERTED;                                                           \
        }                                                                                \
        rescue = NULL;                                                                   \
    } while (0)

bool rows_is_damage(int result)
{
    return result == ASSERTED || result == MDB_CORRUPTED || result == MDB_PAGE_NOTFOUND ||
           result == MDB_PANIC || result == MDB_INVALID ||
           result == MDB_VERSION_MISMATCH || result == MDB_CURSOR_FULL ||
           result == MDB_INCOMPATIBLE || result == MDB_BAD_TXN || result == MDB_BAD_DBI ||
           result == MDB_MAP_RESIZED;
}

/* --- opening --- */

/* What LMDB believes when it opens a file: it divides by the size of a page, maps what the file says and
 * reads pages behind the end of one that was cut, which would end the process. By its data format 1. */
struct meta_page {
    unsigned char page_head[16];
    uint32_t magic, version;
    uint64_t address, map_bytes;
    uint32_t page_bytes, rest_of_dbs[23];
    uint64_t last_page, n_commits;
};

static bool read_meta(int fd, off_t at, struct meta_page *meta)
{
    return pread(fd, meta, sizeof *meta, at) == (ssize_t)sizeof *meta &&
           meta->page_bytes >= 512 && meta->page_bytes <= sysconf(_SC_PAGESIZE) &&
           (meta->page_bytes & (meta->page_bytes - 1)) == 0 &&
           meta->map_bytes <= ROWS_MAX_MAP_BYTES;
}

/* True as well for what LMDB refuses by itself. */
static bool is_whole(int fd, off_t size_bytes)
{
    struct meta_page meta, other;
    if (!read_meta(fd, 0, &meta) || !read_meta(fd, meta.page_bytes, &other) ||
        meta.page_bytes != other.page_bytes)
        return false;
    const uint64_t last =
        other.n_commits > meta.n_commits ? other.last_page : meta.last_page;
    return (uint64_t)size_bytes / meta.page_bytes > last;
}

/* *is_new: there is none, or one whose maker was killed before it had written the first two pages. */
static int check_file(const char *path, bool *is_new)
{
    struct stat stat;
    *is_new = true;
    const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : errno;
    int result = fstat(fd, &stat) == 0 ? 0 : errno;
    if (result == 0 && stat.st_size < 2 * sysconf(_SC_PAGESIZE)) {
        result = ftruncate(fd, 0) == 0 ? 0 : errno;
    } else if (result == 0) {
        *is_new = false;
        result = is_whole(fd, stat.st_size) ? 0 : MDB_INVALID;
    }
    (void)close(fd);
    return result;
}

/* From its beginning a file is as long as it may become, without taking that room: a damaged page may point
 * behind itself, and behind the end there is SIGBUS. Nor do processes that write have to agree on its end. */
static void make_long(const struct rows_file *file)
{
    struct stat stat;
    int fd;
    if (mdb_env_get_fd(file->env, &fd) == 0 && fstat(fd, &stat) == 0 &&
        (uint64_t)stat.st_size < file->map_bytes)
        (void)!ftruncate(fd, (off_t)file->map_bytes);
}

/* LMDB writes to the lock file through a map, where a full disk would be SIGBUS: one that is new gets its room
 * first. In this process it is not open yet, so that closing it takes no lock of LMDB's away. */
static int make_lock_file(const char *path)
{
    char lock[PATH_MAX + 64];
    struct stat stat;
    (void)snprintf(lock, sizeof lock, "%s-lock", path);
    const int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno;
    int result = fstat(fd, &stat) == 0 ? 0 : errno;
    if (result == 0 && stat.st_size < ROWS_LOCK_BYTES)
        result = posix_fallocate(fd, 0, ROWS_LOCK_BYTES);
    (void)close(fd);
    return result;
}

/* Readers that were killed: what they looked at would never be free. */
static void clear_stale(struct rows_file *file)
{
    int n_dead;
    (void)mdb_reader_check(file->env, &n_dead);
}

static int open_env(struct rows_file *file, const char *path, size_t map_bytes)
{
    bool is_new;
    MDB_envinfo info;
    MDB_stat stat;
    MDB_txn *txn;
    int result = check_file(path, &is_new);
    if (result || (result = make_lock_file(path)) ||
        (result = mdb_env_create(&file->env)))
        return result;
    (void)mdb_env_set_assert(file->env, leave_assertion);
    (void)mdb_env_set_maxreaders(file->env, ROWS_MAX_READERS);
    /* what is shared by processes was said by the one that made it */
    if (is_new && (result = mdb_env_set_mapsize(file->env, map_bytes)))
        return result;
    /* The tree is on disk before the page that speaks of it is written, so no failure tears it;
     * that the last rows may be lost with the power is a cache's right. */
    RESCUED(
        mdb_env_open(file->env, path, MDB_NOSUBDIR | MDB_NOMETASYNC | MDB_NOTLS, 0600));
    if (result == 0)
        result = mdb_txn_begin(file->env, NULL, MDB_RDONLY, &txn);
    if (result)
        return result;
    RESCUED(mdb_dbi_open(txn, NULL, 0, &file->dbi));
    mdb_txn_abort(txn);
    (void)mdb_env_info(file->env, &info);
    (void)mdb_env_stat(file->env, &stat);
    file->map_bytes = info.me_mapsize;
    file->page_bytes = stat.ms_psize;
    make_long(file);
    clear_stale(file);
    return result;
}

int rows_open(const char *path, size_t map_bytes, struct rows_file **file)
{
    *file = NULL;
    struct rows_file *opened = mem_zalloc(sizeof *opened);
    if (!opened)
        return ENOMEM;
    const int result = open_env(opened, path, map_bytes);
    if (result) {
        rows_close(opened);
        return result;
    }
    *file = opened;
    return 0;
}

void rows_close(struct rows_file *file)
{
    if (!file)
        return;
    while (file->n_idle > 0)
        mdb_txn_abort(file->idle[--file->n_idle]);
    if (file->env)
        mdb_env_close(file->env);
    mem_free(file);
}

void rows_measure(struct rows_file *file, uint64_t *n_rows, uint64_t *size_bytes)
{
    MDB_envinfo info;
    MDB_stat stat;
    *n_rows = *size_bytes = 0;
    if (mdb_env_stat(file->env, &stat) != 0 || mdb_env_info(file->env, &info) != 0)
        return;
    *n_rows = stat.ms_entries;
    *size_bytes = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

/* --- looking --- */

int rows_look(struct rows_file *file, MDB_txn **txn)
{
    if (*txn) {
        if (mdb_txn_renew(*txn) == 0)
            return 0;
        mdb_txn_abort(*txn);
        *txn = NULL;
    }
    int result = mdb_txn_begin(file->env, NULL, MDB_RDONLY, txn);
    if (result == MDB_READERS_FULL) {
        clear_stale(file);
        result = mdb_txn_begin(file->env, NULL, MDB_RDONLY, txn);
    }
    if (result)
        *txn = NULL;
    return result;
}

static void make_check(unsigned char check[ROWS_CHECK_BYTES], const struct digest *key,
                       uint64_t stored_s, const unsigned char *bytes, size_t size_bytes)
{
    struct digester digester;
    struct digest digest;
    digest_begin_keyed(&digester, key);
    digest_add_number(&digester, stored_s);
    digest_add(&digester, bytes, size_bytes);
    digest_end(&digester, &digest);
    memcpy(check, digest.bytes, ROWS_CHECK_BYTES);
}

/* What is behind a node is in its page, or begins a run of pages whose head says how many they are: in a
 * damaged tree the one may say anything, but not both. */
struct page_head {
    uint64_t number;
    uint16_t pad, flags;
    uint32_t n_pages;
};

static bool is_in_pages(const struct rows_file *file, const MDB_val *value)
{
    struct page_head head;
    const size_t offset = (uintptr_t)value->mv_data & (file->page_bytes - 1);
    if (offset + value->mv_size <= file->page_bytes)
        return true;
    if (offset != sizeof head)
        return false;
    memcpy(&head, (const unsigned char *)value->mv_data - sizeof head, sizeof head);
    return value->mv_size <= (uint64_t)head.n_pages * file->page_bytes - sizeof head;
}

static int read_value(const struct rows_file *file, const struct digest *key,
                      struct rows_value *value)
{
    struct rows_head head;
    unsigned char check[ROWS_CHECK_BYTES];
    if (value->whole.mv_size < sizeof head || !is_in_pages(file, &value->whole))
        return EBADMSG;
    memcpy(&head, value->whole.mv_data, sizeof head);
    value->bytes = (const unsigned char *)value->whole.mv_data + sizeof head;
    value->size_bytes = value->whole.mv_size - sizeof head;
    value->stored_s = head.stored_s;
    make_check(check, key, head.stored_s, value->bytes, value->size_bytes);
    return memcmp(check, head.check, sizeof check) == 0 ? 0 : EBADMSG;
}

int rows_find(struct rows_file *file, MDB_txn *txn, const struct digest *key,
              struct rows_value *value)
{
    int result;
    MDB_val name = {sizeof *key, (void *)key};
    RESCUED(mdb_get(txn, file->dbi, &name, &value->whole));
    return result ? result : read_value(file, key, value);
}

/* --- writing --- */

int rows_begin(struct rows_file *file, MDB_txn **txn)
{
    return mdb_txn_begin(file->env, NULL, 0, txn);
}

/* By a cursor of its own: that of mdb_put is on the stack, which an assertion leaves, and its transaction would
 * free it. This one goes with the transaction then. */
static int put_value(const struct rows_file *file, MDB_txn *txn, const struct digest *key,
                     MDB_val *value, unsigned flags)
{
    MDB_cursor *cursor;
    MDB_val name = {sizeof *key, (void *)key};
    int result = mdb_cursor_open(txn, file->dbi, &cursor);
    if (result)
        return result;
    RESCUED(mdb_cursor_put(cursor, &name, value, flags));
    if (result != ASSERTED)
        mdb_cursor_close(cursor);
    return result;
}

int rows_put(struct rows_file *file, MDB_txn *txn, const struct digest *key,
             uint64_t stored_s, const unsigned char *bytes, size_t size_bytes)
{
    struct rows_head head = {.stored_s = stored_s};
    MDB_val value = {sizeof head + size_bytes, NULL};
    const int result = put_value(file, txn, key, &value, MDB_RESERVE);
    if (result)
        return result;
    make_check(head.check, key, stored_s, bytes, size_bytes);
    memcpy(value.mv_data, &head, sizeof head);
    memcpy((unsigned char *)value.mv_data + sizeof head, bytes, size_bytes);
    return 0;
}

int rows_put_whole(struct rows_file *file, MDB_txn *txn, const struct digest *key,
                   const MDB_val *whole)
{
    MDB_val value = *whole;
    const int result = put_value(file, txn, key, &value, MDB_NOOVERWRITE);
    return result == MDB_KEYEXIST ? 0 : result;
}

int rows_end(MDB_txn *txn, int result)
{
    if (result) {
        mdb_txn_abort(txn);
        return result;
    }
    RESCUED(mdb_txn_commit(txn));
    if (result == ASSERTED)
        mdb_txn_abort(txn);
    return result;
}
