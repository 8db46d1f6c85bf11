/* base/cgroup.h - the control groups of this process, from its own up to the highest
 * visible one, and their files. */
#ifndef GP_BASE_CGROUP_H
#define GP_BASE_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cgroup {
    char folder[2 * PATH_MAX];
    size_t top_length; /* size of the part of the path that names the highest group */
};

/* Finds the group of this process; false if there is none. `controller` is one of version
 * 1, such as "cpu", or NULL for version 2; `root` is put before /proc and the groups'
 * folders. */
bool cgroup_find(struct cgroup *group, const char *root, const char *controller);

/* Moves up to the parent group; false at the highest one. */
bool cgroup_go_up(struct cgroup *group);

/* Reads the first `n` numbers of one of its files; "max", -1, a missing file and anything
 * that is not a number give UINT64_MAX. */
void cgroup_read(const struct cgroup *group, const char *file, uint64_t *numbers, int n);

#endif
