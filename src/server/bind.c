/* Matching a request with the model: names to inputs, types and shapes against the
 * description, defaults where the request names nothing. What the engine then gets needs
 * no more checks. */
#include "server/model.h"

#include "server/convert.h"

#include <string.h>

/* "image float32[-1,3,224,224], mask bool[-1]": what the model wants, cut to fit. */
static const char *list_io(const struct gp_io *ios, uint32_t n, char *text,
                           size_t text_size)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < n && used + 40 < text_size; i++) {
        char shape[96];
        const int length = snprintf(text + used, text_size - used, "%s%.64s %s",
                                    i ? ", " : "", ios[i].name,
                                    gp_shape_format(ios[i].dtype, ios[i].shape,
                                                    ios[i].rank, shape, sizeof shape));
        used += length > 0 ? (size_t)length : 0;
        used = used < text_size ? used : text_size - 1;
    }
    return text;
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

/* Checks one tensor against its input, converting what 2018's types stand in for. */
static bool bind_input(struct exchange *x, const struct gp_io *io,
                       const struct gp_tensor *given, struct gp_tensor *bound)
{
    *bound = *given;
    bound->name = io->name;
    const bool is_type = io->dtype == given->dtype || io->dtype == GP_NULL ||
                         convert_can(given->dtype, io->dtype);
    if (!is_type || !fits_shape(io, given)) {
        char wanted[160], got[160];
        gp_error_set(
            &x->error, GP_INVALID, "input \"%.64s\" is %s; the model wants %s", io->name,
            gp_shape_format(given->dtype, given->shape, given->rank, got, sizeof got),
            gp_shape_format(io->dtype, io->shape, io->rank, wanted, sizeof wanted));
        return false;
    }
    if (io->dtype != given->dtype && io->dtype != GP_NULL &&
        !convert_tensor(x->arena, bound, io->dtype)) {
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory to convert input \"%.64s\"",
                     io->name);
        return false;
    }
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

/* Which described input each tensor is, by name; positions[i] is the tensor of input
 * i, or -1. */
static bool place_by_name(struct model *model, struct exchange *x, int64_t *positions)
{
    const struct gp_description *d = &model->description;
    const struct gp_call *call = &x->request.call;
    char list[300];
    for (uint32_t t = 0; t < call->n_inputs; t++) {
        uint32_t index = 0;
        if (!find_io(d->inputs, d->n_inputs, call->inputs[t].name, &index)) {
            gp_error_set(
                &x->error, GP_INVALID, "no input is named \"%.64s\"; the model has: %s",
                call->inputs[t].name, list_io(d->inputs, d->n_inputs, list, sizeof list));
            return false;
        }
        if (positions[index] >= 0) {
            gp_error_set(&x->error, GP_INVALID, "input \"%.64s\" came twice",
                         call->inputs[t].name);
            return false;
        }
        positions[index] = t;
    }
    for (uint32_t i = 0; i < d->n_inputs; i++)
        if (positions[i] < 0 && !(d->inputs[i].flags & GP_IO_OPTIONAL)) {
            gp_error_set(
                &x->error, GP_INVALID, "input \"%.64s\" is missing; the model wants: %s",
                d->inputs[i].name, list_io(d->inputs, d->n_inputs, list, sizeof list));
            return false;
        }
    return true;
}

static bool place_by_order(struct model *model, struct exchange *x, int64_t *positions)
{
    const struct gp_call *call = &x->request.call;
    if (call->n_inputs != model->n_default_inputs) {
        char list[300];
        gp_error_set(
            &x->error, GP_INVALID,
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

/* As they came, for the engine to check. */
static void pass_inputs(struct exchange *x)
{
    x->run.call.inputs = x->request.call.inputs;
    x->run.call.n_inputs = x->request.call.n_inputs;
}

static bool bind_inputs(struct model *model, struct exchange *x)
{
    const struct gp_description *d = &model->description;
    const struct gp_call *call = &x->request.call;
    const bool is_named =
        call->n_inputs && call->inputs[0].name && call->inputs[0].name[0];
    struct gp_tensor *bound = gp_arena_alloc(x->arena, d->n_inputs * sizeof *bound);
    int64_t *positions = gp_arena_alloc(x->arena, d->n_inputs * sizeof *positions);
    if (!bound || !positions) {
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the inputs");
        return false;
    }
    for (uint32_t i = 0; i < d->n_inputs; i++)
        positions[i] = -1;
    if (!(is_named ? place_by_name(model, x, positions)
                   : place_by_order(model, x, positions))) {
        pass_inputs(x);
        return is_named && d->flags & GP_OPEN_INPUTS;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n_inputs; i++)
        if (positions[i] >= 0 &&
            !bind_input(x, &d->inputs[i], &call->inputs[positions[i]], &bound[n++]))
            return false;
    x->run.call.inputs = bound;
    x->run.call.n_inputs = n;
    return true;
}

/* The engine is asked for each output once; output_order says where each wanted one
 * lies. */
static bool bind_outputs(struct model *model, struct exchange *x)
{
    const struct gp_description *d = &model->description;
    const struct gp_call *call = &x->request.call;
    const bool is_default = call->n_outputs == 0;
    const char *const *names = is_default ? model->default_outputs : call->output_names;
    const uint32_t n = is_default ? model->n_default_outputs : call->n_outputs;
    const char **unique = gp_arena_alloc(x->arena, n * sizeof *unique);
    uint32_t *order = gp_arena_alloc(x->arena, n * sizeof *order);
    if (!unique || !order) {
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the outputs");
        return false;
    }
    uint32_t n_unique = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = 0;
        if (!is_default && !(d->flags & GP_ANY_OUTPUT) &&
            !find_io(d->outputs, d->n_outputs, names[i], &at)) {
            char list[300];
            gp_error_set(&x->error, GP_INVALID,
                         "no output is named \"%.64s\"; the model has: %s", names[i],
                         list_io(d->outputs, d->n_outputs, list, sizeof list));
            return false;
        }
        for (at = 0; at < n_unique && strcmp(unique[at], names[i]) != 0; at++)
            ;
        if (at == n_unique)
            unique[n_unique++] = names[i];
        order[i] = at;
    }
    x->run.call.output_names = unique;
    x->run.call.n_outputs = n_unique;
    x->output_order = order;
    x->n_wanted = n;
    return true;
}

bool model_bind(struct model *model, struct exchange *x)
{
    engine_run_begin(&x->run);
    x->run.call.config = x->request.call.config ? x->request.call.config : "";
    x->run.call.deadline_ns = x->deadline_ns;
    const uint32_t flags = model->description.flags;
    const bool is_open = flags & GP_OPEN_INPUTS && *x->run.call.config;
    /* Without names, and with none described, the outputs are what the engine gives. */
    const bool are_all =
        x->request.call.n_outputs == 0 &&
        (is_open || (flags & GP_ANY_OUTPUT && !model->n_default_outputs));
    if (flags & GP_ANY_INPUTS || is_open)
        pass_inputs(x);
    else if (!bind_inputs(model, x))
        return false;
    if (flags & GP_ANY_INPUTS || are_all) {
        x->run.call.output_names = x->request.call.output_names;
        x->run.call.n_outputs = x->request.call.n_outputs;
        return true;
    }
    return bind_outputs(model, x);
}
