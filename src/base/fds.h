/* base/fds.h - descriptors 0, 1 and 2 are not for us.
 *
 * A process may be started, or may have made itself, without them. The next descriptors that
 * are opened then take these numbers, and whatever prints writes into a tensor's memory or a
 * client's connection. */
#ifndef GP_BASE_FDS_H
#define GP_BASE_FDS_H

#include <stdbool.h>

/* Opens /dev/null at those of 0, 1 and 2 that are closed, to stay. Standard output is opened for
 * reading only, so that writing to it still fails. False, with errno: one is still closed. */
bool fds_hold_standard(void);

#endif
