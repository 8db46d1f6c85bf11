/* graphpipe/graphpipe.h - all that users of libgraphpipe need to include.
 *
 * Engines include only <graphpipe/engine.h> instead.
 */
#ifndef GRAPHPIPE_GRAPHPIPE_H
#define GRAPHPIPE_GRAPHPIPE_H

#include <graphpipe/client.h>
#include <graphpipe/message.h>
#include <graphpipe/server.h>
#include <graphpipe/status.h>
#include <graphpipe/tensor.h>
#include <graphpipe/version.h>

#endif
