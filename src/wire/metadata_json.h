/* wire/metadata_json.h - what a model says of itself as JSON, as servers answer GET and
 * "graphpipe inspect --json" prints it. */
#ifndef GP_WIRE_METADATA_JSON_H
#define GP_WIRE_METADATA_JSON_H

#include "base/text.h"

#include <graphpipe/message.h>

/* An object, with a line for each key, input and output, ended by a line break. */
void metadata_write_json(struct text *text, const struct gp_metadata *metadata);

#endif
