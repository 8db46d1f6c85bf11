/* wire/try.h - the one macro that returns: only for places where there is nothing to
 * undo, which is all of them here, since an arena owns what was allocated.
 */
#ifndef GP_WIRE_TRY_H
#define GP_WIRE_TRY_H

#include <graphpipe/status.h>

#define GP_TRY(call)                                                                     \
    do {                                                                                 \
        const enum gp_status try_status = (call);                                        \
        if (try_status != GP_OK)                                                         \
            return try_status;                                                           \
    } while (0)

#endif
