/* cli/input.h - an input of "graphpipe infer": [NAME=]FILE.npy, "-" or a literal. */
#ifndef GP_CLI_INPUT_H
#define GP_CLI_INPUT_H

#include "cli/file.h"

#include <graphpipe/tensor.h>

struct input {
    struct gp_tensor tensor; /* points into the file, the word or the arena */
    struct file file;
};

/* Reads it. On failure nothing is left to close; the message says which input is meant.
 */
enum gp_status input_open(struct input *input, struct gp_arena *arena, const char *word,
                          struct gp_error *err);

void input_close(struct input *input);

#endif
