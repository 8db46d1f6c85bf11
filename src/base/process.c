#include "base/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Fields of /proc/self/stat, as proc(5) numbers them. */
enum {
    STAT_STATE = 3,
    STAT_N_THREADS = 20,
    STAT_START = 22,
    STAT_VIRTUAL = 23,
    STAT_RESIDENT = 24
};

static double now_s(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The fields from `first` on, which are numbers. The second one is the program's name in
 * parentheses, which may contain any character. */
static bool read_stat(int first, unsigned long long *values, int n)
{
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file)
        return false;
    const size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    const char *at = strrchr(text, ')');
    for (int i = STAT_STATE - 1; at && i < first; i++)
        at = strchr(at + 1, ' ');
    for (int i = 0; at && i < n; i++) {
        if (sscanf(at, " %llu", &values[i]) != 1)
            return false;
        at = strchr(at + 1, ' ');
    }
    return at;
}

static uint64_t count_fds(void)
{
    uint64_t n = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return 0;
    for (const struct dirent *entry; (entry = readdir(folder));)
        n += entry->d_name[0] != '.';
    closedir(folder);
    return n - 1; /* the folder itself */
}

bool process_usage(struct process_usage *usage)
{
    unsigned long long stat[STAT_RESIDENT - STAT_N_THREADS + 1];
    struct rlimit fds = {0};
    *usage = (struct process_usage){.cpu_s = now_s(CLOCK_PROCESS_CPUTIME_ID)};
    if (!read_stat(STAT_N_THREADS, stat, (int)(sizeof stat / sizeof *stat)) ||
        !(usage->n_fds = count_fds()))
        return false;
    (void)getrlimit(RLIMIT_NOFILE, &fds);
    usage->n_threads = stat[0];
    usage->virtual_bytes = stat[STAT_VIRTUAL - STAT_N_THREADS];
    usage->resident_bytes =
        stat[STAT_RESIDENT - STAT_N_THREADS] * (uint64_t)sysconf(_SC_PAGESIZE);
    usage->max_fds = fds.rlim_cur;
    return true;
}

double process_started_s(void)
{
    unsigned long long start;
    if (!read_stat(STAT_START, &start, 1))
        return 0;
    return now_s(CLOCK_REALTIME) - now_s(CLOCK_BOOTTIME) +
           (double)start / (double)sysconf(_SC_CLK_TCK);
}
