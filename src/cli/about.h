/* cli/about.h - a model's description as a table, for servers, files and captured
 * messages alike. */
#ifndef GP_CLI_ABOUT_H
#define GP_CLI_ABOUT_H

#include "base/text.h"

#include <graphpipe/message.h>

void about_write(struct text *text, const struct gp_metadata *metadata);

#endif
