/* base/place.h - which part of the machine this process may use, and which limit an error
 * comes from.
 *
 * The number of cores is the minimum of the affinity mask and the CPU quotas; memory is
 * the minimum of the machine's and the control groups' limits, of the process's own group
 * and every visible group above it, in versions 1 and 2. */
#ifndef GP_BASE_PLACE_H
#define GP_BASE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct place {
    unsigned n_cores;         /* that may run at the same time, at least 1 */
    unsigned n_machine_cores; /* online in the machine */
    const char *cores_from;   /* "affinity", "cgroup quota"; NULL: nothing lowers them */
    uint64_t memory_bytes;
    const char *memory_from; /* "the memory", "memory.max" and so on */
};

/* Room for the words that describe it. */
enum { PLACE_WORDS_BYTES = 256 };

/* Asks the system. */
void place_find(struct place *place);

/* Lowers it to what the control groups of this process allow. `root` is put before /proc
 * and /sys, for tests. */
void place_apply_cgroups(struct place *place, const char *root);

/* True if a control group of this process has as many tasks as it may have, with that number. */
bool place_has_full_group(const char *root, uint64_t *most);

/* The default size of the pool: half of the memory, or an eighth of the addresses that
 * `ulimit -v` allows if that is less. `words` says which, as in "half of memory.max". */
uint64_t place_pool_bytes(const struct place *place, char words[PLACE_WORDS_BYTES]);

/* Addresses that can still be mapped. */
uint64_t place_addresses_left(void);

/* strerror's words for an errno, and the limit that explains it, as in "Too many open
 * files (ulimit -n is 32: raise it)". Returns `words`. */
const char *place_explain(int error, char words[PLACE_WORDS_BYTES]);

/* For dlerror, which gives no number: only the limit, as " (ulimit -n is 32: raise it)",
 * or "". */
const char *place_loader_limit(const char *reason, char words[PLACE_WORDS_BYTES]);

#endif
