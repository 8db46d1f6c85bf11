/* The file is sealed against growing and shrinking, so that nobody who holds its descriptor can
 * take pages away under us; pages go back by punching holes, since MADV_DONTNEED frees nothing
 * in a memfd. */
#include "base/pool_arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Memory limits of control groups, version 2 and 1; SIZE_MAX when there is none. */
static size_t cgroup_limit(void)
{
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    size_t limit = SIZE_MAX;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *file = fopen(files[i], "re");
        unsigned long long bytes;
        if (file && fscanf(file, "%llu", &bytes) == 1 && bytes < limit)
            limit = (size_t)bytes;
        if (file)
            (void)fclose(file);
    }
    return limit;
}

size_t pool_arena_default_budget(void)
{
    struct sysinfo info;
    size_t memory = (size_t)1 << 30;
    if (sysinfo(&info) == 0)
        memory = (size_t)info.totalram * info.mem_unit;
    const size_t limit = cgroup_limit();
    return (limit < memory ? limit : memory) / 2;
}

bool pool_arena_has_huge_pages(void)
{
    /* "always within_size advise [never] ..." */
    char words[128] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
    if (!file)
        return false;
    const char *line = fgets(words, sizeof words, file);
    (void)fclose(file);
    return line && strchr(line, '[') && !strstr(line, "[never]") &&
           !strstr(line, "[deny]");
}

/* Maps the whole file, where there is a way at a multiple of 2 MiB: a huge page has to be
 * aligned in the file and in memory alike. Should another thread map something there in
 * between, the place is another. */
static bool map_file(struct pool_range *arena)
{
    const size_t size = arena->size_bytes + HUGE_BYTES;
    void *free_range =
        mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (free_range == MAP_FAILED)
        return false;
    munmap(free_range, size);
    void *wish = (void *)round_up((uintptr_t)free_range, HUGE_BYTES);
    void *base = mmap(wish, arena->size_bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE, arena->fd, 0);
    arena->base = base == MAP_FAILED ? NULL : base;
    return arena->base;
}

bool pool_arena_map(struct pool_range *arena, size_t size_bytes)
{
    const int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    arena->size_bytes = size_bytes;
    arena->fd = memfd_create("graphpipe-pool", flags | MFD_NOEXEC_SEAL);
    if (arena->fd < 0)
        arena->fd = memfd_create("graphpipe-pool", flags);
    if (arena->fd < 0 || ftruncate(arena->fd, (off_t)size_bytes) != 0 ||
        fcntl(arena->fd, F_ADD_SEALS, seals) != 0 || !map_file(arena))
        return false;
    (void)madvise(arena->base, size_bytes, MADV_DONTDUMP);
    return true;
}

void pool_arena_unmap(struct pool_range *arena)
{
    if (arena->base)
        munmap(arena->base, arena->size_bytes);
    if (arena->fd >= 0)
        close(arena->fd);
}

void pool_arena_choose_pages(const struct pool_range *arena, size_t small_bytes)
{
    /* Refused where the kernel knows no huge pages: nothing is lost then. */
    (void)madvise(arena->base, small_bytes, MADV_NOHUGEPAGE);
    if (small_bytes < arena->size_bytes)
        (void)madvise(arena->base + small_bytes, arena->size_bytes - small_bytes,
                      MADV_HUGEPAGE);
}

/* As MADV_POPULATE_WRITE, for kernels before 5.14. */
static void touch_pages(unsigned char *from, const unsigned char *end)
{
    for (volatile unsigned char *page = from; page < end; page += PAGE_BYTES)
        *page = 0;
}

bool pool_arena_touch(unsigned char *data, size_t size_bytes)
{
    if (madvise(data, size_bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return false;
    touch_pages(data, data + size_bytes);
    return true;
}

bool pool_arena_punch(const struct pool_range *arena, const unsigned char *data,
                      size_t size_bytes)
{
    return fallocate(arena->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     data - arena->base, (off_t)size_bytes) == 0;
}
