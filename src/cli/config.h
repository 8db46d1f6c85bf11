/* cli/config.h - the configuration file of "graphpipe serve": JSON, with comments, in which
 * every flag is a key and each model has a table of its own under "models".
 *
 * It is read over the same rows as the command line, so that a new flag is a key without
 * another word, and its bounds and messages are the same.
 */
#ifndef GP_CLI_CONFIG_H
#define GP_CLI_CONFIG_H

#include "cli/models.h"

/* More than anyone serves from one process. */
enum { CONFIG_MAX_MODELS = 4096 };

struct config {
    struct options options; /* over serve_options; only what the file has */
    struct serve_values values;
    struct models_settings models;
};

/* As an empty file. It must not move afterwards. */
void config_init(struct config *config, struct gp_arena *arena);

/* Reads the file. The message of an error is "path:line: key ...", with what was wanted and what
 * came. */
enum gp_status config_read(struct config *config, const char *path, struct gp_error *err);

/* Of a command line that was parsed over serve_options: the settings of all sources, and the
 * models with theirs. */
enum gp_status config_gather(struct config *config, const struct options *options,
                             struct gp_error *err);

/* What the server has of the settings; models are not among them. What it points at beyond the values
 * is in the arena. */
enum gp_status config_fill_server(const struct serve_values *values,
                                  struct gp_arena *arena,
                                  struct gp_server_options *server, struct gp_error *err);

/* As the server takes them; what they point at is in the arena. */
enum gp_status config_fill(struct config *config, struct gp_server_options *server,
                           struct gp_error *err);

/* The JSON schema of the file. */
void config_write_schema(struct text *text);

#endif
