/* Files of a store that are damaged, cut or of another release: nothing in them is answered, and they never end
 * the server. */
#include "cache/store_parts.h"

#include "kept_log.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct log kept;

/* The newest file of rows in the folder: "rows-2.mdb". */
static const char *young_file(void)
{
    static char name[64];
    unsigned long long highest = 0;
    DIR *dir = opendir(store_file(""));
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (strncmp(entry->d_name, "rows-", 5) == 0 && !strstr(entry->d_name, "lock")) {
            const unsigned long long number = strtoull(entry->d_name + 5, NULL, 10);
            highest = number > highest ? number : highest;
        }
    closedir(dir);
    snprintf(name, sizeof name, "rows-%llu.mdb", highest);
    return store_file(name);
}

static void write_at(const char *path, off_t at, const void *bytes, size_t size)
{
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, at), size);
    close(fd);
}

/* --- bits --- */

/* Where the row's bytes are in the file. */
static long find_bytes(const char *path, const void *bytes, size_t size)
{
    static unsigned char file[1 << 20];
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    const ssize_t n = read(fd, file, sizeof file);
    close(fd);
    assert_true(n > 0);
    const unsigned char *at = memmem(file, (size_t)n, bytes, size);
    assert_non_null(at);
    return at - file;
}

/* Turns over each of these bits in the file for a while: the row is then not found. */
static void assert_noticed(struct store *store, unsigned number, size_t size, long at,
                           size_t n_bytes)
{
    const int fd = open(young_file(), O_RDWR);
    for (size_t bit = 0; bit < 8 * n_bytes; bit++) {
        unsigned char byte;
        const off_t place = at + (off_t)bit / 8;
        assert_int_equal(pread(fd, &byte, 1, place), 1);
        byte = (unsigned char)(byte ^ 1 << bit % 8);
        assert_int_equal(pwrite(fd, &byte, 1, place), 1);
        assert_false(row_found(store, number, size));
        byte = (unsigned char)(byte ^ 1 << bit % 8);
        assert_int_equal(pwrite(fd, &byte, 1, place), 1);
    }
    close(fd);
    assert_true(row_found(store, number, size));
}

/* A row lies in the file as its size, 4 bytes of LMDB's, its key, the second, the check and its bytes;
 * a large one has the last three in pages of its own. */
static void no_damaged_bit_is_answered(void **state)
{
    (void)state;
    enum { SIZE = 40, LARGE = 5000, HEAD = 24 };
    kept_log_begin(&kept);
    struct store *store = store_make(STORE_LEAST, &kept);
    const struct digest small = row_key(7), large = row_key(8);
    row_put(store, 7, SIZE);
    row_put(store, 8, LARGE);
    store_await(store, 2);
    const long at = find_bytes(young_file(), &small, sizeof small);
    assert_noticed(store, 7, SIZE, at, sizeof small); /* it is another row then */
    assert_int_equal(store_count(store).n_damaged, 0);
    assert_noticed(store, 7, SIZE, at + (long)sizeof small, HEAD + SIZE);
    assert_int_equal(store_count(store).n_damaged, 8 * (HEAD + SIZE));
    assert_noticed(store, 7, SIZE, at - 8, 4);
    assert_noticed(store, 8, LARGE, find_bytes(young_file(), &large, sizeof large) - 8,
                   4);
    assert_int_equal(store_count(store).n_damaged, 8 * (HEAD + SIZE + 4 + 4));
    assert_logged(
        &kept,
        "warning: a row in * is not what was stored, and is computed again; 1 so far: "
        "check the disk and the memory\n");
    store_close(store);
    kept_log_end(&kept);
}

static void a_damaged_row_is_put_anew(void **state)
{
    (void)state;
    enum { SIZE = 40 };
    struct store *store = store_make(STORE_LEAST, NULL);
    const struct digest key = row_key(7);
    row_put(store, 7, SIZE);
    store_await(store, 1);
    write_at(young_file(), find_bytes(young_file(), &key, sizeof key) + 60, "??", 2);
    assert_false(row_found(store, 7, SIZE));
    row_put(store, 7, SIZE);
    store_await(store, 2);
    assert_true(row_found(store, 7, SIZE));
    assert_int_equal(store_count(store).n_rows, 1);
    store_close(store);
}

/* --- when it is opened --- */

static void spoil_nothing(const char *path)
{
    (void)path;
}

static void cut_to_two_pages(const char *path)
{
    assert_int_equal(truncate(path, 8192), 0);
}

static void cut_to_a_page(const char *path)
{
    assert_int_equal(truncate(path, 4096), 0);
}

static void fill_with_text(const char *path)
{
    char text[8192];
    memset(text, 'x', sizeof text);
    write_at(path, 0, text, sizeof text);
}

static void set_number(const char *path, off_t at, uint32_t number)
{
    write_at(path, at, &number, sizeof number);
    write_at(path, 4096 + at, &number, sizeof number);
}

static void set_version(const char *path)
{
    set_number(path, 20, 2);
}

static void set_page_size_to_none(const char *path)
{
    set_number(path, 40, 0);
}

static void set_page_size_to_little(const char *path)
{
    set_number(path, 40, 256);
}

static void set_page_size_to_odd(const char *path)
{
    set_number(path, 40, 4095);
}

static void set_page_size_of_one(const char *path)
{
    const uint32_t size = 2048;
    write_at(path, 40, &size, sizeof size);
}

static void set_map_size_to_much(const char *path)
{
    set_number(path, 36, 0x7fffffff);
}

static void set_magic(const char *path)
{
    write_at(path, 7, "?", 1);
}

static void set_format(const char *path)
{
    write_at(path, 8, "\2", 1);
}

static void add_a_byte(const char *path)
{
    struct stat stat_;
    assert_int_equal(stat(path, &stat_), 0);
    write_at(path, stat_.st_size, "", 1);
}

static void damaged_files_are_set_aside(void **state)
{
    (void)state;
    static const struct {
        const char *file; /* NULL: the young one */
        void (*spoil)(const char *path);
        bool is_lost;
    } cases[] = {
        {NULL, spoil_nothing, false},        {NULL, cut_to_two_pages, true},
        {NULL, fill_with_text, true},        {NULL, set_version, true},
        {NULL, set_page_size_to_none, true}, {NULL, set_map_size_to_much, true},
        {NULL, set_page_size_to_odd, true},  {NULL, set_page_size_to_little, true},
        {NULL, set_page_size_of_one, true},  {"generation", cut_to_a_page, true},
        {"generation", set_magic, true},     {"generation", set_format, true},
        {"generation", add_a_byte, true},    {"generation", fill_with_text, true}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        kept_log_begin(&kept);
        struct store *store = store_make(STORE_LEAST, &kept);
        store_assert_works(store, i);
        store_close(store);
        cases[i].spoil(cases[i].file ? store_file(cases[i].file) : young_file());
        assert_logged(&kept, "");
        store = store_make(STORE_LEAST, &kept);
        assert_int_equal(row_found(store, i, 300), !cases[i].is_lost);
        if (cases[i].is_lost) {
            assert_logged(
                &kept, "warning: the row cache in * begins anew: *; it was set aside as "
                       "*.damaged, which may be removed\n");
            const char *aside = cases[i].file ? "generation.damaged" : "rows.mdb.damaged";
            assert_int_equal(access(store_file(aside), F_OK), 0);
            assert_int_equal(unlink(store_file(aside)), 0);
        }
        store_assert_works(store, 100 + i);
        assert_true(store_size() <= STORE_LEAST);
        store_close(store);
        kept_log_end(&kept);
    }
}

/* Its maker was killed before the file had two pages, which is no damage. */
static void a_file_that_was_not_finished(void **state)
{
    (void)state;
    kept_log_begin(&kept);
    store_close(store_make(STORE_LEAST, &kept));
    cut_to_a_page(young_file());
    struct store *store = store_make(STORE_LEAST, &kept);
    store_assert_works(store, 1);
    store_close(store);
    assert_logged(&kept, "");
    kept_log_end(&kept);
}

/* Of the two first pages the newer one says what there is. */
static void a_cut_file_is_set_aside(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 3; n++) {
        kept_log_begin(&kept);
        struct store *store = store_make(STORE_LEAST, &kept);
        for (unsigned i = 0; i < n; i++)
            store_assert_works(store, i);
        const off_t used = (off_t)store_count(store).size_bytes;
        store_close(store);
        assert_int_equal(truncate(young_file(), used), 0);
        store = store_make(STORE_LEAST, &kept);
        assert_true(row_found(store, n - 1, 300));
        store_close(store);
        assert_logged(&kept, "");
        assert_int_equal(truncate(young_file(), used - 1), 0);
        store = store_make(STORE_LEAST, &kept);
        assert_false(row_found(store, n - 1, 300));
        store_close(store);
        assert_logged(&kept, "warning: the row cache in * begins anew: *\n");
        kept_log_end(&kept);
    }
}

/* --- while it is used --- */

enum { PAGE = 4096, N_IN_TREE = 200 };

/* LMDB says so. */
static void spoil_pages(const char *path)
{
    static const unsigned char zeros[PAGE];
    struct stat stat_;
    assert_int_equal(stat(path, &stat_), 0);
    for (off_t at = 2 * PAGE; at < stat_.st_size; at += PAGE)
        write_at(path, at, zeros, PAGE);
}

/* LMDB asserts that there are some. */
static void spoil_branches(const char *path)
{
    unsigned char head[16];
    unsigned n = 0;
    const int fd = open(path, O_RDWR);
    for (off_t at = 2 * PAGE; pread(fd, head, sizeof head, at) == sizeof head; at += PAGE)
        if (head[10] & 1) { /* its lower end says that it has no nodes */
            assert_int_equal(pwrite(fd, "\x10", 2, at + 12), 2);
            n++;
        }
    close(fd);
    assert_true(n > 0);
}

static struct store *make_tree(void)
{
    struct store *store = store_make(STORE_LEAST, &kept);
    for (unsigned i = 0; i < N_IN_TREE; i++)
        row_put(store, i, 300);
    store_await(store, N_IN_TREE);
    return store;
}

/* The tree is damaged while it is used; who looks or writes finds that. */
static void meet_damage(void (*spoil)(const char *path), bool is_by_look)
{
    kept_log_begin(&kept);
    struct store *store = make_tree();
    spoil(young_file());
    for (unsigned i = 0; i < N_IN_TREE && is_by_look; i++)
        assert_false(row_found(store, i, 300));
    row_put(store, 1000, 300);
    assert_true(row_found(store, 1000, 300));
    store_await(store, N_IN_TREE + 1);
    assert_true(row_found(store, 1000, 300));
    assert_false(row_found(store, 0, 300));
    assert_int_equal(store_count(store).n_stored, N_IN_TREE + 1);
    assert_int_equal(store_count(store).n_rows, 1);
    assert_logged(
        &kept,
        "warning: the row cache in * begins anew: rows-*.mdb: it is damaged; it was set "
        "aside as *.damaged, which may be removed\n");
    assert_int_equal(access(store_file("rows.mdb.damaged"), F_OK), 0);
    store_close(store);
    kept_log_end(&kept);
    tree_drop("/cache");
}

static void a_damaged_tree_is_noticed_and_set_aside(void **state)
{
    (void)state;
    meet_damage(spoil_pages, true);
    meet_damage(spoil_pages, false);
    meet_damage(spoil_branches, true);
    meet_damage(spoil_branches, false);
}

/* With row 0 in the old file. */
static struct store *make_two(void)
{
    struct store *store = make_tree();
    for (unsigned n = N_IN_TREE; store_count(store).n_turns == 0;) {
        for (unsigned i = 0; i < 4; i++)
            row_put(store, n++, 30000);
        store_await(store, n);
    }
    return store;
}

/* The young one is none the worse for it. */
static void a_damaged_old_file_goes_alone(void **state)
{
    (void)state;
    enum { LAST = 2000, SIZE = 300 };
    kept_log_begin(&kept);
    for (int is_open = 0; is_open < 2; is_open++) {
        struct store *store = make_two();
        store_assert_works(store, LAST);
        if (!is_open)
            store_close(store);
        (is_open ? spoil_pages : fill_with_text)(store_file("rows-2.mdb"));
        if (!is_open)
            store = store_make(STORE_LEAST, &kept);
        assert_false(row_found(store, 0, SIZE));
        store_assert_works(store, LAST + 1);
        assert_true(row_found(store, LAST, SIZE));
        assert_logged(&kept, "warning: the row cache in * begins anew: rows-2.mdb: *\n");
        assert_int_not_equal(access(store_file("rows-2.mdb"), F_OK), 0);
        assert_int_equal(access(store_file("rows-3.mdb"), F_OK), 0);
        store_close(store);
        tree_drop("/cache");
    }
    kept_log_end(&kept);
}

/* The old one before a damaged young one is nobody's: it would only take room. */
static void a_damaged_young_file_takes_the_old_along(void **state)
{
    (void)state;
    kept_log_begin(&kept);
    for (int is_open = 0; is_open < 2; is_open++)
        for (int is_alone = 0; is_alone < 2; is_alone++) {
            struct store *store = make_two();
            if (!is_open)
                store_close(store);
            if (!is_alone)
                spoil_pages(store_file("rows-2.mdb"));
            (is_open ? spoil_pages : fill_with_text)(store_file("rows-3.mdb"));
            if (!is_open)
                store = store_make(STORE_LEAST, &kept);
            (void)row_found(store, 0, 300);
            store_assert_works(store, 5000);
            assert_int_equal(store_count(store).n_rows, 1);
            assert_int_not_equal(access(store_file("rows-2.mdb"), F_OK), 0);
            assert_int_not_equal(access(store_file("rows-3.mdb"), F_OK), 0);
            store_close(store);
            tree_drop("/cache");
        }
    kept_log_end(&kept);
}

/* Until it has taken the row that was found, and waits for who writes. */
static void await_thread(struct store *store)
{
    for (int i = 0;; i++) {
        pthread_mutex_lock(&store->lock);
        const bool has_taken = store->n_renewed == 0;
        pthread_mutex_unlock(&store->lock);
        if (has_taken)
            return;
        assert_true(i < 60000);
        (void)poll(NULL, 0, 1);
    }
}

/* One that was found in the old file, and is damaged when it is to be written to the young one. */
static void a_damaged_row_is_not_brought_over(void **state)
{
    (void)state;
    const struct digest key = row_key(0);
    const char *old = store_file("rows-2.mdb");
    MDB_txn *txn;
    kept_log_begin(&kept);
    struct store *store = make_two();
    assert_int_equal(rows_begin(store->pair->young, &txn), 0); /* the thread waits */
    assert_true(row_found(store, 0, 300));
    await_thread(store);
    write_at(old, find_bytes(old, &key, sizeof key) + 60, "??", 2);
    const uint64_t n_rows = store_count(store).n_rows;
    mdb_txn_abort(txn);
    store_assert_works(store, 5000);
    assert_int_equal(store_count(store).n_rows, n_rows + 1);
    assert_false(row_found(store, 0, 300));
    store_close(store);
    kept_log_end(&kept);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_damaged_bit_is_answered),
        TEST(a_damaged_row_is_put_anew),
        TEST(damaged_files_are_set_aside),
        TEST(a_file_that_was_not_finished),
        TEST(a_cut_file_is_set_aside),
        TEST(a_damaged_tree_is_noticed_and_set_aside),
        TEST(a_damaged_old_file_goes_alone),
        TEST(a_damaged_young_file_takes_the_old_along),
        TEST(a_damaged_row_is_not_brought_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
