/* /proc/self/cgroup names the group of this process in a hierarchy, as a path from the
 * hierarchy's root. /proc/self/mountinfo says where the hierarchy is mounted and which of
 * its groups is mounted there. In a container without its own namespace the two paths
 * start differently, and only the part below the mounted group can be looked up. */
#include "base/cgroup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 4 * PATH_MAX };

/* A mounted hierarchy. */
struct mount {
    char group[PATH_MAX]; /* the group of the hierarchy that is mounted there */
    char point[PATH_MAX];
};

/* The next line, without its end; cut if it is too long. */
static bool read_line(FILE *file, char *line, int size)
{
    if (!fgets(line, size, file))
        return false;
    const size_t length = strcspn(line, "\n");
    if (line[length] != '\n')
        for (int c = fgetc(file); c != EOF && c != '\n';)
            c = fgetc(file);
    line[length] = '\0';
    return true;
}

static FILE *open_below(const char *root, const char *path)
{
    char whole[3 * PATH_MAX];
    const int n = snprintf(whole, sizeof whole, "%s%s", root, path);
    return n > 0 && n < (int)sizeof whole ? fopen(whole, "re") : NULL;
}

/* True if `word` is in the comma-separated list. */
static bool has_word(const char *list, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || !at[length]))
            return true;
    }
    return false;
}

/* "4:memory:/a/b", or "0::/a/b" in version 2. */
static bool read_path(const char *root, const char *controller, char *path, size_t size)
{
    char line[LINE_BYTES];
    bool is_found = false;
    FILE *file = open_below(root, "/proc/self/cgroup");
    while (file && !is_found && read_line(file, line, sizeof line)) {
        char *list = strchr(line, ':');
        char *where = list ? strchr(list + 1, ':') : NULL;
        if (!where || where[1] != '/')
            continue;
        *where++ = '\0';
        is_found = (controller ? has_word(list + 1, controller) : !list[1]) &&
                   snprintf(path, size, "%s", where) < (int)size;
    }
    if (file)
        (void)fclose(file);
    return is_found;
}

/* Spaces in paths are written as "\040" in mountinfo. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *at = text; *at; to++) {
        unsigned code;
        if (*at == '\\' && sscanf(at + 1, "%3o", &code) == 1 && code && code < 256) {
            *to = (char)code;
            at += 4;
        } else {
            *to = *at++;
        }
    }
    *to = '\0';
}

/* "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw" */
static bool read_mount(char *line, const char *controller, struct mount *mount)
{
    char type[16], options[256];
    const char *rest = strstr(line, " - ");
    _Static_assert(PATH_MAX == 4096, "in the format below");
    if (!rest || sscanf(rest, " - %15s %*s %255s", type, options) != 2 ||
        sscanf(line, "%*s %*s %*s %4095s %4095s", mount->group, mount->point) != 2)
        return false;
    unescape(mount->group);
    unescape(mount->point);
    return controller ? strcmp(type, "cgroup") == 0 && has_word(options, controller)
                      : strcmp(type, "cgroup2") == 0;
}

/* The part of the path below the mounted group, as "/b" or ""; NULL if it lies
 * elsewhere. */
static const char *below(const struct mount *mount, const char *path)
{
    const size_t length = strcmp(mount->group, "/") == 0 ? 0 : strlen(mount->group);
    const char *rest = path + length;
    if (strncmp(path, mount->group, length) != 0 || (*rest && *rest != '/') ||
        strstr(rest, "/.."))
        return NULL;
    return strcmp(rest, "/") == 0 ? "" : rest;
}

/* A process outside of the mount ("/../b" in a namespace) is treated as being in the
 * mounted group itself: nothing else is visible, and its limits are the safe guess. */
bool cgroup_find(struct cgroup *group, const char *root, const char *controller)
{
    char path[PATH_MAX], line[LINE_BYTES];
    struct mount mount;
    bool is_found = false, is_inside = false;
    if (!read_path(root, controller, path, sizeof path))
        return false;
    FILE *file = open_below(root, "/proc/self/mountinfo");
    while (file && !is_inside && read_line(file, line, sizeof line)) {
        if (!read_mount(line, controller, &mount))
            continue;
        const char *rest = below(&mount, path);
        if (is_found && !rest)
            continue;
        const int top = snprintf(group->folder, sizeof group->folder, "%s%s", root,
                                 strcmp(mount.point, "/") == 0 ? "" : mount.point);
        if (top < 0 || top >= (int)sizeof group->folder)
            continue;
        group->top_length = (size_t)top;
        const size_t room = sizeof group->folder - (size_t)top;
        is_found =
            snprintf(group->folder + top, room, "%s", rest ? rest : "") < (int)room;
        is_inside = is_found && rest;
    }
    if (file)
        (void)fclose(file);
    return is_found;
}

bool cgroup_go_up(struct cgroup *group)
{
    char *end = group->folder + strlen(group->folder);
    char *const top = group->folder + group->top_length;
    if (end <= top)
        return false;
    while (end > top && *--end != '/')
        ;
    *end = '\0';
    return true;
}

void cgroup_read(const struct cgroup *group, const char *name, uint64_t *numbers, int n)
{
    char path[PATH_MAX], line[128] = "";
    (void)snprintf(path, sizeof path, "/%s", name);
    FILE *file = open_below(group->folder, path);
    if (file && !fgets(line, sizeof line, file))
        line[0] = '\0';
    if (file)
        (void)fclose(file);
    char *at = line;
    for (int i = 0; i < n; i++) {
        at += strspn(at, " ");
        char *end = at;
        /* a number with too many digits gives UINT64_MAX as well */
        numbers[i] = *at >= '0' && *at <= '9' ? strtoull(at, &end, 10) : UINT64_MAX;
        if (*end && *end != ' ' && *end != '\n')
            numbers[i] = UINT64_MAX;
        at += strcspn(at, " ");
    }
}
