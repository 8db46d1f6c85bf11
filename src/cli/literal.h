/* cli/literal.h - tensors written on the command line: TYPE[SHAPE]:VALUES.
 *
 *     float32[2,2]:1,2,3,4     int64[-1]:1,2,3     bool:true     string[2]:"a, b",c
 *     uint8[1,224,224,3]:@pixels.raw
 *
 *     f32[1,3,224,224]:0.5     f32[8]:zeros     f32[8]:random
 *
 * One value stands for all of a shape; zeros and random are numbers of any shape, which random
 * takes from wire/fill.h, the same each time. Without brackets it is a scalar; one dimension may be -1, which is then computed from
 * the values. */
#ifndef GP_CLI_LITERAL_H
#define GP_CLI_LITERAL_H

#include <graphpipe/message.h>

#include <stdbool.h>

/* True if the word is meant as a literal rather than as a file name. */
bool literal_is(const char *word);

/* Reads TYPE[SHAPE]: of a word that is a literal into the tensor, without data; *values
 * is what follows. */
enum gp_status literal_type(struct gp_arena *arena, const char *word,
                            struct gp_tensor *tensor, const char **values,
                            struct gp_error *err);

/* Reads the values, separated by commas, for the type that literal_type read. */
enum gp_status literal_values(struct gp_arena *arena, const char *values,
                              struct gp_tensor *tensor, struct gp_error *err);

/* Uses the bytes as the values; a string tensor of one element takes all of them. */
enum gp_status literal_bytes(struct gp_arena *arena, const void *bytes, size_t size_bytes,
                             struct gp_tensor *tensor, struct gp_error *err);

#endif
