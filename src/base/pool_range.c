/* The file is sealed against growing and shrinking, so that nobody who holds its descriptor can
 * take pages away under us; pages go back by punching holes, since MADV_DONTNEED frees nothing
 * in a memfd. */
#include "base/pool_range.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

bool pool_range_has_huge_pages(void)
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
static bool map_file(struct pool_range *range)
{
    const size_t size = range->size_bytes + HUGE_BYTES;
    void *free_range =
        mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (free_range == MAP_FAILED)
        return false;
    munmap(free_range, size);
    void *wish = (void *)round_up((uintptr_t)free_range, HUGE_BYTES);
    const int flags = MAP_SHARED | MAP_NORESERVE | (range->fd < 0 ? MAP_ANONYMOUS : 0);
    void *base =
        mmap(wish, range->size_bytes, PROT_READ | PROT_WRITE, flags, range->fd, 0);
    range->base = base == MAP_FAILED ? NULL : base;
    return range->base;
}

static bool make_file(struct pool_range *range)
{
    const int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    range->fd = memfd_create("graphpipe-pool", flags | MFD_NOEXEC_SEAL);
    if (range->fd < 0 && errno == EINVAL)
        range->fd = memfd_create("graphpipe-pool", flags);
    return range->fd >= 0 && ftruncate(range->fd, (off_t)range->size_bytes) == 0 &&
           fcntl(range->fd, F_ADD_SEALS, seals) == 0;
}

/* `ulimit -f` is for files in memory as well, and over it comes a signal that ends the process.
 * Shared memory without a file is free of it; only children cannot be given any of that. */
static bool may_have_file(size_t size_bytes)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
           limit.rlim_cur >= size_bytes;
}

bool pool_range_map(struct pool_range *range, size_t size_bytes)
{
    *range = (struct pool_range){.fd = -1, .size_bytes = size_bytes};
    if ((!may_have_file(size_bytes) || make_file(range)) && map_file(range)) {
        (void)madvise(range->base, size_bytes, MADV_DONTDUMP);
        return true;
    }
    const int error = errno;
    pool_range_unmap(range);
    errno = error;
    return false;
}

void pool_range_unmap(struct pool_range *range)
{
    if (range->base)
        munmap(range->base, range->size_bytes);
    if (range->fd >= 0)
        close(range->fd);
    *range = (struct pool_range){.fd = -1};
}

void pool_range_choose_pages(const struct pool_range *range, size_t small_bytes)
{
    /* Refused where the kernel knows no huge pages: nothing is lost then. */
    (void)madvise(range->base, small_bytes, MADV_NOHUGEPAGE);
    if (small_bytes < range->size_bytes)
        (void)madvise(range->base + small_bytes, range->size_bytes - small_bytes,
                      MADV_HUGEPAGE);
}

/* As MADV_POPULATE_WRITE, for kernels before 5.14. */
static void touch_pages(unsigned char *from, const unsigned char *end)
{
    for (volatile unsigned char *page = from; page < end; page += PAGE_BYTES)
        *page = 0;
}

bool pool_range_touch(unsigned char *data, size_t size_bytes)
{
    if (madvise(data, size_bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return false;
    touch_pages(data, data + size_bytes);
    return true;
}

bool pool_range_punch(const struct pool_range *range, unsigned char *data,
                      size_t size_bytes)
{
    if (range->fd < 0)
        return madvise(data, size_bytes, MADV_REMOVE) == 0;
    return fallocate(range->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     data - range->base, (off_t)size_bytes) == 0;
}
