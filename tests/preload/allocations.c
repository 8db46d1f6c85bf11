/* Counts what a program allocates, from outside: loaded into it by LD_PRELOAD, it stands before
 * libc's malloc and mmap, and counts into the file that ALLOCATIONS names, which the test has made
 * and reads at any time. tests/e2e/test_steady.py is who uses it. glibc only: its own functions have
 * other names there, so that none has to be looked up. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LARGE_BYTES = 4096 };

/* As the test unpacks it. */
struct counts {
    atomic_ullong n_small;
    atomic_ullong n_large; /* of LARGE_BYTES and more */
    atomic_ullong large_bytes;
    atomic_ullong n_mapped; /* by mmap, of any size */
};

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static struct counts before_the_file; /* nobody looks at these */
static struct counts *_Atomic counts = &before_the_file;

__attribute__((constructor)) static void open_counts(void)
{
    const char *path = getenv("ALLOCATIONS");
    const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *file = MAP_FAILED;
    if (fd >= 0)
        file = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED)
        _exit(99);
    close(fd);
    counts = file;
}

static void count(size_t size)
{
    struct counts *c = counts;
    if (size < LARGE_BYTES) {
        c->n_small++;
        return;
    }
    c->n_large++;
    c->large_bytes += size;
}

void *malloc(size_t size)
{
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *block, size_t size)
{
    count(size);
    return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size)
{
    count(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = memalign(alignment, size);
    return *block ? 0 : ENOMEM;
}

void *mmap(void *at, size_t size, int access, int flags, int fd, off_t offset)
{
    counts->n_mapped++;
    return (void *)syscall(SYS_mmap, at, size, access, flags, fd, offset);
}
