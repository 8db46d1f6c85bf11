/* server/metrics_text.h - a server's metrics as text for Prometheus. */
#ifndef GP_SERVER_METRICS_TEXT_H
#define GP_SERVER_METRICS_TEXT_H

#include "server/server.h"

/* In the exposition format 0.0.4. */
void metrics_write(struct gp_server *server, struct gp_arena *arena, struct text *text);

#endif
