/* cli/input.h - the inputs of infer and bench: [NAME=]FILE.npy, "-" or a literal. */
#ifndef GP_CLI_INPUT_H
#define GP_CLI_INPUT_H

#include "cli/file.h"
#include "cli/options.h"

#include <graphpipe/tensor.h>

/* The rows of options for them, without braces and offset. */
#define INPUT_ROW                                                                        \
    .name = "input", .letter = 'i', .argument = "[NAME=]INPUT", .kind = OPTION_LIST,     \
    .help = "an input, as the arguments after ADDRESS are"
#define OUTPUT_ROW                                                                       \
    .name = "output", .letter = 'o', .argument = "NAME", .kind = OPTION_LIST,            \
    .help = "an output to ask for, repeatable;\nwithout it the model's default outputs"

struct input {
    struct gp_tensor tensor; /* points into the file, the word or the arena */
    struct file file;
};

/* Reads it. On failure there is nothing to close; the message says which input it is
 * about. */
enum gp_status input_open(struct input *input, struct gp_arena *arena, const char *word,
                          struct gp_error *err);

void input_close(struct input *input);

/* All inputs of a command line. */
struct inputs {
    const struct gp_tensor *tensors;
    struct file *files;
    uint32_t n;
};

/* Reads the words after the first, which is the address, then those of `more`. Needs
 * inputs_close even on failure. */
enum gp_status inputs_open(struct inputs *inputs, struct gp_arena *arena,
                           const struct option_list *words,
                           const struct option_list *more, struct gp_error *err);

void inputs_close(struct inputs *inputs);

#endif
