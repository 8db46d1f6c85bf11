/* The folder of a store: which disks it may be on, and what is there is not believed. Linked with
 * --wrap=fstatfs. */
#include "cache/store_parts.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_refused(const char *dir, enum gp_status status, const char *says)
{
    store_assert_refused(&(struct store_options){.dir = dir, .size_bytes = STORE_LEAST},
                         status, says);
}

/* --- disks --- */

static int disk_error; /* of who asks for its type */
static unsigned long disk_type;

int __real_fstatfs(int fd, struct statfs *disk);
int __wrap_fstatfs(int fd, struct statfs *disk);
int __wrap_fstatfs(int fd, struct statfs *disk)
{
    const int result = __real_fstatfs(fd, disk);
    if (disk_type)
        disk->f_type = (int32_t)disk_type; /* as a signed number, like some */
    if (!disk_error)
        return result;
    errno = disk_error;
    return -1;
}

static void network_disks_are_known(void **state)
{
    static const struct {
        uint64_t type;
        const char *name;
    } disks[] = {
        {NFS_SUPER_MAGIC, "NFS"},     {SMB_SUPER_MAGIC, "SMB"},
        {SMB2_SUPER_MAGIC, "SMB"},    {CIFS_SUPER_MAGIC, "CIFS"},
        {V9FS_MAGIC, "9p"},           {FUSE_SUPER_MAGIC, "FUSE"},
        {AFS_SUPER_MAGIC, "AFS"},     {AFS_FS_MAGIC, "AFS"},
        {CODA_SUPER_MAGIC, "Coda"},   {CEPH_SUPER_MAGIC, "Ceph"},
        {OCFS2_SUPER_MAGIC, "OCFS2"}, {NCP_SUPER_MAGIC, "NCP"},
    };
    static const uint64_t local[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC,
                                     OVERLAYFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC};
    (void)state;
    for (size_t i = 0; i < sizeof disks / sizeof *disks; i++)
        assert_string_equal(folder_network_name(disks[i].type), disks[i].name);
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        assert_null(folder_network_name(local[i]));
}

static void network_disks_are_refused(void **state)
{
    (void)state;
    disk_type = CIFS_SUPER_MAGIC;
    assert_refused(store_file(""), GP_UNSUPPORTED,
                   "/cache is on CIFS: LMDB maps the files of the row cache, which that "
                   "cannot share; name a folder on a local disk");
    disk_type = 0;
    disk_error = EIO;
    assert_refused(store_file(""), GP_UNAVAILABLE,
                   "/cache: cannot tell which file system it is on: Input/output error");
    disk_error = ENOMEM;
    assert_refused(store_file(""), GP_NO_MEMORY, "Cannot allocate memory");
    disk_error = 0;
    store_close(store_make(STORE_LEAST, NULL));
}

static void long_paths_are_cut(void **state)
{
    enum { SIZE = 300, CUT = 200 };
    static char path[SIZE + 1], says[SIZE];
    (void)state;
    memset(path, 'a', SIZE);
    memcpy(path, tree_root, strlen(tree_root));
    path[strlen(tree_root)] = path[CUT - 10] = '/';
    disk_type = NFS_SUPER_MAGIC;
    (void)snprintf(says, sizeof says, "--cache-dir %.*s is on NFS", CUT, path);
    assert_refused(path, GP_UNSUPPORTED, says);
    disk_type = 0;
    disk_error = EIO;
    (void)snprintf(says, sizeof says, "--cache-dir %.*s: cannot tell", CUT, path);
    assert_refused(path, GP_UNAVAILABLE, says);
    disk_error = 0;
}

/* --- files --- */

static bool is_there(const char *name)
{
    return access(store_file(name), F_OK) == 0;
}

static void put_files(const char *const *names)
{
    for (; *names; names++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/cache/%s", *names);
        tree_put(path, "");
    }
}

static void files_that_nobody_needs_are_removed(void **state)
{
    static const char *const needless[] = {"rows-9.mdb", "rows-9.mdb-lock",
                                           "rows-7.mdb-lock", NULL},
                             *const others[] = {"rows-8.mdbx", "rows.mdb", "row-8.mdb",
                                                "notes", NULL};
    (void)state;
    store_close(store_make(STORE_LEAST, NULL));
    put_files(needless);
    put_files(others);
    store_close(store_make(STORE_LEAST, NULL));
    for (const char *const *name = needless; *name; name++)
        assert_false(is_there(*name));
    for (const char *const *name = others; *name; name++)
        assert_true(is_there(*name));
    assert_true(is_there("rows-2.mdb"));
}

/* LMDB writes to it through a map, where a full disk would be SIGBUS. */
static void the_lock_file_of_rows_has_its_room(void **state)
{
    struct stat info;
    (void)state;
    store_close(store_make(STORE_LEAST, NULL));
    assert_int_equal(stat(store_file("rows-2.mdb-lock"), &info), 0);
    assert_true(info.st_size >= ROWS_LOCK_BYTES);
    assert_true(info.st_blocks * 512 >= ROWS_LOCK_BYTES);
}

/* Two processes would have another file open under the same name. */
static void no_number_is_used_twice(void **state)
{
    static const char *const strays[] = {"rows-40.mdb", "rows-18446744073709551615.mdb",
                                         "rows-39.mdb-lock", NULL};
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    assert_true(is_there("rows-2.mdb") && is_there("rows-2.mdb-lock"));
    assert_int_equal(store_flush(store, NULL), GP_OK);
    assert_true(is_there("rows-4.mdb"));
    assert_false(is_there("rows-2.mdb") || is_there("rows-2.mdb-lock"));
    store_close(store);
    put_files(strays);
    tree_put("/cache/generation", "of another release");
    store_close(store_make(STORE_LEAST, NULL));
    assert_true(is_there("rows-42.mdb"));
    assert_false(is_there("rows-4.mdb") || is_there("rows-40.mdb"));
    assert_false(is_there("rows-4.mdb-lock") || is_there("rows-39.mdb-lock"));
    assert_true(is_there("rows.mdb.damaged") && is_there("generation.damaged"));
}

/* Where the damaged file would go there is a folder, or one that is full. */
static void what_cannot_be_set_aside_is_removed(void **state)
{
    (void)state;
    store_close(store_make(STORE_LEAST, NULL));
    tree_put("/cache/rows.mdb.damaged/file", "");
    tree_put("/cache/generation", "of another release");
    store_close(store_make(STORE_LEAST, NULL));
    assert_true(is_there("rows-4.mdb"));
    assert_false(is_there("rows-2.mdb") || is_there("rows-2.mdb-lock"));
    tree_put("/cache/rows-4.mdb", "");
    const int fd = open(store_file("rows-4.mdb"), O_WRONLY);
    assert_int_equal(ftruncate(fd, 8 << 10), 0); /* of zeros */
    close(fd);
    store_close(store_make(STORE_LEAST, NULL));
    assert_true(is_there("rows-5.mdb"));
    assert_false(is_there("rows-4.mdb") || is_there("rows-4.mdb-lock"));

    tree_put("/cache/generation", "of another release");
    tree_drop("/cache/generation.damaged");
    tree_put("/cache/generation.damaged/file", "");
    assert_refused(store_file(""), GP_UNAVAILABLE,
                   "cannot map its file \"generation\": Is a directory");
}

/* The older of two files, which is the one before the young. */
static void a_turn_keeps_the_file_before(void **state)
{
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    store_turn(store, 2);
    assert_true(is_there("rows-4.mdb") && is_there("rows-3.mdb"));
    assert_false(is_there("rows-2.mdb") || is_there("rows-2.mdb-lock"));
    store_close(store);
}

/* What a server gave that was damaged since. */
static void a_size_that_cannot_be_is_not_believed(void **state)
{
    static const uint64_t sizes[] = {0, STORE_LEAST - 1, UINT64_C(65) << 40, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        store_close(store_make(2 * STORE_LEAST, NULL));
        const int fd = open(store_file("generation"), O_RDWR);
        assert_int_equal(pwrite(fd, &sizes[i], sizeof sizes[i],
                                offsetof(struct folder_shared, size_bytes)),
                         sizeof sizes[i]);
        close(fd);
        struct store *store = store_make(0, NULL);
        assert_int_equal(store_count(store).max_bytes, STORE_LEAST);
        store_close(store);
    }
}

/* --- paths --- */

static void a_path_is_so_long_at_most(void **state)
{
    enum { MOST = PATH_MAX - 64 };
    static char path[MOST + 2];
    (void)state;
    memset(path, 'a', sizeof path - 1);
    for (size_t at = 200; at < MOST - 1; at += 200)
        path[at] = '/';
    memcpy(path, tree_root, strlen(tree_root));
    path[strlen(tree_root)] = '/';
    assert_refused(path, GP_INVALID,
                   "--cache-dir: a path of 4033 bytes; wanted 1 to 4032");
    path[MOST] = '\0';
    store_close(store_make_with(&(struct store_options){path, STORE_LEAST, 0, NULL}));
    assert_refused(NULL, GP_INVALID, "--cache-dir: a path of 0 bytes");
}

static void the_process_may_go_elsewhere(void **state)
{
    (void)state;
    assert_int_equal(chdir(tree_root), 0);
    struct store *store =
        store_make_with(&(struct store_options){"cache", STORE_LEAST, 0, NULL});
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(store_flush(store, NULL), GP_OK);
    row_put(store, 1, 100);
    store_close(store);
    assert_true(is_there("rows-4.mdb"));
    store = store_make(STORE_LEAST, NULL);
    assert_true(row_found(store, 1, 100));
    store_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(network_disks_are_known),
        TEST(network_disks_are_refused),
        TEST(long_paths_are_cut),
        TEST(files_that_nobody_needs_are_removed),
        TEST(the_lock_file_of_rows_has_its_room),
        TEST(no_number_is_used_twice),
        TEST(what_cannot_be_set_aside_is_removed),
        TEST(a_turn_keeps_the_file_before),
        TEST(a_size_that_cannot_be_is_not_believed),
        TEST(a_path_is_so_long_at_most),
        TEST(the_process_may_go_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
