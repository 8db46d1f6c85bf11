/* cli/tensor_text.h - tensors as text: for people, where large ones are summed up, and as
 * JSON, where every element is written so that it can be read back exactly. */
#ifndef GP_CLI_TENSOR_TEXT_H
#define GP_CLI_TENSOR_TEXT_H

#include "base/text.h"

#include <graphpipe/tensor.h>

/* One line without an end: all elements in brackets when there are few; else the least
 * and the greatest, and the top three of a single row of floats or the first elements of
 * others. */
void tensor_write_summary(struct text *text, const struct gp_tensor *tensor);

/* Element `index` as JSON: NaN and the infinities are strings. */
void tensor_write_json(struct text *text, const struct gp_tensor *tensor, size_t index);

size_t tensor_count(const struct gp_tensor *tensor);

#endif
