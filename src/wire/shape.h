/* wire/shape.h - types and shapes as text for people: "image float32[-1,3,224,224]". */
#ifndef GP_WIRE_SHAPE_H
#define GP_WIRE_SHAPE_H

#include "base/text.h"

#include <graphpipe/message.h>

/* "float32[1,1000]"; a type of GP_NULL is "any". */
void shape_write(struct text *text, enum gp_dtype dtype, const int64_t *shape,
                 uint32_t rank);

/* The same for an input or output; "float32[...]" if it takes any rank. */
void shape_write_io(struct text *text, const struct gp_io *io);

/* The same into a buffer, cut to its size; returns the buffer. */
char *shape_format_io(const struct gp_io *io, char *text, size_t text_size);

/* "image float32[-1,3,224,224], mask bool[-1]" */
void shape_write_ios(struct text *text, const struct gp_io *ios, uint32_t n);

#endif
