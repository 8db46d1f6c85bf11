/* Requests with rows that nobody else has, for engines that give them back. */
#ifndef GP_TESTS_ROW_REQUEST_H
#define GP_TESTS_ROW_REQUEST_H

#include "model/inference.h"

enum { ROW_REQUEST_MOST = 8 /* rows that run together; a request may have some more */ };

struct row_request {
    struct gp_tensor input;
    enum gp_dtype wanted;
    int64_t shape[1];
    int32_t rows[ROW_REQUEST_MOST + 4];
};

/* As new, at random: one input, and now and then another config. The inference is bound to it. */
void row_request_fill(struct row_request *request, struct inference *inference);

/* True if the inference has its rows, and nothing else, as its output. */
bool row_request_has_answer(const struct row_request *request,
                            const struct inference *inference);

/* For an engine: gives the rows back, whosoever they are. */
enum gp_status row_request_echo(const struct gp_call *call, struct gp_outputs *outputs,
                                struct gp_error *err);

#endif
