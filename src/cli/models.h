/* cli/models.h - the models that "graphpipe serve" is to serve, out of the command line, the
 * environment and the configuration file.
 *
 * Those named by the command line are served, else those of GP_MODEL, else those of the file;
 * the table that the file has for a name holds in every case. A model's setting comes from a
 * flag or variable, else from its table, else from the top of the file, else it is the default.
 */
#ifndef GP_CLI_MODELS_H
#define GP_CLI_MODELS_H

#include "cli/serve.h"

/* What a model has that is no flag. */
struct model_values {
    const char *path;
    struct option_list aliases;
};

enum { MODEL_N_OPTIONS = 2 };
extern const struct option model_options[MODEL_N_OPTIONS];

struct model_settings {
    const char *name;      /* NULL: from the path */
    const char *file;      /* that has a table for it; NULL: none has */
    unsigned line;         /* of the table */
    struct options shared; /* over serve_options */
    struct options own;    /* over model_options */
    struct serve_values shared_values;
    struct model_values own_values;
};

struct models_settings {
    struct model_settings *items;
    size_t n;
};

/* Without settings. It must not move afterwards. */
void model_init(struct model_settings *model, struct gp_arena *arena);

/* What model_check_name takes, as the schema says it. */
#define MODEL_NAME_PATTERN                                                               \
    "^(?!(control|metrics|ui|v1|v2|versions)$)[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

/* Whether a model may be called so. `label` begins the message. */
enum gp_status model_check_name(const char *label, const char *name,
                                struct gp_error *err);

/* Out of the words that name models on the command line, of the server's settings and of those in
 * the file, whose models `models` has: the models to serve, each with all of its settings. */
enum gp_status models_choose(struct models_settings *models,
                             const struct option_list *words, struct options *server,
                             struct gp_error *err);

/* A section for each that has a name, as options_print. */
void models_print(struct text *text, const struct models_settings *models);

/* Sets what a model has of the settings; versions are not among them. */
void models_fill_settings(const struct serve_values *values,
                          struct gp_model_options *options);

/* Sets what the options say of models; what it points at is in the arena. Settings that are
 * options of the engine are added to those. */
enum gp_status models_fill(struct models_settings *models, struct gp_arena *arena,
                           struct gp_server_options *options, struct gp_error *err);

/* Sets what models in a repository get that have no settings of their own, by settings that are
 * joined. */
enum gp_status models_fill_defaults(const struct options *settings,
                                    struct gp_arena *arena,
                                    struct gp_server_options *options,
                                    struct gp_error *err);

#endif
