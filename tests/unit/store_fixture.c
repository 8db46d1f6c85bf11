#include "store_fixture.h"

#include "descriptors.h"
#include "temp_tree.h"

#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000 };

const char *store_file(const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "/cache%s%s", *name ? "/" : "", name);
    return tree_path(path);
}

struct store *store_make_with(const struct store_options *options)
{
    struct gp_error err = {0};
    struct store *store = store_open(options, &err);
    if (!store)
        fail_msg("%s", err.message);
    return store;
}

struct store *store_make(size_t size_bytes, struct log *log)
{
    return store_make_with(&(struct store_options){
        .dir = store_file(""), .size_bytes = size_bytes, .log = log});
}

struct digest row_key(unsigned number)
{
    struct digester digester;
    struct digest key;
    digest_begin(&digester);
    digest_add_number(&digester, number);
    digest_end(&digester, &key);
    return key;
}

void row_fill(unsigned number, unsigned char *bytes, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        bytes[i] = (unsigned char)(number * 31 + i * (number % 7 + 1));
}

bool row_is(unsigned number, const unsigned char *bytes, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        if (bytes[i] != (unsigned char)(number * 31 + i * (number % 7 + 1)))
            return false;
    return true;
}

void row_put(struct store *store, unsigned number, size_t size_bytes)
{
    const struct digest key = row_key(number);
    struct cache_row *row = cache_row_create(&key, size_bytes);
    assert_non_null(row);
    row_fill(number, row->bytes, size_bytes);
    store_put(store, row);
}

bool row_found(struct store *store, unsigned number, size_t size_bytes)
{
    const struct digest key = row_key(number);
    struct store_look look;
    struct store_found found;
    assert_true(store_look_begin(store, &look));
    const bool is_found = store_get(&look, &key, &found);
    const bool is_right = !is_found || (found.size_bytes == size_bytes &&
                                        row_is(number, found.bytes, size_bytes));
    cache_row_drop(found.row);
    store_look_end(&look);
    if (!is_right)
        fail_msg("row %u has other bytes", number);
    return is_found;
}

void store_await(struct store *store, uint64_t n_rows)
{
    for (int waited_ms = 0;; waited_ms++) {
        const struct store_counts counts = store_count(store);
        if (counts.n_stored + counts.n_dropped >= n_rows)
            return;
        assert_true(waited_ms < PATIENCE_MS);
        (void)poll(NULL, 0, 1);
    }
}

void store_assert_refused(const struct store_options *options, enum gp_status status,
                          const char *says)
{
    struct gp_error err = {0};
    const unsigned n = descriptors_count();
    assert_null(store_open(options, &err));
    assert_int_equal(err.status, status);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" lacks \"%s\"", err.message, says);
    assert_int_equal(descriptors_count(), n);
}

void store_turn(struct store *store, unsigned n_turns)
{
    enum { N_AT_ONCE = 4, SIZE = 30000 };
    for (unsigned n = 0; store_count(store).n_turns < n_turns;) {
        for (unsigned i = 0; i < N_AT_ONCE; i++)
            row_put(store, n++, SIZE);
        store_await(store, n);
    }
}

void store_assert_works(struct store *store, unsigned number)
{
    const struct store_counts before = store_count(store);
    row_put(store, number, 300);
    store_await(store, before.n_stored + before.n_dropped + 1);
    assert_int_equal(store_count(store).n_stored, before.n_stored + 1);
    assert_true(row_found(store, number, 300));
}

uint64_t store_size(void)
{
    uint64_t sum = 0;
    DIR *dir = opendir(store_file(""));
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        struct stat stat_;
        if (!strstr(entry->d_name, ".damaged") && entry->d_name[0] != '.' &&
            stat(store_file(entry->d_name), &stat_) == 0)
            sum += (uint64_t)stat_.st_size;
    }
    closedir(dir);
    return sum;
}

void store_child_begin(struct store_child *child, int (*work)(int in, int out))
{
    int in[2], out[2];
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    child->pid = fork();
    assert_true(child->pid >= 0);
    if (child->pid == 0) {
        close(in[1]);
        close(out[0]);
        _exit(work(in[0], out[1]));
    }
    close(in[0]);
    close(out[1]);
    child->to = in[1];
    child->from = out[0];
}

char store_take_letter(int fd)
{
    char letter = 0;
    return read(fd, &letter, 1) == 1 ? letter : '-';
}

char store_child_order(const struct store_child *child, char letter)
{
    assert_int_equal(write(child->to, &letter, 1), 1);
    return store_take_letter(child->from);
}

int store_child_end(struct store_child *child, int signal)
{
    int status;
    if (signal)
        assert_int_equal(kill(child->pid, signal), 0);
    close(child->to);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    close(child->from);
    assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}
