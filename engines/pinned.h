/* pinned.h - locks the host's memory in place for the GPUs of this process, which then
 * copy from and to it directly. CUDA's driver library is opened at run time, so that
 * building a plug-in needs nothing installed, and without it nothing is pinned. A call
 * needs a CUDA context on its thread: it borrows the one that the framework uses for its
 * first device. */
#ifndef GP_ENGINES_PINNED_H
#define GP_ENGINES_PINNED_H

#include "device.h"

#include <dlfcn.h>
#include <pthread.h>

/* The part of CUDA's driver interface that is used here; all functions return 0 on
 * success. */
struct pinned_driver {
    int (*init)(unsigned flags);
    int (*device_get)(int *device, int number);
    int (*context_retain)(void **context, int device);
    int (*context_push)(void *context);
    int (*context_pop)(void **context);
    int (*memory_register)(void *memory, size_t size_bytes, unsigned flags);
    int (*memory_unregister)(void *memory);
    void *context; /* NULL: there is no driver or no device */
};

static struct pinned_driver pinned_driver;
static pthread_mutex_t pinned_lock = PTHREAD_MUTEX_INITIALIZER; /* of its opening */

/* With the lock held. */
static inline void pinned_open_locked(int number)
{
    struct pinned_driver *driver = &pinned_driver;
    void *library = driver->context ? NULL : dlopen("libcuda.so.1", RTLD_NOW);
    int device;
    if (!library)
        return;
    const struct {
        const char *name;
        void *function;
    } functions[] = {{"cuInit", &driver->init},
                     {"cuDeviceGet", &driver->device_get},
                     {"cuDevicePrimaryCtxRetain", &driver->context_retain},
                     {"cuCtxPushCurrent_v2", &driver->context_push},
                     {"cuCtxPopCurrent_v2", &driver->context_pop},
                     {"cuMemHostRegister_v2", &driver->memory_register},
                     {"cuMemHostUnregister", &driver->memory_unregister}};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *found = dlsym(library, functions[i].name);
        if (!found)
            return;
        memcpy(functions[i].function, &found, sizeof found);
    }
    if (driver->init(0) != 0 || driver->device_get(&device, number) != 0 ||
        driver->context_retain(&driver->context, device) != 0)
        driver->context = NULL;
}

/* Stays open for the life of the process: the pool outlives a model. */
static inline void pinned_open(int number)
{
    pthread_mutex_lock(&pinned_lock);
    pinned_open_locked(number);
    pthread_mutex_unlock(&pinned_lock);
}

static inline int pinned_pin(void *memory, size_t size_bytes)
{
    enum { PORTABLE = 1 }; /* for all contexts, and so for all devices */
    struct pinned_driver *driver = &pinned_driver;
    void *popped;
    if (driver->context_push(driver->context) != 0)
        return 0;
    const int result = driver->memory_register(memory, size_bytes, PORTABLE);
    (void)driver->context_pop(&popped);
    return result == 0;
}

static inline void pinned_unpin(void *memory)
{
    struct pinned_driver *driver = &pinned_driver;
    void *popped;
    if (driver->context_push(driver->context) != 0)
        return;
    (void)driver->memory_unregister(memory);
    (void)driver->context_pop(&popped);
}

/* Makes the host pin its pool if the model runs on GPUs. */
static inline void pinned_describe(const struct device_list *devices,
                                   struct gp_description *description)
{
    if (!devices->n || !GP_HAS(description, unpin))
        return;
    pinned_open(devices->numbers[0]);
    if (!pinned_driver.context)
        return;
    description->pin = pinned_pin;
    description->unpin = pinned_unpin;
}

#endif
