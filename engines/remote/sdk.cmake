# The C client, which the plug-in has a copy of: no framework.
set(SDK_LIBRARIES libgraphpipe-STATIC)
