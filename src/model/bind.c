/* Matches a request with the model: names with inputs, types and shapes with the description,
 * and defaults if the request names nothing. Nothing is copied for a request that does not
 * match; once the inputs are settled, the engine needs no more checks. */
#include "model/model.h"

#include "base/names.h"
#include "model/signature.h"
#include "wire/shape.h"
#include "wire/wire.h"

#include <string.h>

/* "image float32[-1,3,224,224], mask bool[-1]": as many as fit into the text. Unlike
 * shape_write_ios it allocates nothing, however many inputs there are. */
static const char *list_io(const struct gp_io *ios, uint32_t n, char *text,
                           size_t text_size)
{
    static const char more[] = ", ...";
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < n; i++) {
        char shape[96], one[192];
        const int size =
            snprintf(one, sizeof one, "%s%.*s %s", i ? ", " : "", gp_cut(ios[i].name, 64),
                     ios[i].name, shape_format_io(&ios[i], shape, sizeof shape));
        if (used + (size_t)size + sizeof more > text_size) {
            memcpy(text + used, more, sizeof more);
            break;
        }
        memcpy(text + used, one, (size_t)size + 1);
        used += (size_t)size;
    }
    return text;
}

/* The arguments of the call of the engine. */
static struct gp_call *call_of(struct inference *inference)
{
    return &inference->run.engine_run.call;
}

static bool fits_shape(const struct gp_io *io, const struct gp_tensor *tensor)
{
    if (io->flags & GP_IO_ANY_RANK)
        return true;
    if (io->rank != tensor->rank)
        return false;
    for (uint32_t i = 0; i < io->rank; i++)
        if (io->shape[i] >= 0 && io->shape[i] != tensor->shape[i])
            return false;
    return true;
}

/* Checks a tensor against its input, for whose type one of 2018 may stand in, and adds it to the
 * bound ones. */
static bool bind_input(struct inference *inference, const struct gp_io *io,
                       const struct gp_tensor *given)
{
    const bool is_type = io->dtype == given->dtype || io->dtype == GP_NULL ||
                         wire_stands_for(given->dtype, io->dtype);
    if (!is_type || !fits_shape(io, given)) {
        char wanted[160], got[160];
        gp_error_set(
            &inference->error, GP_INVALID, "input \"%.*s\" is %s; the model wants %s",
            gp_cut(io->name, 64), io->name,
            gp_shape_format(given->dtype, given->shape, given->rank, got, sizeof got),
            shape_format_io(io, wanted, sizeof wanted));
        return false;
    }
    const uint32_t n = call_of(inference)->n_inputs++;
    inference->inputs[n] = *given;
    inference->inputs[n].name = io->name;
    inference->wanted[n] = io->dtype == GP_NULL ? given->dtype : io->dtype;
    return true;
}

static const struct gp_io *find_io(const struct gp_io *ios, uint32_t n, const char *name,
                                   uint32_t *index)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(ios[i].name, name) == 0) {
            *index = i;
            return &ios[i];
        }
    return NULL;
}

/* Finds the described input of each tensor by name; positions[i] becomes the tensor of input i,
 * or -1. */
static bool place_by_name(struct model *model, struct inference *inference,
                          int64_t *positions)
{
    const struct gp_description *d = &model->description;
    const struct gp_call *call = &inference->request->call;
    char list[300];
    for (uint32_t t = 0; t < call->n_inputs; t++) {
        uint32_t index = 0;
        if (!find_io(d->inputs, d->n_inputs, call->inputs[t].name, &index)) {
            gp_error_set(&inference->error, GP_INVALID,
                         "no input is named \"%.*s\"; the model has: %s",
                         gp_cut(call->inputs[t].name, 64), call->inputs[t].name,
                         list_io(d->inputs, d->n_inputs, list, sizeof list));
            return false;
        }
        if (positions[index] >= 0) {
            gp_error_set(&inference->error, GP_INVALID, "input \"%.*s\" came twice",
                         gp_cut(call->inputs[t].name, 64), call->inputs[t].name);
            return false;
        }
        positions[index] = t;
    }
    for (uint32_t i = 0; i < d->n_inputs; i++)
        if (positions[i] < 0 && !(d->inputs[i].flags & GP_IO_OPTIONAL)) {
            gp_error_set(&inference->error, GP_INVALID,
                         "input \"%.*s\" is missing; the model wants: %s",
                         gp_cut(d->inputs[i].name, 64), d->inputs[i].name,
                         list_io(d->inputs, d->n_inputs, list, sizeof list));
            return false;
        }
    return true;
}

static bool place_by_order(struct model *model, struct inference *inference,
                           int64_t *positions)
{
    const struct gp_call *call = &inference->request->call;
    if (call->n_inputs != model->n_default_inputs) {
        char list[300];
        gp_error_set(
            &inference->error, GP_INVALID,
            "%u tensor%s came without names; the model has %u default input%s: %s",
            call->n_inputs, call->n_inputs == 1 ? "" : "s", model->n_default_inputs,
            model->n_default_inputs == 1 ? "" : "s",
            list_io(model->description.inputs, model->description.n_inputs, list,
                    sizeof list));
        return false;
    }
    for (uint32_t t = 0; t < call->n_inputs; t++)
        positions[model->default_inputs[t]] = t;
    return true;
}

static bool make_inputs(struct inference *inference, uint32_t n)
{
    inference->inputs = gp_arena_alloc(inference->arena, n * sizeof *inference->inputs);
    inference->wanted = gp_arena_alloc(inference->arena, n * sizeof *inference->wanted);
    call_of(inference)->inputs = inference->inputs;
    if (inference->inputs && inference->wanted)
        return true;
    gp_error_set(&inference->error, GP_NO_MEMORY, "no memory for the inputs");
    return false;
}

/* Passes the inputs on as they came, for the engine to check. */
static bool pass_inputs(struct inference *inference)
{
    const struct gp_call *call = &inference->request->call;
    if (!make_inputs(inference, call->n_inputs))
        return false;
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        inference->inputs[i] = call->inputs[i];
        inference->wanted[i] = call->inputs[i].dtype;
    }
    call_of(inference)->n_inputs = call->n_inputs;
    return true;
}

/* The engine may know names that are not described. */
static bool pass_others(struct inference *inference)
{
    inference->error.status = GP_OK;
    return pass_inputs(inference);
}

static bool bind_inputs(struct model *model, struct inference *inference)
{
    const struct gp_description *d = &model->description;
    const struct gp_call *call = &inference->request->call;
    const bool is_named =
        call->n_inputs && call->inputs[0].name && call->inputs[0].name[0];
    int64_t *positions =
        gp_arena_alloc(inference->arena, d->n_inputs * sizeof *positions);
    if (!positions) {
        gp_error_set(&inference->error, GP_NO_MEMORY, "no memory for the inputs");
        return false;
    }
    for (uint32_t i = 0; i < d->n_inputs; i++)
        positions[i] = -1;
    if (!(is_named ? place_by_name(model, inference, positions)
                   : place_by_order(model, inference, positions)))
        return is_named && d->flags & GP_OPEN_INPUTS && pass_others(inference);
    if (!make_inputs(inference, d->n_inputs))
        return false;
    for (uint32_t i = 0; i < d->n_inputs; i++)
        if (positions[i] >= 0 &&
            !bind_input(inference, &d->inputs[i], &call->inputs[positions[i]]))
            return false;
    return true;
}

/* The engine is asked for each output once; output_order gives the position of each wanted
 * output. */
static bool bind_outputs(struct model *model, struct inference *inference)
{
    const struct gp_description *d = &model->description;
    const struct gp_call *call = &inference->request->call;
    const bool is_default = call->n_outputs == 0;
    const char *const *names = is_default ? model->default_outputs : call->output_names;
    const uint32_t n = is_default ? model->n_default_outputs : call->n_outputs;
    const char **unique = gp_arena_alloc(inference->arena, n * sizeof *unique);
    uint32_t *order = gp_arena_alloc(inference->arena, n * sizeof *order);
    const uint32_t *first = n ? names_find_first(inference->arena, names, n) : NULL;
    if (!unique || !order || (n && !first)) {
        gp_error_set(&inference->error, GP_NO_MEMORY, "no memory for the outputs");
        return false;
    }
    uint32_t n_unique = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at;
        if (first[i] < i) {
            order[i] = order[first[i]];
            continue;
        }
        if (!is_default && !(d->flags & GP_ANY_OUTPUT) &&
            !find_io(d->outputs, d->n_outputs, names[i], &at)) {
            char list[300];
            gp_error_set(&inference->error, GP_INVALID,
                         "no output is named \"%.*s\"; the model has: %s",
                         gp_cut(names[i], 64), names[i],
                         list_io(d->outputs, d->n_outputs, list, sizeof list));
            return false;
        }
        order[i] = n_unique;
        unique[n_unique++] = names[i];
    }
    call_of(inference)->output_names = unique;
    call_of(inference)->n_outputs = n_unique;
    inference->output_order = order;
    inference->n_wanted = n;
    return true;
}

static uint64_t count_rows(const struct gp_call *call)
{
    return call->n_inputs && call->inputs[0].rank ? (uint64_t)call->inputs[0].shape[0]
                                                  : 1;
}

/* What the engine would have refused, had it been asked for so many rows. */
static bool check_rows(struct inference *inference)
{
    if (!inference->model->batch_rules.is_fixed || signature_has_rows(inference))
        return true;
    gp_error_set(
        &inference->error, GP_INVALID,
        "the inputs have different numbers of rows; the model wants as many in each");
    return false;
}

bool model_bind(struct inference *inference)
{
    struct model *model = inference->model;
    inference->n_rows = count_rows(&inference->request->call);
    inference->is_settled = false;
    inference->output_order = NULL;
    inference->n_wanted = 0;
    engine_run_begin(&inference->run.engine_run);
    call_of(inference)->config =
        inference->request->call.config ? inference->request->call.config : "";
    call_of(inference)->deadline_ns = inference->deadline_ns;
    const uint32_t flags = model->description.flags;
    const bool is_open = flags & GP_OPEN_INPUTS && *call_of(inference)->config;
    /* If none is named and none described, the engine chooses the outputs. */
    const bool are_all =
        inference->request->call.n_outputs == 0 &&
        (is_open || (flags & GP_ANY_OUTPUT && !model->n_default_outputs));
    if (!(flags & GP_ANY_INPUTS || is_open ? pass_inputs(inference)
                                           : bind_inputs(model, inference)) ||
        !check_rows(inference))
        return false;
    if (flags & GP_ANY_INPUTS || are_all) {
        call_of(inference)->output_names = inference->request->call.output_names;
        call_of(inference)->n_outputs = inference->request->call.n_outputs;
        return true;
    }
    return bind_outputs(model, inference);
}

/* Reserves what the engine needs to copy strings. */
static bool reserve_strings(struct inference *inference)
{
    size_t n = 0, size = 0;
    for (uint32_t i = 0; i < call_of(inference)->n_inputs; i++) {
        const struct gp_string *strings = inference->inputs[i].data;
        const size_t n_here = inference->inputs[i].dtype == GP_STRING
                                  ? inference->inputs[i].size_bytes / sizeof *strings
                                  : 0;
        for (size_t k = 0; k < n_here; k++)
            size += strings[k].size_bytes;
        n += n_here;
    }
    if (!n || engine_run_reserve_strings(&inference->run.engine_run, n, size))
        return true;
    gp_error_set(
        &inference->error, GP_NO_MEMORY,
        "the pool (--pool) has no room for the engine's copies of %zu strings, %zu "
        "bytes; try again later",
        n, size);
    return false;
}

bool model_settle(struct inference *inference)
{
    if (inference->is_settled)
        return true;
    struct wire_copies copies = {.arena = inference->arena,
                                 .payloads =
                                     engine_run_copies(&inference->run.engine_run)};
    if (!copies.payloads) {
        gp_error_set(&inference->error, GP_NO_MEMORY,
                     "no memory for copies of the inputs");
        return false;
    }
    for (uint32_t i = 0; i < call_of(inference)->n_inputs; i++)
        if (wire_settle(&copies, &inference->inputs[i], inference->wanted[i], NULL) !=
            GP_OK) {
            gp_error_set(
                &inference->error, GP_NO_MEMORY,
                "the pool (--pool) has no room for a copy of input %u, %zu bytes, "
                "which cannot be read where it lies; try again later",
                i, inference->inputs[i].size_bytes);
            return false;
        }
    inference->is_settled = reserve_strings(inference);
    return inference->is_settled;
}
