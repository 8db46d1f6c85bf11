/* When a repository is looked at again. The kernel's news are real, the clock is the test's. */
#include "base/clock.h"
#include "entries.h"
#include "model/repository_watch.h"
#include "skipping.h"
#include "temp_tree.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { POLL_MS = 60000, SETTLE_MS = REPOSITORY_WATCH_SETTLE_MS, PATIENCE_MS = 20000 };

static struct repository_watch watch;
static int64_t now_ns;

static int wait_ms(void)
{
    return repository_watch_wait(&watch, now_ns);
}

static void pass(int64_t ms)
{
    now_ns += ms * CLOCK_MS;
}

/* The first look, after which nothing happens. */
static void begin(const char *path)
{
    static char kept[512];
    now_ns = 5 * CLOCK_S;
    (void)snprintf(kept, sizeof kept, "%s", path);
    repository_watch_init(&watch, kept, POLL_MS);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, true);
    assert_int_equal(wait_ms(), POLL_MS);
}

static int set_up(void **state)
{
    return tree_make(state);
}

static int tear_down(void **state)
{
    repository_watch_finish(&watch);
    return tree_remove(state);
}

/* There is news: a look follows, but not within a second of the one before. Then it is quiet. */
static void assert_news(void)
{
    struct pollfd entry = {.fd = watch.fd, .events = POLLIN};
    assert_int_equal(poll(&entry, 1, PATIENCE_MS), 1);
    pass(1);
    assert_int_equal(wait_ms(), SETTLE_MS - 1);
    assert_int_equal(poll(&entry, 1, 0), 0); /* nobody is woken twice for it */
    pass(SETTLE_MS - 1);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, true);
    assert_int_equal(wait_ms(), POLL_MS);
}

static void assert_no_news(void)
{
    struct pollfd entry = {.fd = watch.fd, .events = POLLIN};
    assert_int_equal(poll(&entry, 1, 0), 0);
    assert_int_equal(wait_ms(), POLL_MS);
}

static void time_alone(void **state)
{
    (void)state;
    begin(tree_root);
    pass(POLL_MS - 1);
    assert_int_equal(wait_ms(), 1);
    now_ns += 1;
    assert_int_equal(wait_ms(), 1); /* rounded up: never 0 too early */
    pass(1);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, false);
    assert_int_equal(wait_ms(), SETTLE_MS);
    pass(SETTLE_MS);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, true);
    assert_int_equal(wait_ms(), POLL_MS);
    repository_watch_finish(&watch);
    repository_watch_init(&watch, tree_root, 0);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, true);
    assert_int_equal(wait_ms(), REPOSITORY_WATCH_POLL_MS);
    repository_watch_finish(&watch);
    repository_watch_init(&watch, tree_root, 10); /* quicker than changes settle */
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, false);
    assert_int_equal(wait_ms(), 10);
}

/* Whatever is written, but not another folder of that name. */
static void one_repository_has_one_instance(void **state)
{
    (void)state;
    tree_folder("/r/m/1");
    begin(tree_path("/r"));
    assert_int_equal(fcntl(watch.fd, F_SETFD, 0), 0); /* to tell it from others */
    tree_put("/r/m/1/model.onnx", "1");
    assert_news();
    assert_int_equal(fcntl(watch.fd, F_GETFD), 0);
    tree_put("/r/m/2/model.onnx", "1");
    assert_news();
    assert_int_equal(fcntl(watch.fd, F_GETFD), 0);
    tree_folder("/s/m/1");
    tree_move("/r", "/old");
    tree_move("/s", "/r");
    pass(POLL_MS);
    assert_int_equal(wait_ms(), 0);
    assert_int_equal(fcntl(watch.fd, F_GETFD), FD_CLOEXEC);
}

static void folders_and_files(void **state)
{
    (void)state;
    tree_put("/bert/1/model.onnx", "1");
    begin(tree_root);
    tree_folder("/bert/2");
    assert_news();
    tree_put("/bert/2/model.onnx", "1");
    assert_news();
    tree_put("/unet/1/variables/index", "1");
    assert_news();
    tree_put("/unet/1/variables/index", "2");
    assert_news();
    assert_int_equal(chmod(tree_path("/bert/1/model.onnx"), 0600), 0);
    assert_news();
    tree_drop("/unet/1/variables/index");
    assert_news();
    tree_drop("/bert");
    assert_news();
    assert_no_news();
}

/* What is only read makes none, nor what is being written; its end does. */
static void reading_and_writing(void **state)
{
    char byte;
    (void)state;
    tree_put("/bert/1/model.onnx", "1");
    begin(tree_root);
    int fd = open(tree_path("/bert/1/model.onnx"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
    assert_no_news();
    fd = open(tree_path("/bert/1/model.onnx"), O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "2", 1), 1);
    assert_no_news();
    close(fd);
    assert_news();
}

static void config_map(void **state)
{
    (void)state;
    tree_put("/..1/bert/1/model.onnx", "1");
    tree_link("/..data", "..1");
    tree_link("/bert", "..data/bert");
    begin(tree_root);
    tree_put("/..2/bert/1/model.onnx", "2");
    tree_link("/..tmp", "..2");
    tree_move("/..tmp", "/..data");
    assert_news();
    tree_put("/..2/bert/1/model.onnx", "3"); /* watched by its link */
    assert_news();
}

static void replaced(void **state)
{
    (void)state;
    tree_put("/r/bert/1/model.onnx", "1");
    begin(tree_path("/r"));
    tree_move("/r", "/old");
    assert_news();
    tree_put("/old/bert/1/model.onnx", "2"); /* nobody's any more */
    assert_no_news();
    tree_put("/r/bert/1/model.onnx", "1"); /* found in time only */
    assert_no_news();
    pass(POLL_MS);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, true);
    tree_put("/r/bert/1/model.onnx", "2");
    assert_news();
    tree_drop("/r");
    assert_news();
    tree_put("/r/bert/1/model.onnx", "3");
    pass(POLL_MS);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, true);
    tree_put("/r/bert/2/model.onnx", "3");
    assert_news();
    assert_false(repository_watch_has_trouble(&watch, NULL));
}

/* As git-sync does: the kernel says nothing of the link. */
static void link_is_turned(void **state)
{
    (void)state;
    tree_put("/a/bert/1/model.onnx", "1");
    tree_put("/b/bert/1/model.onnx", "1");
    tree_link("/current", "a");
    begin(tree_path("/current"));
    tree_link("/next", "b");
    tree_move("/next", "/current");
    assert_no_news();
    pass(POLL_MS);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, true);
    tree_put("/a/bert/2/model.onnx", "2");
    assert_no_news();
    tree_put("/b/bert/2/model.onnx", "2");
    assert_news();
}

/* One instance of inotify serves all the time, and nothing is left at the end. */
static void no_descriptor_is_left(void **state)
{
    (void)state;
    const size_t n = count_entries("/proc/self/fd");
    struct stat root;
    begin(tree_root);
    assert_int_equal(stat(tree_root, &root), 0);
    for (int i = 0; i < 3; i++) {
        tree_folder(i == 0 ? "/a" : i == 1 ? "/b" : "/c");
        assert_news();
        assert_int_equal(count_entries("/proc/self/fd"), n + 1);
        assert_true(watch.device == root.st_dev && watch.inode == root.st_ino);
    }
    repository_watch_finish(&watch);
    assert_int_equal(count_entries("/proc/self/fd"), n);
}

static void moved_out(void **state)
{
    (void)state;
    tree_put("/r/bert/1/model.onnx", "1");
    begin(tree_path("/r"));
    tree_move("/r/bert", "/elsewhere");
    assert_news();
    tree_put("/elsewhere/1/model.onnx", "2");
    assert_no_news();
}

static void not_there_yet(void **state)
{
    (void)state;
    begin(tree_path("/later"));
    tree_put("/later/bert/1/model.onnx", "1");
    pass(POLL_MS);
    assert_int_equal(wait_ms(), 0);
    repository_watch_looked(&watch, now_ns, true);
    tree_put("/later/bert/1/model.onnx", "2");
    assert_news();
}

static long most_events(void)
{
    long most = 0;
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (file && fscanf(file, "%ld", &most) != 1)
        most = 0;
    if (file)
        (void)fclose(file);
    return most;
}

/* More events than the kernel keeps: what came with those that were dropped is watched, and what
 * left with them is not. */
static void overflow(void **state)
{
    const long most = most_events();
    (void)state;
    if (most <= 0 || most > 200000)
        SKIP_BECAUSE("this system keeps %ld events of inotify", most);
    tree_folder("/r/bert/1");
    begin(tree_path("/r"));
    for (long i = 0; i <= most / 2; i++) {
        const char *path = tree_path(i % 2 ? "/r/x" : "/r/y");
        const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(unlink(path), 0);
    }
    tree_move("/r/bert", "/elsewhere");
    tree_folder("/r/unet/1");
    assert_news();
    tree_put("/elsewhere/1/model.onnx", "");
    assert_no_news();
    tree_put("/r/unet/1/model.onnx", "");
    assert_news();
}

static void too_many_folders(void **state)
{
    struct gp_error err;
    (void)state;
    for (unsigned i = 0; i < 100;
         i++) { /* a hundred folders, seen from a hundred places */
        char path[32];
        (void)snprintf(path, sizeof path, "/0/%u", i);
        tree_folder(path);
        (void)snprintf(path, sizeof path, "/link%u", i);
        tree_link(path, "0");
    }
    begin(tree_root);
    assert_true(repository_watch_has_trouble(&watch, &err));
    assert_non_null(
        strstr(err.message, "has too many folders; it is looked at every 60000 ms"));
    assert_false(repository_watch_has_trouble(&watch, &err));
    assert_int_equal(watch.fd, -1);
    tree_folder("/0/new");
    assert_int_equal(wait_ms(), POLL_MS);
    pass(POLL_MS);
    assert_int_equal(wait_ms(), 0);
    assert_false(repository_watch_has_trouble(&watch, &err));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(time_alone),        TEST(one_repository_has_one_instance),
        TEST(folders_and_files), TEST(reading_and_writing),
        TEST(config_map),        TEST(replaced),
        TEST(link_is_turned),    TEST(no_descriptor_is_left),
        TEST(moved_out),         TEST(not_there_yet),
        TEST(overflow),          TEST(too_many_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
