/* base/cgroup.h - the control groups of this process, from its own up to the highest that can be
 * seen, and their files. */
#ifndef GP_BASE_CGROUP_H
#define GP_BASE_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cgroup {
    char folder[2 * PATH_MAX];
    size_t top_length; /* of the folder's part that is the highest group */
};

/* The group of this process; false when there is none. `controller` is one of version 1, as
 * "cpu", or NULL for version 2; `root` stands before /proc and the groups' folders. */
bool cgroup_find(struct cgroup *group, const char *root, const char *controller);

/* Moves on to the group above it; false at the highest. */
bool cgroup_go_up(struct cgroup *group);

/* The first `n` numbers of one of its files; "max", -1, what is no number and what is not there
 * are UINT64_MAX. */
void cgroup_read(const struct cgroup *group, const char *file, uint64_t *numbers, int n);

#endif
