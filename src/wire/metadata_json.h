/* wire/metadata_json.h - a model's description as JSON, for GET from a server and
 * "graphpipe inspect --json". */
#ifndef GP_WIRE_METADATA_JSON_H
#define GP_WIRE_METADATA_JSON_H

#include "base/text.h"

#include <graphpipe/message.h>

/* Writes an object with a line for each key, input and output, and a final line break. */
void metadata_write_json(struct text *text, const struct gp_metadata *metadata);

/* Writes ',', the key, and an array with a line for each input or output. */
void metadata_write_ios(struct text *text, const char *key, const struct gp_io *ios,
                        uint32_t n);

#endif
