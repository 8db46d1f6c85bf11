/* Finds out whether a run changes state that outlives it. A variable that is assigned
 * from an input may go on using the input's memory, which is the request's. So inputs are
 * copied if a run may do that, and lent if it cannot.
 *
 * This takes a walk from the outputs to all operations that they need, also inside
 * functions. TensorFlow's registry says which operations are stateful or take references;
 * all of these count as keeping their inputs, except a list of those that only read. */
#include "model.h"

#include "../protobuf.h"

#include <stdlib.h>
#include <string.h>

/* Field numbers in op_def.proto, function.proto, node_def.proto, attr_value.proto. */
enum { OP_INPUT = 2, OP_IS_STATEFUL = 17, ARGUMENT_IS_REFERENCE = 16 };
enum { FUNCTION_NODE = 3 };
enum { NODE_OP = 2, NODE_ATTRIBUTE = 5, ENTRY_VALUE = 2 };
enum { VALUE_LIST = 1, VALUE_FUNCTION = 10, LIST_FUNCTION = 9, FUNCTION_NAME = 1 };

/* Stateful ones that keep none of their inputs. */
static const char *const readers[] = {
    "Assert",
    "Case",
    "HashTable",
    "HashTableV2",
    "If",
    "IsVariableInitialized",
    "LookupTableFind",
    "LookupTableFindV2",
    "LookupTableSize",
    "LookupTableSizeV2",
    "Multinomial",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformInt",
    "ReadVariableOp",
    "RefIdentity",
    "ResourceGather",
    "ResourceGatherNd",
    "StatefulPartitionedCall",
    "TensorArrayCloseV3", /* an array lives as long as its run */
    "TensorArrayConcatV3",
    "TensorArrayGatherV3",
    "TensorArrayReadV3",
    "TensorArrayScatterV3",
    "TensorArraySizeV3",
    "TensorArraySplitV3",
    "TensorArrayV3",
    "TensorArrayWriteV3",
    "TruncatedNormal",
    "VarHandleOp",
    "VarIsInitializedOp",
    "Variable",
    "VariableShape",
    "VariableV2",
    "While",
};

/* Names that have been looked at, and operations still to visit, each once. */
struct walk {
    const struct tf_model *model;
    TF_Status *status;
    TF_Function **functions;
    bool *is_function_done;
    int n_functions;
    char (*types)[64]; /* of operations that keep nothing */
    size_t n_types;
    TF_Operation **ops; /* in the order in which they were found */
    size_t n_ops;
    size_t capacity; /* of ops; the table has twice as many places */
    size_t *table;   /* by hash: 1 + the index in ops */
    bool is_kept;    /* found, or unknown */
};

static bool is_reader(const char *type)
{
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (strcmp(readers[i], type) == 0)
            return true;
    return false;
}

/* The registry's entry for a type of operation. */
static bool keeps(struct walk *walk, const char *type)
{
    const struct tf_api *api = &walk->model->tf->api;
    TF_Buffer *def = api->NewBuffer();
    api->GraphGetOpDef(walk->model->graph, type, def, walk->status);
    bool answer = true; /* also if it is not registered */
    if (api->GetCode(walk->status) == TF_OK) {
        struct pb_bytes rest = pb_view(def->data, def->length), argument;
        answer = pb_value(rest, OP_IS_STATEFUL) != 0;
        while (!answer && pb_next_body(&rest, OP_INPUT, &argument))
            answer = pb_value(argument, ARGUMENT_IS_REFERENCE) != 0;
    }
    api->DeleteBuffer(def);
    return answer;
}

static void visit_function(struct walk *walk, struct pb_bytes name);

/* Visits a type of operation, which may also be the name of a function. */
static void visit_type(struct walk *walk, struct pb_bytes name)
{
    char type[sizeof *walk->types];
    if (pb_size(name) >= sizeof type) {
        visit_function(walk, name);
        return;
    }
    (void)snprintf(type, sizeof type, "%.*s", (int)pb_size(name), (const char *)name.at);
    for (size_t i = 0; i < walk->n_types; i++)
        if (strcmp(walk->types[i], type) == 0)
            return;
    for (int i = 0; i < walk->n_functions; i++)
        if (strcmp(walk->model->tf->api.FunctionName(walk->functions[i]), type) == 0) {
            visit_function(walk, name);
            return;
        }
    if (!is_reader(type) && keeps(walk, type)) {
        walk->is_kept = true;
        return;
    }
    void *types = realloc(walk->types, (walk->n_types + 1) * sizeof *walk->types);
    if (!types) {
        walk->is_kept = true;
        return;
    }
    walk->types = types;
    memcpy(walk->types[walk->n_types++], type, sizeof type);
}

/* Visits a NodeDef: its type, and the functions that its attributes name. */
static void visit_node(struct walk *walk, struct pb_bytes node)
{
    struct pb_bytes entry, function;
    visit_type(walk, pb_body(node, NODE_OP));
    while (!walk->is_kept && pb_next_body(&node, NODE_ATTRIBUTE, &entry)) {
        const struct pb_bytes value = pb_body(entry, ENTRY_VALUE);
        function = pb_body(value, VALUE_FUNCTION);
        if (function.at)
            visit_function(walk, pb_body(function, FUNCTION_NAME));
        struct pb_bytes list = pb_body(value, VALUE_LIST);
        while (pb_next_body(&list, LIST_FUNCTION, &function))
            visit_function(walk, pb_body(function, FUNCTION_NAME));
    }
}

static void visit_function(struct walk *walk, struct pb_bytes name)
{
    const struct tf_api *api = &walk->model->tf->api;
    for (int i = 0; i < walk->n_functions && !walk->is_kept; i++) {
        if (!pb_is_text(name, api->FunctionName(walk->functions[i])))
            continue;
        if (walk->is_function_done[i])
            return;
        walk->is_function_done[i] = true;
        TF_Buffer *def = api->NewBuffer();
        api->FunctionToFunctionDef(walk->functions[i], def, walk->status);
        walk->is_kept = api->GetCode(walk->status) != TF_OK;
        struct pb_bytes rest = pb_view(def->data, def->length), node;
        while (!walk->is_kept && pb_next_body(&rest, FUNCTION_NODE, &node))
            visit_node(walk, node);
        api->DeleteBuffer(def);
        return;
    }
    walk->is_kept = true; /* a missing function */
}

static size_t *place_of(const struct walk *walk, const TF_Operation *op)
{
    const size_t n_places = 2 * walk->capacity;
    size_t i = (size_t)(((uintptr_t)op >> 4) * 0x9e3779b97f4a7c15u % n_places);
    while (walk->table[i] && walk->ops[walk->table[i] - 1] != op)
        i = (i + 1) % n_places;
    return &walk->table[i];
}

static bool grow(struct walk *walk)
{
    const size_t capacity = walk->capacity ? 2 * walk->capacity : 256;
    TF_Operation **ops = realloc(walk->ops, capacity * sizeof *ops);
    if (ops)
        walk->ops = ops;
    size_t *table = ops ? calloc(2 * capacity, sizeof *table) : NULL;
    if (!table)
        return false;
    free(walk->table);
    walk->table = table;
    walk->capacity = capacity;
    for (size_t i = 0; i < walk->n_ops; i++)
        *place_of(walk, walk->ops[i]) = i + 1;
    return true;
}

static void add_op(struct walk *walk, TF_Operation *op)
{
    if (walk->n_ops == walk->capacity && !grow(walk)) {
        walk->is_kept = true;
        return;
    }
    size_t *place = place_of(walk, op);
    if (*place)
        return;
    walk->ops[walk->n_ops] = op;
    *place = ++walk->n_ops;
}

/* Adds the inputs of an operation of the graph. */
static void add_needed(struct walk *walk, TF_Operation *op)
{
    const struct tf_api *api = &walk->model->tf->api;
    const int n_inputs = api->OperationNumInputs(op);
    const int n_controls = api->OperationNumControlInputs(op);
    for (int i = 0; i < n_inputs; i++)
        add_op(walk, api->OperationInput((TF_Input){op, i}).oper);
    TF_Operation **controls = calloc((size_t)n_controls + 1, sizeof(TF_Operation *));
    if (!controls) {
        walk->is_kept = true;
        return;
    }
    const int n = api->OperationGetControlInputs(op, controls, n_controls);
    for (int i = 0; i < n; i++)
        add_op(walk, controls[i]);
    free(controls);
}

static void visit_op(struct walk *walk, TF_Operation *op)
{
    const struct tf_api *api = &walk->model->tf->api;
    add_needed(walk, op);
    if (strcmp(api->OperationOpType(op), "Const") == 0)
        return; /* weights, which would be copied just to be looked at */
    TF_Buffer *def = api->NewBuffer();
    api->OperationToNodeDef(op, def, walk->status);
    if (api->GetCode(walk->status) == TF_OK)
        visit_node(walk, pb_view(def->data, def->length));
    else
        walk->is_kept = true;
    api->DeleteBuffer(def);
}

static bool find_functions(struct walk *walk)
{
    const struct tf_api *api = &walk->model->tf->api;
    const int n = api->GraphNumFunctions(walk->model->graph);
    walk->functions = calloc((size_t)n + 1, sizeof(TF_Function *));
    walk->is_function_done = calloc((size_t)n + 1, sizeof(bool));
    if (!walk->functions || !walk->is_function_done)
        return false;
    walk->n_functions =
        api->GraphGetFunctions(walk->model->graph, walk->functions, n, walk->status);
    return api->GetCode(walk->status) == TF_OK;
}

bool tf_state_is_kept(const struct tf_model *model, const struct tf_ends *outputs)
{
    const struct tf_api *api = &model->tf->api;
    struct walk walk = {.model = model, .status = model->status};
    walk.is_kept = !find_functions(&walk);
    for (uint32_t i = 0; i < outputs->n; i++)
        add_op(&walk, outputs->places[i].oper);
    for (size_t i = 0; i < walk.n_ops && !walk.is_kept; i++)
        visit_op(&walk, walk.ops[i]);
    for (int i = 0; i < walk.n_functions; i++)
        api->DeleteFunction(walk.functions[i]);
    free(walk.functions);
    free(walk.is_function_done);
    free(walk.types);
    free(walk.ops);
    free(walk.table);
    return walk.is_kept;
}
