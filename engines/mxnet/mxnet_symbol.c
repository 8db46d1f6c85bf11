/* Reads a symbol. MXNet takes the numbers in its JSON as they are, so those that are places
 * in a list are checked first. What a node is, and what its attributes mean, MXNet
 * checks. */
#include "mxnet.h"

#include <yyjson.h>

enum { MOST_DEPTH = 4, MOST_BYTES = 64 << 20 };

struct symbol_walk {
    const char *path;
    struct gp_error *err;
    uint32_t depth; /* of subgraphs */
};

/* [node, output, version], the last of which old releases lack. */
static bool is_entry(yyjson_val *entry, uint64_t n_nodes)
{
    yyjson_val *node = yyjson_arr_get(entry, 0), *output = yyjson_arr_get(entry, 1);
    return yyjson_is_uint(node) && yyjson_get_uint(node) < n_nodes &&
           yyjson_is_uint(output) && yyjson_get_uint(output) <= INT32_MAX;
}

static enum gp_status check_graph(const struct symbol_walk *walk, yyjson_val *graph);

static enum gp_status refuse_node(const struct symbol_walk *walk, size_t i,
                                  yyjson_val *node, const char *words)
{
    const char *name = yyjson_get_str(yyjson_obj_get(node, "name"));
    return gp_error_set(walk->err, GP_INVALID, "%s: nodes[%zu]%s%.*s%s", walk->path, i,
                        name ? ", " : "", gp_cut(name ? name : "", 80), name ? name : "",
                        words);
}

static enum gp_status check_node(const struct symbol_walk *walk, size_t i,
                                 yyjson_val *node)
{
    size_t j, n;
    yyjson_val *input, *subgraph;
    yyjson_val *inputs = yyjson_obj_get(node, "inputs");
    const struct symbol_walk inner = {walk->path, walk->err, walk->depth + 1};
    enum gp_status status = GP_OK;
    if (!yyjson_is_str(yyjson_obj_get(node, "op")) ||
        !yyjson_is_str(yyjson_obj_get(node, "name")) || !yyjson_is_arr(inputs))
        return refuse_node(walk, i, node, " lacks its op, name or inputs");
    yyjson_arr_foreach(inputs, j, n, input)
    {
        /* those before it only: there is no circle then */
        if (!is_entry(input, i))
            return refuse_node(walk, i, node,
                               " has an input that is no output of a node before it");
    }
    yyjson_arr_foreach(yyjson_obj_get(node, "control_deps"), j, n, input)
    {
        if (!yyjson_is_uint(input) || yyjson_get_uint(input) >= i)
            return refuse_node(walk, i, node, " depends on what is no node before it");
    }
    yyjson_arr_foreach(yyjson_obj_get(node, "subgraphs"), j, n, subgraph)
    {
        if (status == GP_OK)
            status = check_graph(&inner, subgraph);
    }
    return status;
}

/* A list of places in `nodes`, as numbers or as entries. */
static enum gp_status check_places(const struct symbol_walk *walk, yyjson_val *graph,
                                   const char *key, bool has_entries, uint64_t n_nodes)
{
    size_t i, n;
    yyjson_val *place, *list = yyjson_obj_get(graph, key);
    if (!yyjson_is_arr(list))
        return gp_error_set(walk->err, GP_INVALID, "%s: the symbol has no list \"%s\"",
                            walk->path, key);
    yyjson_arr_foreach(list, i, n, place)
    {
        if (has_entries ? !is_entry(place, n_nodes)
                        : !yyjson_is_uint(place) || yyjson_get_uint(place) >= n_nodes)
            return gp_error_set(walk->err, GP_INVALID,
                                "%s: %s[%zu] is none of the %llu nodes", walk->path, key,
                                i, (unsigned long long)n_nodes);
    }
    return GP_OK;
}

static enum gp_status check_graph(const struct symbol_walk *walk, yyjson_val *graph)
{
    size_t i, n;
    yyjson_val *node, *nodes = yyjson_obj_get(graph, "nodes");
    enum gp_status status;
    if (!yyjson_is_arr(nodes))
        return gp_error_set(walk->err, GP_INVALID,
                            "%s is no symbol of MXNet: it has no list \"nodes\"",
                            walk->path);
    if (walk->depth > MOST_DEPTH)
        return gp_error_set(walk->err, GP_INVALID,
                            "%s: subgraphs lie more than %d deep in each other",
                            walk->path, MOST_DEPTH);
    status = check_places(walk, graph, "arg_nodes", false, yyjson_arr_size(nodes));
    if (status == GP_OK)
        status = check_places(walk, graph, "heads", true, yyjson_arr_size(nodes));
    yyjson_arr_foreach(nodes, i, n, node)
    {
        if (status == GP_OK)
            status = check_node(walk, i, node);
    }
    return status;
}

/* "attrs": {"is_np_shape": ["int", 1]} */
static bool has_numpy_shapes(yyjson_val *graph)
{
    yyjson_val *attribute = yyjson_obj_get(yyjson_obj_get(graph, "attrs"), "is_np_shape");
    return yyjson_get_uint(yyjson_arr_get(attribute, 1)) == 1;
}

static enum gp_status check_symbol(struct mx_model *model, const struct plugin_file *file,
                                   struct gp_error *err)
{
    const struct symbol_walk walk = {.path = model->files[0], .err = err};
    yyjson_read_err bad;
    if (file->size_bytes > MOST_BYTES)
        return gp_error_set(err, GP_TOO_LARGE,
                            "%s is no symbol of MXNet: it has %zu bytes, over the limit "
                            "of %d",
                            walk.path, file->size_bytes, MOST_BYTES);
    yyjson_doc *doc =
        yyjson_read_opts((char *)(uintptr_t)file->bytes, file->size_bytes, 0, NULL, &bad);
    if (!doc)
        return gp_error_set(err, GP_INVALID,
                            "%s is no symbol of MXNet: it is not JSON: %s, at byte %zu",
                            walk.path, bad.msg, bad.pos);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const enum gp_status status = check_graph(&walk, root);
    model->has_numpy_shapes = status == GP_OK && has_numpy_shapes(root);
    yyjson_doc_free(doc);
    return status;
}

enum gp_status mx_symbol_read(struct mx_model *model, const struct plugin_file *file,
                              struct gp_error *err)
{
    enum { OFF = 0, EVERYWHERE = 2 };
    const struct mx_runtime *mx = model->mx;
    int before;
    enum gp_status status = check_symbol(model, file, err);
    if (status != GP_OK)
        return status;
    char *text = malloc(file->size_bytes + 1);
    if (!text)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the symbol");
    memcpy(text, file->bytes, file->size_bytes);
    text[file->size_bytes] = '\0';
    status = mx_check(
        mx, mx->api.SetIsNumpyShape(model->has_numpy_shapes ? EVERYWHERE : OFF, &before),
        GP_ENGINE, "MXNet", err);
    if (status == GP_OK)
        status = mx_check(mx, mx->api.SymbolCreateFromJSON(text, &model->symbol),
                          GP_INVALID, model->files[0], err);
    free(text);
    return status;
}
