#include "base/place.h"

#include "base/cgroup.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static void lower_cores(struct place *place, uint64_t quota, uint64_t period)
{
    if (quota == UINT64_MAX || period == UINT64_MAX || !period)
        return;
    uint64_t n = quota / period + (quota % period != 0);
    n = n ? n : 1;
    if (n < place->n_cores) {
        place->n_cores = (unsigned)n;
        place->cores_from = "cgroup quota";
    }
}

static void lower_memory(struct place *place, const struct cgroup *group,
                         const char *file)
{
    uint64_t limit;
    cgroup_read(group, file, &limit, 1);
    if (limit < place->memory_bytes) {
        place->memory_bytes = limit;
        place->memory_from = file;
    }
}

void place_apply_cgroups(struct place *place, const char *root)
{
    struct cgroup group;
    uint64_t cpu[2];
    if (cgroup_find(&group, root, NULL))
        do {
            cgroup_read(&group, "cpu.max", cpu, 2);
            lower_cores(place, cpu[0], cpu[1]);
            lower_memory(place, &group, "memory.max");
            lower_memory(place, &group, "memory.high");
        } while (cgroup_go_up(&group));
    if (cgroup_find(&group, root, "cpu"))
        do {
            cgroup_read(&group, "cpu.cfs_quota_us", &cpu[0], 1);
            cgroup_read(&group, "cpu.cfs_period_us", &cpu[1], 1);
            lower_cores(place, cpu[0], cpu[1]);
        } while (cgroup_go_up(&group));
    if (cgroup_find(&group, root, "memory"))
        do
            lower_memory(place, &group, "memory.limit_in_bytes");
        while (cgroup_go_up(&group));
}

/* The mask may be longer than cpu_set_t, on machines with more than 1024 cores. */
static unsigned affinity(unsigned n_online)
{
    cpu_set_t sets[16];
    if (sched_getaffinity(0, sizeof sets, sets) != 0)
        return n_online;
    const int n = CPU_COUNT_S(sizeof sets, sets);
    return n > 0 ? (unsigned)n : 1;
}

void place_find(struct place *place)
{
    struct sysinfo info;
    const long n_online = sysconf(_SC_NPROCESSORS_ONLN);
    *place =
        (struct place){.memory_bytes = (uint64_t)1 << 30, .memory_from = "the memory"};
    place->n_machine_cores = n_online > 0 ? (unsigned)n_online : 1;
    place->n_cores = affinity(place->n_machine_cores);
    if (place->n_cores < place->n_machine_cores)
        place->cores_from = "affinity";
    else
        place->n_machine_cores = place->n_cores; /* a sysconf that knows the container */
    if (sysinfo(&info) == 0)
        place->memory_bytes = (uint64_t)info.totalram * info.mem_unit;
    place_apply_cgroups(place, "");
}

/* RLIM_INFINITY is the largest number. */
static rlim_t soft_limit(unsigned resource)
{
    struct rlimit limit;
    return getrlimit(resource, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

uint64_t place_pool_bytes(const struct place *place, char words[PLACE_WORDS_BYTES])
{
    const rlim_t addresses = soft_limit(RLIMIT_AS);
    const bool is_short =
        addresses != RLIM_INFINITY && addresses / 8 < place->memory_bytes / 2;
    (void)snprintf(words, PLACE_WORDS_BYTES, "%s of %s", is_short ? "an eighth" : "half",
                   is_short ? "ulimit -v" : place->memory_from);
    return is_short ? addresses / 8 : place->memory_bytes / 2;
}

/* Mapped addresses, from /proc/self/statm. */
static uint64_t mapped_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    if (file)
        (void)fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The stack lies near their end: 2^47, or 2^39 on small ARM machines. */
static uint64_t all_addresses(void)
{
    const uint64_t here = (uintptr_t)__builtin_frame_address(0);
    uint64_t n = (uint64_t)1 << 32;
    while (n < here)
        n *= 2;
    return n;
}

uint64_t place_addresses_left(void)
{
    const uint64_t limit = soft_limit(RLIMIT_AS), all = all_addresses();
    const uint64_t most = limit < all ? limit : all, mapped = mapped_bytes();
    return most > mapped ? most - mapped : 0;
}

/* --- errors --- */

struct limit {
    unsigned resource;
    const char *flag; /* of ulimit */
    unsigned unit_bytes;
};

static const struct limit addresses = {RLIMIT_AS, "-v", 1024};
static const struct limit data = {RLIMIT_DATA, "-d", 1024};
static const struct limit tasks = {RLIMIT_NPROC, "-u", 1};
static const struct limit descriptors = {RLIMIT_NOFILE, "-n", 1};
static const struct limit file_size = {RLIMIT_FSIZE, "-f", 1024};

/* The first flag that is set gets named. */
static void name_limit(char *words, size_t size, const struct limit *limit)
{
    const rlim_t most = soft_limit(limit->resource);
    if (most != RLIM_INFINITY && !words[0])
        (void)snprintf(words, size, "ulimit %s is %llu", limit->flag,
                       (unsigned long long)most / limit->unit_bytes);
}

static bool find_full_group(const char *root, const char *controller, uint64_t *most)
{
    struct cgroup group;
    uint64_t now;
    if (!cgroup_find(&group, root, controller))
        return false;
    do {
        cgroup_read(&group, "pids.max", most, 1);
        cgroup_read(&group, "pids.current", &now, 1);
        if (*most != UINT64_MAX && now != UINT64_MAX && now >= *most)
            return true;
    } while (cgroup_go_up(&group));
    return false;
}

bool place_has_full_group(const char *root, uint64_t *most)
{
    return find_full_group(root, NULL, most) || find_full_group(root, "pids", most);
}

static void name_pids(char *words, size_t size)
{
    uint64_t most;
    if (!words[0] && place_has_full_group("", &most))
        (void)snprintf(words, size, "pids.max of the control group is %llu",
                       (unsigned long long)most);
}

/* pthread_create also returns EAGAIN when there are no addresses for the stack. */
static bool has_room_for_stack(void)
{
    pthread_attr_t attributes;
    size_t stack_bytes = 0;
    if (pthread_attr_init(&attributes) == 0) {
        (void)pthread_attr_getstacksize(&attributes, &stack_bytes);
        (void)pthread_attr_destroy(&attributes);
    }
    return place_addresses_left() > stack_bytes;
}

static void find_limit(int error, char *limit, size_t size)
{
    limit[0] = '\0';
    switch (error) {
    case EMFILE:
        name_limit(limit, size, &descriptors);
        break;
    case EFBIG:
        name_limit(limit, size, &file_size);
        break;
    case EAGAIN:
        if (!has_room_for_stack())
            name_limit(limit, size, &addresses);
        name_pids(limit, size);
        name_limit(limit, size, &tasks);
        break;
    case ENOMEM:
        name_limit(limit, size, &addresses);
        name_limit(limit, size, &data);
        break;
    default:
        break;
    }
}

const char *place_explain(int error, char words[PLACE_WORDS_BYTES])
{
    char limit[64];
    find_limit(error, limit, sizeof limit);
    (void)snprintf(words, PLACE_WORDS_BYTES, limit[0] ? "%s (%s: raise it)" : "%s",
                   strerror(error), limit);
    return words;
}

const char *place_loader_limit(const char *reason, char words[PLACE_WORDS_BYTES])
{
    char limit[64] = "";
    if (strstr(reason, strerror(EMFILE)))
        find_limit(EMFILE, limit, sizeof limit);
    else if (strstr(reason, "failed to map") || strstr(reason, strerror(ENOMEM)))
        find_limit(ENOMEM, limit, sizeof limit);
    (void)snprintf(words, PLACE_WORDS_BYTES, limit[0] ? " (%s: raise it)" : "%s", limit);
    return words;
}
