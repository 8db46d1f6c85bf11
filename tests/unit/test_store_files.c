/* The files of a store: they keep to their size, and what is damaged, cut, older or full is never answered
 * and never ends the server. */
#include "cache/store.h"

#include "kept_log.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

static void assert_works(struct store *store, unsigned number)
{
    const struct store_counts before = store_count(store);
    row_put(store, number, 300);
    store_await(store, before.n_stored + before.n_dropped + 1);
    assert_int_equal(store_count(store).n_stored, before.n_stored + 1);
    assert_true(row_found(store, number, 300));
}

/* --- room --- */

static void files_keep_to_their_size(void **state)
{
    (void)state;
    enum { N = 3000, SIZE = 2500, KEPT = 5 };
    struct store *store = store_make(2 * STORE_LEAST, NULL);
    unsigned n_found = 0;
    for (unsigned i = 0; i < N; i++) {
        row_put(store, i, SIZE);
        if (i % 100 == 99) {
            store_await(store, i + 1);
            assert_true(store_size() <= 2 * STORE_LEAST);
        }
        for (unsigned k = 0; i % 100 == 99 && k < KEPT; k++) /* these are asked for */
            assert_true(row_found(store, k, SIZE));
    }
    for (unsigned i = 0; i < N; i++)
        n_found += row_found(store, i, SIZE);
    const struct store_counts counts = store_count(store);
    assert_int_equal(counts.n_stored, N);
    assert_true(counts.n_turns >= 3);
    assert_true(n_found > 100 && n_found < N);
    assert_true(row_found(store, N - 1, SIZE));
    store_close(store);

    /* the folder of a larger cache is cut to size */
    store = store_make(STORE_LEAST, NULL);
    assert_true(store_size() <= STORE_LEAST);
    assert_works(store, N);
    store_close(store);

    /* who only looks leaves it as it is */
    store = store_make(0, NULL);
    assert_true(row_found(store, N, 300));
    assert_int_equal(store_count(store).max_bytes, STORE_LEAST);
    assert_int_equal(store_count(store).n_turns, 0);
    store_close(store);
}

/* --- damage --- */

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

/* A row lies in the file as its key, the second, the check and its bytes. */
static void no_damaged_bit_is_answered(void **state)
{
    (void)state;
    enum { SIZE = 40, HEAD = 24 };
    kept_log_begin(&kept);
    struct store *store = store_make(STORE_LEAST, &kept);
    const struct digest key = row_key(7);
    row_put(store, 7, SIZE);
    store_await(store, 1);
    const char *path = young_file();
    const long at = find_bytes(path, &key, sizeof key);
    uint64_t n_damaged = 0;
    for (unsigned bit = 0; bit < 8 * (sizeof key + HEAD + SIZE); bit++) {
        unsigned char byte;
        const int fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, at + bit / 8), 1);
        byte = (unsigned char)(byte ^ 1 << bit % 8);
        assert_int_equal(pwrite(fd, &byte, 1, at + bit / 8), 1);
        assert_false(row_found(store, 7, SIZE));
        n_damaged += bit >= 8 * sizeof key; /* with another key it is another row */
        assert_int_equal(store_count(store).n_damaged, n_damaged);
        byte = (unsigned char)(byte ^ 1 << bit % 8);
        assert_int_equal(pwrite(fd, &byte, 1, at + bit / 8), 1);
        close(fd);
    }
    assert_true(row_found(store, 7, SIZE));
    assert_logged(
        &kept,
        "warning: a row in * is not what was stored, and is computed again; 1 so far: "
        "check the disk and the memory\n");
    store_close(store);
    kept_log_end(&kept);
}

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

static void set_map_size_to_much(const char *path)
{
    set_number(path, 36, 0x7fffffff);
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
        {"generation", cut_to_a_page, true}, {"generation", fill_with_text, true}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        kept_log_begin(&kept);
        struct store *store = store_make(STORE_LEAST, &kept);
        assert_works(store, i);
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
        assert_works(store, 100 + i);
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
    assert_works(store, 1);
    store_close(store);
    assert_logged(&kept, "");
    kept_log_end(&kept);
}

/* The tree is damaged while it is used: LMDB asserts, or says so. */
static void a_damaged_tree_is_noticed_and_set_aside(void **state)
{
    (void)state;
    enum { N = 200, PAGE = 4096 };
    kept_log_begin(&kept);
    struct store *store = store_make(STORE_LEAST, &kept);
    for (unsigned i = 0; i < N; i++)
        row_put(store, i, 300);
    store_await(store, N);
    static const unsigned char zeros[PAGE];
    const char *path = young_file();
    struct stat stat_;
    assert_int_equal(stat(path, &stat_), 0);
    for (off_t at = 2 * PAGE; at < stat_.st_size; at += PAGE)
        write_at(path, at, zeros, PAGE);
    for (unsigned i = 0; i < N; i++)
        assert_false(row_found(store, i, 300));
    for (int i = 0; i < 3; i++) {
        row_put(store, 1000, 300);
        assert_true(row_found(store, 1000, 300));
        store_await(store, N + 1);
    }
    assert_true(row_found(store, 1000, 300));
    assert_logged(
        &kept,
        "warning: the row cache in * begins anew: rows-*.mdb: it is damaged; it was set "
        "aside as *.damaged, which may be removed\n");
    assert_int_equal(access(store_file("rows.mdb.damaged"), F_OK), 0);
    store_close(store);
    kept_log_end(&kept);
}

/* --- no room --- */

static void a_full_disk_is_said_once(void **state)
{
    (void)state;
    enum { N = 40, SIZE = 4000 };
    struct rlimit limit, before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    kept_log_begin(&kept);
    struct store *store = store_make(4 * STORE_LEAST, &kept);
    assert_works(store, 1);

    limit = (struct rlimit){.rlim_cur = (rlim_t)store_count(store).size_bytes,
                            .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned k = 0; k < N; k++)
            row_put(store, 100 * (i + 1) + k, SIZE);
        store_await(store, 1 + N * (i + 1));
        assert_int_equal(store_count(store).n_dropped, N * (i + 1));
        assert_false(row_found(store, 100 * (i + 1), SIZE));
        assert_true(row_found(store, 1, 300)); /* what was there still is */
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    for (unsigned k = 0; k < N; k++)
        row_put(store, 100 + k, SIZE);
    store_await(store, 1 + 3 * N);
    for (unsigned k = 0; k < N; k++)
        assert_true(row_found(store, 100 + k, SIZE));
    assert_int_equal(store_count(store).n_stored, 1 + N);
    assert_logged(&kept, "warning: the row cache in * cannot be written: *; rows are "
                         "dropped until it can\n"
                         "the row cache in * is written again\n");
    store_close(store);
    kept_log_end(&kept);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_keep_to_their_size),
        TEST(no_damaged_bit_is_answered),
        TEST(damaged_files_are_set_aside),
        TEST(a_file_that_was_not_finished),
        TEST(a_damaged_tree_is_noticed_and_set_aside),
        TEST(a_full_disk_is_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
