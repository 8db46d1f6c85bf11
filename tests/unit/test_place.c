/* What this process may use: the files of control groups as the kernel, containers and nobody
 * sane write them, below a root of our own. */
#include "base/place.h"
#include "skipping.h"
#include "temp_tree.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cmocka.h>

#define GIB ((uint64_t)1 << 30)
#define V2 "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
#define V1(what, id)                                                                     \
    id " 31 0:28 / /sys/fs/cgroup/" what " rw,nosuid - cgroup cgroup rw," what "\n"

static void put_group(const char *cgroup, const char *mountinfo)
{
    tree_put("/proc/self/cgroup", cgroup);
    tree_put("/proc/self/mountinfo", mountinfo);
}

/* Of 32 cores and 64 GiB. */
static struct place found(void)
{
    struct place place = {32, 32, NULL, 64 * GIB, "the memory"};
    place_apply_cgroups(&place, tree_root);
    return place;
}

static void assert_found(unsigned n_cores, uint64_t memory_bytes, const char *memory_from)
{
    const struct place place = found();
    assert_int_equal(place.n_cores, n_cores);
    if (n_cores < 32)
        assert_string_equal(place.cores_from, "cgroup quota");
    else
        assert_null(place.cores_from);
    assert_int_equal(place.memory_bytes, memory_bytes);
    assert_string_equal(place.memory_from, memory_from);
}

static void without_groups(void **state)
{
    (void)state;
    assert_found(32, 64 * GIB, "the memory"); /* no /proc at all */
    put_group("", "");
    assert_found(32, 64 * GIB, "the memory");
    put_group("0::/a\n", "");
    assert_found(32, 64 * GIB, "the memory");
    put_group("0::/a\n", V2); /* folders that are not there */
    assert_found(32, 64 * GIB, "the memory");
}

/* The least on the way up, wherever it is: a systemd unit in a slice. */
static void version_2(void **state)
{
    (void)state;
    put_group("0::/a.slice/b.service\n", V2);
    tree_put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
    tree_put("/sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
    tree_put("/sys/fs/cgroup/a.slice/b.service/memory.high", "max\n");
    assert_found(32, 64 * GIB, "the memory");
    tree_put("/sys/fs/cgroup/a.slice/memory.max", "2147483648\n");
    tree_put("/sys/fs/cgroup/a.slice/cpu.max", "400000 100000\n");
    assert_found(4, 2 * GIB, "memory.max");
    tree_put("/sys/fs/cgroup/a.slice/b.service/memory.max", "536870912\n");
    tree_put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "100000 100000\n");
    assert_found(1, GIB / 2, "memory.max");
    tree_put("/sys/fs/cgroup/a.slice/b.service/memory.high", "268435456\n");
    assert_found(1, GIB / 4, "memory.high");
    tree_put("/sys/fs/cgroup/other/memory.max", "4096\n"); /* not on the way */
    tree_put("/sys/fs/cgroup/a.slice/b.servic/memory.max", "4096\n");
    assert_found(1, GIB / 4, "memory.high");
}

static void rounds_up(void **state)
{
    static const struct {
        const char *quota;
        unsigned n_cores;
    } cases[] = {
        {"100001 100000", 2},   {"150000 100000", 2}, {"200000 100000", 2},
        {"1000 100000", 1},     {"50000 25000", 2},   {"3200000 100000", 32},
        {"9900000 100000", 32},
    };
    (void)state;
    put_group("0::/\n", V2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tree_put("/sys/fs/cgroup/cpu.max", cases[i].quota);
        assert_found(cases[i].n_cores, 64 * GIB, "the memory");
    }
}

static void version_1(void **state)
{
    (void)state;
    put_group("5:memory:/x/y\n3:cpu,cpuacct:/x\n1:name=systemd:/s\n",
              V1("cpu,cpuacct", "30") V1("memory", "32"));
    tree_put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
    tree_put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    tree_put("/sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "9223372036854771712\n");
    assert_found(32, 64 * GIB, "the memory");
    tree_put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
    tree_put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    tree_put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1073741824\n");
    assert_found(3, GIB, "memory.limit_in_bytes");
}

/* Version 2 without controllers beside version 1. */
static void hybrid(void **state)
{
    (void)state;
    put_group("4:memory:/u\n2:cpu:/u\n0::/u\n",
              V1("cpu", "30") V1("memory", "32") "40 31 0:30 / /sys/fs/cgroup/unified "
                                                 "rw - cgroup2 cgroup2 rw\n");
    tree_put("/sys/fs/cgroup/unified/u/cgroup.procs", "1\n");
    tree_put("/sys/fs/cgroup/cpu/u/cpu.cfs_quota_us", "100000\n");
    tree_put("/sys/fs/cgroup/cpu/u/cpu.cfs_period_us", "100000\n");
    tree_put("/sys/fs/cgroup/memory/u/memory.limit_in_bytes", "1073741824\n");
    assert_found(1, GIB, "memory.limit_in_bytes");
    tree_put("/sys/fs/cgroup/unified/memory.max", "1048576\n"); /* either may have it */
    assert_found(1, 1 << 20, "memory.max");
}

static void namespaces(void **state)
{
    static const struct {
        const char *path, *mount, *limited;
    } cases[] = {
        {"/", "/", "/"},                         /* of its own */
        {"/docker/abc", "/docker/abc", "/"},     /* the host's, and its part mounted */
        {"/docker/abc/d", "/docker/abc", "/d/"}, /* with a group below */
        {"/docker/abc/d", "/docker/abc", "/"},
        {"/docker/abc", "/docker/ab", "/"}, /* not below it, though it begins alike */
        {"/../..", "/", "/"},               /* outside: what can be seen */
        {"/../b", "/", "/"},
        {"/", "/../..", "/"},
        {"/gone (deleted)", "/", "/"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char cgroup[64], mountinfo[128], file[128];
        assert_int_equal(tree_remove(NULL), 0);
        assert_int_equal(tree_make(NULL), 0);
        (void)snprintf(cgroup, sizeof cgroup, "0::%s\n", cases[i].path);
        (void)snprintf(mountinfo, sizeof mountinfo,
                       "31 23 0:28 %s /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                       cases[i].mount);
        put_group(cgroup, mountinfo);
        (void)snprintf(file, sizeof file, "/sys/fs/cgroup%smemory.max", cases[i].limited);
        tree_put(file, "1073741824\n");
        (void)snprintf(file, sizeof file, "/sys/fs/cgroup%scpu.max", cases[i].limited);
        tree_put(file, "200000 100000\n");
        assert_found(2, GIB, "memory.max");
    }
}

/* The mount that has the process's group is the one, whichever comes first. */
static void several_mounts(void **state)
{
    const char *elsewhere = "30 23 0:28 /b /mnt/b rw - cgroup2 cgroup2 rw\n";
    const char *whole = "31 23 0:28 / /mnt/with\\040space rw - cgroup2 cgroup2 rw\n";
    char mountinfo[256];
    (void)state;
    tree_put("/mnt/b/memory.max", "4096\n");
    tree_put("/mnt/with space/bc/memory.max", "1073741824\n");
    (void)snprintf(mountinfo, sizeof mountinfo, "%s%s", elsewhere, whole);
    put_group("0::/bc\n", mountinfo);
    assert_found(32, GIB, "memory.max");
    (void)snprintf(mountinfo, sizeof mountinfo, "%s%s", whole, elsewhere);
    put_group("0::/bc\n", mountinfo);
    assert_found(32, GIB, "memory.max");
}

/* A backslash that begins no character is one. */
static void names_that_are_escaped(void **state)
{
    static const struct {
        const char *written, *file;
    } cases[] = {
        {"/a\\040b\\011\\134", "/a b\t\\/memory.max"},
        {"/a\\377", "/a\xff/memory.max"},
        {"/a\\400b", "/a\\400b/memory.max"},
        {"/a\\000b", "/a\\000b/memory.max"},
        {"/a\\x", "/a\\x/memory.max"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char mountinfo[96];
        (void)snprintf(mountinfo, sizeof mountinfo,
                       "31 23 0:28 / %s rw - cgroup2 cgroup2 rw\n", cases[i].written);
        put_group("0::/\n", mountinfo);
        tree_put(cases[i].file, "1073741824\n");
        assert_found(32, GIB, "memory.max");
    }
}

static void garbage(void **state)
{
    static const char *const words[] = {
        "",
        "\n",
        "max",
        "abc",
        "-1",
        "12x",
        "0x10 0x1",
        "99999999999999999999999",
        "99999999999999999999999 1",
        "100000 0",
        "100000",
        "max max",
        " ",
        "\x01\xff",
        "1e3 5",
        "100000 -1",
        "100000 abc",
    };
    (void)state;
    put_group("0::/\n", V2);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        tree_put("/sys/fs/cgroup/cpu.max", words[i]);
        assert_int_equal(found().n_cores, 32);
    }
    for (size_t i = 0; i < 9; i++) {
        tree_put("/sys/fs/cgroup/memory.max", words[i]);
        assert_found(32, 64 * GIB, "the memory");
    }
    tree_put("/sys/fs/cgroup/memory.max", "0\n");
    tree_put("/sys/fs/cgroup/cpu.max", "0 100000\n");
    assert_found(1, 0, "memory.max");
}

/* Lines that are no such lines, or longer than any buffer, before the one that counts. */
static void strange_lines(void **state)
{
    static char lines[100000];
    (void)state;
    memset(lines, 'x', sizeof lines - 1);
    (void)snprintf(lines + 50000, sizeof lines - 50000,
                   "\n\n31\n- - -\n1 2 3 - cgroup2\n:\n::\n0:\n0::relative\n%s",
                   V2 "0::/a\n");
    put_group(lines, lines);
    tree_put("/sys/fs/cgroup/a/memory.max", "1073741824\n");
    assert_found(32, GIB, "memory.max");
    memset(lines + 2, 'y', 90000); /* a path that no buffer holds */
    memcpy(lines, "0::/", 4);
    put_group(lines, V2);
    assert_found(32, 64 * GIB, "the memory");
}

/* The number of tasks that a full group may have; 0 where none is full. */
static uint64_t full_group(const char *max, const char *current)
{
    uint64_t most;
    tree_put("/sys/fs/cgroup/pids.max", max);
    tree_put("/sys/fs/cgroup/pids.current", current);
    return place_has_full_group(tree_root, &most) ? most : 0;
}

static void full_groups(void **state)
{
    (void)state;
    assert_int_equal(full_group("7\n", "7\n"), 0); /* whose is it? */
    put_group("0::/a\n", V2);
    assert_int_equal(full_group("7\n", "6\n"), 0);
    assert_int_equal(full_group("7\n", "7\n"), 7); /* above it */
    assert_int_equal(full_group("7\n", "8\n"), 7); /* lowered since */
    assert_int_equal(full_group("max\n", "8\n"), 0);
    assert_int_equal(full_group("7\n", ""), 0);
    tree_put("/sys/fs/cgroup/a/pids.max", "5\n");
    tree_put("/sys/fs/cgroup/a/pids.current", "5\n");
    assert_int_equal(full_group("7\n", "7\n"), 5); /* the nearest */
}

static void full_groups_of_version_1(void **state)
{
    uint64_t most;
    (void)state;
    put_group("4:pids:/a\n0::/\n", V1("pids", "30") V2);
    tree_put("/sys/fs/cgroup/pids/a/pids.max", "5\n");
    tree_put("/sys/fs/cgroup/pids/a/pids.current", "5\n");
    assert_true(place_has_full_group(tree_root, &most));
    assert_int_equal(most, 5);
}

static void set_limit(unsigned resource, rlim_t value, struct rlimit *before)
{
    assert_int_equal(getrlimit(resource, before), 0);
    const struct rlimit limit = {value, before->rlim_max};
    assert_int_equal(setrlimit(resource, &limit), 0);
}

static void of_this_machine(void **state)
{
    struct place place;
    struct sysinfo machine;
    char words[PLACE_WORDS_BYTES];
    (void)state;
    place_find(&place);
    assert_in_range(place.n_cores, 1, place.n_machine_cores);
    assert_int_equal(sysinfo(&machine), 0); /* less where a group has less */
    struct place wanted = {.memory_bytes = (uint64_t)machine.totalram * machine.mem_unit};
    place_apply_cgroups(&wanted, "");
    assert_int_equal(place.memory_bytes, wanted.memory_bytes);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    if (before.rlim_cur != RLIM_INFINITY)
        SKIP_BECAUSE("ulimit -v is set");
    assert_int_equal(place_pool_bytes(&place, words), place.memory_bytes / 2);
    place.memory_from = "memory.max";
    (void)place_pool_bytes(&place, words);
    assert_string_equal(words, "half of memory.max");
    assert_true(place_addresses_left() > 64 * GIB);
}

static void affinity(void **state)
{
    cpu_set_t before, one;
    struct place place;
    size_t first = 0;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    if (CPU_COUNT(&before) < 2)
        SKIP_BECAUSE("one core only");
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    place_find(&place);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(place.n_cores, 1);
    assert_true(place.n_machine_cores > 1);
    assert_string_equal(place.cores_from, "affinity");
}

static void addresses(void **state)
{
    struct place place = {1, 1, NULL, 64 * GIB, "the memory"};
    char words[PLACE_WORDS_BYTES];
    struct rlimit before;
    (void)state;
    set_limit(RLIMIT_AS, 2 * GIB, &before);
    const uint64_t pool = place_pool_bytes(&place, words), left = place_addresses_left();
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    if (!left)
        SKIP_BECAUSE("sanitizers map terabytes");
    assert_int_equal(pool, GIB / 4);
    assert_string_equal(words, "an eighth of ulimit -v");
    assert_in_range(left, GIB, 2 * GIB - 1);
}

/* A thread needs addresses for its stack; what is short of them all says the same as what is short of
 * threads. */
static void a_thread_without_addresses(void **state)
{
    char words[2][PLACE_WORDS_BYTES], wanted[PLACE_WORDS_BYTES];
    struct rlimit before, stack;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_STACK, &stack), 0);
    if (stack.rlim_cur == RLIM_INFINITY || stack.rlim_cur > GIB / 2)
        SKIP_BECAUSE("stacks are as large as they like");
    set_limit(RLIMIT_AS, 2 * GIB, &before);
    const uint64_t mapped = 2 * GIB - place_addresses_left();
    const rlim_t few = mapped + stack.rlim_cur / 2;
    for (int i = 0; i < 2 && mapped < 2 * GIB; i++) {
        const struct rlimit limit = {i ? 2 * GIB : few, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
        (void)place_explain(EAGAIN, words[i]);
    }
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    if (mapped >= 2 * GIB)
        SKIP_BECAUSE("sanitizers map terabytes");
    (void)snprintf(wanted, sizeof wanted, "%s (ulimit -v is %llu: raise it)",
                   strerror(EAGAIN), (unsigned long long)few / 1024);
    assert_string_equal(words[0], wanted);
    assert_null(strstr(words[1], "ulimit -v"));
}

static void explains(void **state)
{
    static const struct {
        int error;
        unsigned resource;
        rlim_t value;
        const char *words;
    } cases[] = {
        {EMFILE, RLIMIT_NOFILE, 33, "Too many open files (ulimit -n is 33: raise it)"},
        {EFBIG, RLIMIT_FSIZE, 2048, "File too large (ulimit -f is 2: raise it)"},
        {ENOMEM, RLIMIT_DATA, 64 * GIB,
         "Cannot allocate memory (ulimit -d is 67108864: raise it)"},
        {EAGAIN, RLIMIT_NPROC, 5,
         "Resource temporarily unavailable (ulimit -u is 5: raise it)"},
        {ENOENT, RLIMIT_NOFILE, 33, "No such file or directory"},
    };
    char words[PLACE_WORDS_BYTES];
    struct rlimit before;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_limit(cases[i].resource, cases[i].value, &before);
        (void)place_explain(cases[i].error, words);
        assert_int_equal(setrlimit(cases[i].resource, &before), 0);
        assert_string_equal(words, cases[i].words);
    }
    set_limit(RLIMIT_NOFILE, 33, &before);
    assert_string_equal(place_loader_limit("x.so: Too many open files", words),
                        " (ulimit -n is 33: raise it)");
    assert_string_equal(place_loader_limit("x.so: invalid ELF header", words), "");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    set_limit(RLIMIT_DATA, 64 * GIB, &before);
    assert_string_equal(
        place_loader_limit("x.so: failed to map segment from shared object", words),
        " (ulimit -d is 67108864: raise it)");
    assert_string_equal(place_loader_limit("x.so: Cannot allocate memory", words),
                        " (ulimit -d is 67108864: raise it)");
    assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
}

#define BELOW_A_ROOT(test) cmocka_unit_test_setup_teardown(test, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BELOW_A_ROOT(without_groups),
        BELOW_A_ROOT(version_2),
        BELOW_A_ROOT(rounds_up),
        BELOW_A_ROOT(version_1),
        BELOW_A_ROOT(hybrid),
        BELOW_A_ROOT(namespaces),
        BELOW_A_ROOT(several_mounts),
        BELOW_A_ROOT(names_that_are_escaped),
        BELOW_A_ROOT(garbage),
        BELOW_A_ROOT(strange_lines),
        BELOW_A_ROOT(full_groups),
        BELOW_A_ROOT(full_groups_of_version_1),
        cmocka_unit_test(of_this_machine),
        cmocka_unit_test(affinity),
        cmocka_unit_test(a_thread_without_addresses),
        cmocka_unit_test(explains),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
