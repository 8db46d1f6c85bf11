/* graphpipe/graphpipe.h - everything a user of libgraphpipe includes.
 *
 * Writers of engines include <graphpipe/engine.h> instead, and nothing else.
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
