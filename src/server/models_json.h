/* server/models_json.h - what models are served, as JSON for people and programs. */
#ifndef GP_SERVER_MODELS_JSON_H
#define GP_SERVER_MODELS_JSON_H

#include "server/server.h"

/* Writes {"server", "default", "models": [{"name", "state", "version", "versions": [{"version",
 * "state", "load_ms", "error"}], "aliases", "inputs", "outputs", "error"}]}; the version is the one
 * that answers for the name alone, and what there is not is left out. */
void models_write_json(struct gp_server *server, struct text *text);

#endif
