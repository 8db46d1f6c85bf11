#include "turned_clock.h"

#include <stdatomic.h>

/* Relaxed: a clock that orders threads would hide their races from ThreadSanitizer. */
static atomic_llong turned_ns; /* 0: the real one */
static atomic_llong step_ns;

#define STORE(what, value) atomic_store_explicit(&(what), value, memory_order_relaxed)
#define ADD(what, value) atomic_fetch_add_explicit(&(what), value, memory_order_relaxed)
#define LOAD(what) atomic_load_explicit(&(what), memory_order_relaxed)

void turned_clock_set(int64_t now_ns)
{
    STORE(step_ns, 0);
    STORE(turned_ns, now_ns);
}

void turned_clock_add(int64_t ns)
{
    ADD(turned_ns, ns);
}

void turned_clock_add_at_each_look(int64_t ns)
{
    STORE(step_ns, ns);
}

void turned_clock_end(void)
{
    turned_clock_set(0);
}

int64_t __wrap_clock_now_ns(void)
{
    if (!LOAD(turned_ns))
        return __real_clock_now_ns();
    return LOAD(step_ns) ? ADD(turned_ns, LOAD(step_ns)) : LOAD(turned_ns);
}
