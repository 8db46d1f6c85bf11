/* cli/config_edit.h - changes settings in a configuration file, whose text stays as it is otherwise, with
 * its comments.
 */
#ifndef GP_CLI_CONFIG_EDIT_H
#define GP_CLI_CONFIG_EDIT_H

#include <graphpipe/tensor.h>

#include <stddef.h>

struct config_setting {
    const char *key;
    uint32_t number;
};

/* Sets them at the top of the file, or of the model `name` if it is not NULL. A file, or a table in it, that is
 * not there is made. Readers see the old file or the new one. */
enum gp_status config_edit(const char *path, const char *name,
                           const struct config_setting *settings, size_t n,
                           struct gp_error *err);

#endif
