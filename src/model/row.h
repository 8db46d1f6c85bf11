/* model/row.h - the rows of a tensor: what its first dimension counts. */
#ifndef GP_MODEL_ROW_H
#define GP_MODEL_ROW_H

#include <graphpipe/engine.h>
#include <graphpipe/tensor.h>

#include <stdbool.h>

/* The bytes of one row, without those of its strings; the tensor's rank is at least 1. */
size_t row_size(const struct gp_tensor *tensor);

/* The bytes of n strings. */
size_t row_count_bytes(const struct gp_string *strings, size_t n);

/* Copies the bytes of n strings to `bytes`; returns where they end. */
char *row_move_strings(struct gp_string *strings, size_t n, char *bytes);

/* The same to memory of an engine's outputs, which own them then. False if memory is short. */
bool row_keep_strings(struct gp_outputs *outputs, struct gp_string *strings, size_t n,
                      struct gp_error *err);

#endif
