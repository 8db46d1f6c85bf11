/* A stand-in for CUDA's driver library, as far as engines/pinned.h uses it: two devices, and words
 * on stderr for what is pinned and unpinned. With FAKE_CUDA=broken it pins nothing, with none
 * it has no device. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID = 1, NO_MEMORY = 2, NO_DEVICE = 100, NO_CONTEXT = 201, PORTABLE = 1 };

static int context;
static _Thread_local void *current;

int cuInit(unsigned flags);
int cuDeviceGet(int *device, int number);
int cuDevicePrimaryCtxRetain(void **retained, int device);
int cuCtxPushCurrent_v2(void *pushed);
int cuCtxPopCurrent_v2(void **popped);
int cuMemHostRegister_v2(void *memory, size_t size_bytes, unsigned flags);
int cuMemHostUnregister(void *memory);

static int is(const char *how)
{
    const char *said = getenv("FAKE_CUDA");
    return said && strcmp(said, how) == 0;
}

int cuInit(unsigned flags)
{
    return flags == 0 ? 0 : INVALID;
}

int cuDeviceGet(int *device, int number)
{
    *device = number;
    return number < 2 && !is("none") ? 0 : NO_DEVICE;
}

int cuDevicePrimaryCtxRetain(void **retained, int device)
{
    (void)device;
    *retained = &context;
    return 0;
}

int cuCtxPushCurrent_v2(void *pushed)
{
    current = pushed;
    return pushed == &context ? 0 : INVALID;
}

int cuCtxPopCurrent_v2(void **popped)
{
    *popped = current;
    current = NULL;
    return 0;
}

int cuMemHostRegister_v2(void *memory, size_t size_bytes, unsigned flags)
{
    if (current != &context)
        return NO_CONTEXT;
    if (is("broken"))
        return NO_MEMORY;
    fprintf(stderr, "cuda: pins %p %zu\n", memory, size_bytes);
    return flags == PORTABLE && (uintptr_t)memory % 4096 == 0 ? 0 : INVALID;
}

int cuMemHostUnregister(void *memory)
{
    if (current != &context)
        return NO_CONTEXT;
    fprintf(stderr, "cuda: unpins %p\n", memory);
    return 0;
}
