#include "temp_tree.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

char tree_root[64];

int tree_make(void **state)
{
    (void)state;
    /* in memory where there is such a place: thousands of folders take their time on a disk */
    (void)snprintf(tree_root, sizeof tree_root, "/dev/shm/gp-tree-XXXXXX");
    if (mkdtemp(tree_root))
        return 0;
    (void)snprintf(tree_root, sizeof tree_root, "/tmp/gp-tree-XXXXXX");
    return mkdtemp(tree_root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static int remove_all(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int tree_remove(void **state)
{
    (void)state;
    return remove_all(tree_root);
}

const char *tree_path(const char *path)
{
    static char paths[4][512];
    static unsigned next;
    char *whole = paths[next++ % 4];
    (void)snprintf(whole, sizeof paths[0], "%s%s", tree_root, path);
    return whole;
}

static const char *make_way(const char *path)
{
    char whole[512];
    (void)snprintf(whole, sizeof whole, "%s%s", tree_root, path);
    for (char *at = whole + strlen(tree_root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        (void)mkdir(whole, 0700);
        *at = '/';
    }
    return tree_path(path);
}

void tree_put(const char *path, const char *content)
{
    FILE *file = fopen(make_way(path), "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void tree_folder(const char *path)
{
    assert_int_equal(mkdir(make_way(path), 0700), 0);
}

void tree_link(const char *path, const char *target)
{
    assert_int_equal(symlink(target, make_way(path)), 0);
}

void tree_move(const char *from, const char *to)
{
    assert_int_equal(rename(tree_path(from), make_way(to)), 0);
}

void tree_drop(const char *path)
{
    assert_int_equal(remove_all(tree_path(path)), 0);
}
