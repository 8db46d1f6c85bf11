/* cli/tensor_text.h - tensors as text: for people, with large ones summarised, and as
 * JSON, with every element written so that it reads back exactly. */
#ifndef GP_CLI_TENSOR_TEXT_H
#define GP_CLI_TENSOR_TEXT_H

#include "base/text.h"

#include <graphpipe/tensor.h>

/* One line without a line break: all elements in brackets if they are few; otherwise the
 * minimum and the maximum, and the top three of a single row of floats or the first
 * elements of others. */
void tensor_write_summary(struct text *text, const struct gp_tensor *tensor);

/* Element `index` as JSON: NaN and the infinities are strings. */
void tensor_write_json(struct text *text, const struct gp_tensor *tensor, size_t index);

size_t tensor_count(const struct gp_tensor *tensor);

#endif
