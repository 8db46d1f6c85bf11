/* cli/bench_message.h - the requests of bench, ready to be sent: from inputs given as for
 * infer, generated from the model's description, or recorded. */
#ifndef GP_CLI_BENCH_MESSAGE_H
#define GP_CLI_BENCH_MESSAGE_H

#include "cli/bench.h"
#include "cli/input.h"

struct bench_source {
    const char *address;
    uint32_t timeout_ms; /* 0: none */
    const struct option_list *records;
    const struct option_list *output_names;
    const struct option_list *shapes; /* "[NAME=]1,3,224,224" */
    const char *config;
    struct inputs inputs;
    uint32_t n_rows;
    uint32_t n_distinct; /* to be generated */
    uint64_t seed;
    struct file *files; /* of the records */
    size_t n_files;
};

/* Makes the messages. They live as long as the arena and the source, which
 * bench_source_finish frees. */
enum gp_status bench_messages_make(struct bench_messages *messages,
                                   struct bench_source *source, struct gp_arena *arena,
                                   struct gp_error *err);

void bench_source_finish(struct bench_source *source);

/* Tensors of random values for the inputs that the model needs. */
enum gp_status bench_generate(struct gp_call *call, const struct gp_metadata *metadata,
                              const struct bench_source *source, uint64_t seed,
                              struct gp_arena *arena, struct gp_error *err);

#endif
