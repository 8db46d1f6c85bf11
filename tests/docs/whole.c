/* Around the C of documents that is a whole program or plug-in, or functions of one. */
#include <graphpipe/graphpipe.h>

#include "example.inc"
