/* base/fds.h - keeps our files away from descriptors 0, 1 and 2.
 *
 * A process may be started without them or have closed them. The next files that it opens
 * then get these numbers, and whatever prints writes into a tensor's memory or a client's
 * connection. */
#ifndef GP_BASE_FDS_H
#define GP_BASE_FDS_H

#include <stdbool.h>

/* Opens /dev/null on those of 0, 1 and 2 that are closed, for good. Standard output is
 * opened read-only, so that writing to it still fails. On failure, false and errno: one
 * is still closed. */
bool fds_hold_standard(void);

#endif
