#include "row_request.h"

#include "chance.h"

#include <string.h>

void row_request_fill(struct row_request *request, struct inference *inference)
{
    struct gp_call *call = &inference->run.engine_run.call;
    gp_arena_reset(inference->arena);
    inference->n_rows = any(8) ? 1 + any(3) : any(ROW_REQUEST_MOST + 4);
    for (uint64_t i = 0; i < inference->n_rows; i++)
        request->rows[i] = (int32_t)any(1u << 30);
    request->shape[0] = (int64_t)inference->n_rows;
    request->wanted = GP_INT32;
    request->input =
        (struct gp_tensor){.shape = request->shape,
                           .data = request->rows,
                           .size_bytes = inference->n_rows * sizeof *request->rows,
                           .dtype = GP_INT32,
                           .rank = 1};
    inference->inputs = &request->input;
    inference->wanted = &request->wanted;
    inference->is_settled = true;
    call->inputs = inference->inputs;
    call->n_inputs = 1;
    call->config = any(4) ? "" : "other";
}

bool row_request_has_answer(const struct row_request *request,
                            const struct inference *inference)
{
    const struct engine_run *run = &inference->run.engine_run;
    const struct gp_tensor *y = run->n_outputs == 1 ? &run->outputs[0].tensor : NULL;
    return y && y->rank == 1 && (uint64_t)y->shape[0] == inference->n_rows &&
           memcmp(y->data, request->rows, y->size_bytes) == 0;
}

enum gp_status row_request_echo(const struct gp_call *call, struct gp_outputs *outputs,
                                struct gp_error *err)
{
    const struct gp_tensor *x = &call->inputs[0];
    void *y = gp_outputs_alloc(outputs, 0, GP_INT32, x->shape, 1, err);
    if (!y)
        return err->status;
    memcpy(y, x->data, x->size_bytes);
    return GP_OK;
}
