/* Reads a NetDef, as far as it has to be known before Caffe2 gets it: bytes that are no net
 * parse as one without operators, an operator that is not there is named by a long text, and
 * a filler is believed whatever size it asks for. caffe2.proto has the fields' numbers. */
#include "caffe2.h"

enum {
    NET_OPERATOR = 2,
    OPERATOR_OUTPUT = 2,
    OPERATOR_TYPE = 4,
    OPERATOR_ARGUMENT = 5,
    OPERATOR_DEVICE = 6,
    DEVICE_TYPE = 1,
    ARGUMENT_NAME = 1,
    ARGUMENT_INTS = 6,
    ARGUMENT_NET = 8,
    ARGUMENT_NETS = 9,
    MOST_DEPTH = 8, /* of nets in operators */
    MOST_OPERATORS = 1 << 16,
};

static const int64_t most_elements = INT32_MAX; /* that a filler may ask for */

struct net_walk {
    const char *path;
    const struct c2_bridge *bridge;
    struct gp_error *err;
    uint32_t depth;
    size_t at; /* the outermost net's operator */
};

static enum gp_status check_operators(struct net_walk *walk, struct pb_bytes net,
                                      size_t *n_operators);

/* The last one counts. */
static struct pb_bytes last_text(struct pb_bytes message, uint64_t number)
{
    struct pb_bytes text = {NULL, NULL};
    while (pb_next_body(&message, number, &text))
        ;
    return text;
}

/* The product of the sizes, -1 where one is below 0 or, as a filler has it, unknown; one
 * beyond the limit where it is beyond. */
static int64_t count_elements(struct pb_bytes argument)
{
    struct pb_field field;
    int64_t n = 1;
    while (pb_next(&argument, &field)) {
        if (field.number != ARGUMENT_INTS)
            continue;
        struct pb_bytes packed = field.body;
        uint64_t value = field.value;
        bool has_value = !packed.at || pb_varint(&packed, &value);
        for (; has_value; has_value = packed.at && pb_varint(&packed, &value)) {
            const int64_t size = (int64_t)value;
            if (size < 0)
                return -1;
            n = size && n > most_elements / size ? most_elements + 1 : n * size;
            if (n > most_elements)
                return n;
        }
    }
    return n;
}

static enum gp_status check_argument(struct net_walk *walk, struct pb_bytes argument,
                                     struct pb_bytes type)
{
    struct pb_field field;
    size_t n_inner;
    enum gp_status status = GP_OK;
    if (pb_is_text(last_text(argument, ARGUMENT_NAME), "shape") &&
        count_elements(argument) > most_elements)
        return gp_error_set(walk->err, GP_TOO_LARGE,
                            "%s: op[%zu], %.*s, has a shape of more than %lld elements",
                            walk->path, walk->at, (int)pb_size(type),
                            (const char *)type.at, (long long)most_elements);
    walk->depth++;
    while (status == GP_OK && pb_next(&argument, &field))
        if ((field.number == ARGUMENT_NET || field.number == ARGUMENT_NETS) &&
            field.body.at)
            status = check_operators(walk, field.body, &n_inner);
    walk->depth--;
    return status;
}

static enum gp_status check_operator(struct net_walk *walk, struct pb_bytes operator)
{
    char name[128];
    struct pb_bytes argument, type = last_text(operator, OPERATOR_TYPE);
    enum gp_status status = GP_OK;
    if (!pb_is_whole(operator) || pb_size(type) == 0 || pb_size(type) >= sizeof name)
        return gp_error_set(walk->err, GP_INVALID, "%s is no net of Caffe2: op[%zu] %s",
                            walk->path, walk->at,
                            pb_is_whole(operator) ? "has no type" : "is cut off");
    (void)snprintf(name, sizeof name, "%.*s", (int)pb_size(type), (const char *)type.at);
    if (!walk->bridge->has_operator(name))
        return gp_error_set(
            walk->err, GP_UNSUPPORTED,
            "%s: op[%zu] is of type \"%s\", an operator that Caffe2 %s does "
            "not have for CPUs",
            walk->path, walk->at, name, walk->bridge->version);
    while (status == GP_OK && pb_next_body(&operator, OPERATOR_ARGUMENT, &argument))
        status = check_argument(walk, argument, type);
    return status;
}

static enum gp_status check_operators(struct net_walk *walk, struct pb_bytes net,
                                      size_t *n_operators)
{
    struct pb_bytes operator;
    enum gp_status status = GP_OK;
    if (walk->depth > MOST_DEPTH)
        return gp_error_set(walk->err, GP_INVALID,
                            "%s: nets lie more than %d deep in each other", walk->path,
                            MOST_DEPTH);
    *n_operators = 0;
    while (status == GP_OK && pb_next_body(&net, NET_OPERATOR, &operator)) {
        if (walk->depth == 0)
            walk->at = *n_operators;
        status = check_operator(walk, operator);
        if (status == GP_OK && ++*n_operators > MOST_OPERATORS)
            return gp_error_set(walk->err, GP_TOO_LARGE, "%s has more than %d operators",
                                walk->path, MOST_OPERATORS);
    }
    return status;
}

struct pb_bytes c2_net_view(const struct c2_net *net)
{
    return pb_view(net->file.bytes, net->file.size_bytes);
}

enum gp_status c2_net_open(const char *path, const struct c2_bridge *bridge,
                           struct c2_net *net, struct gp_error *err)
{
    struct net_walk walk = {.path = path, .bridge = bridge, .err = err};
    net->path = path;
    enum gp_status status =
        plugin_map(path, "the caffe2 engine needs a predict_net.pb and an init_net.pb",
                   &net->file, err);
    if (status != GP_OK)
        return status;
    if (net->file.size_bytes > INT32_MAX)
        return gp_error_set(err, GP_TOO_LARGE,
                            "%s has %zu bytes, over protobuf's limit of 2 GiB", path,
                            net->file.size_bytes);
    if (!pb_is_whole(c2_net_view(net)))
        return gp_error_set(err, GP_INVALID,
                            "%s is no net of Caffe2, or is cut off: protobuf cannot read "
                            "its %zu bytes to the end",
                            path, net->file.size_bytes);
    status = check_operators(&walk, c2_net_view(net), &net->n_operators);
    if (status == GP_OK && net->n_operators == 0)
        return gp_error_set(err, GP_INVALID,
                            "%s is no net of Caffe2: it has no operators", path);
    return status;
}

/* --- a copy for a CPU --- */

static unsigned char *put_bytes(unsigned char *at, const void *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}

static unsigned char *put_varint(unsigned char *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (unsigned char)(value | 0x80);
    *at++ = (unsigned char)value;
    return at;
}

enum gp_status c2_net_copy(const struct c2_net *net, unsigned char **bytes,
                           size_t *size_bytes, struct gp_error *err)
{
    /* What comes last in a message counts, or is merged with what was before. */
    static const unsigned char on_cpu[] = {OPERATOR_DEVICE << 3 | 2, 2, DEVICE_TYPE << 3,
                                           0};
    static const char net_end[] = "\x0a\x03net"    /* name */
                                  "\x1a\x06simple" /* type */
                                  "\x2a\x02\x08\x00" /* device_option */;
    enum { MOST_ADDED = 16, TAG = NET_OPERATOR << 3 | 2 };
    struct pb_bytes rest = c2_net_view(net), before = rest;
    struct pb_field field;
    unsigned char *at =
        malloc(net->file.size_bytes + net->n_operators * MOST_ADDED + sizeof net_end);
    *bytes = at;
    if (!at)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the net %s", net->path);
    for (; pb_next(&rest, &field); before = rest) {
        if (field.number == NET_OPERATOR && field.body.at) {
            at = put_varint(at, TAG);
            at = put_varint(at, pb_size(field.body) + sizeof on_cpu);
            at = put_bytes(at, field.body.at, pb_size(field.body));
            at = put_bytes(at, on_cpu, sizeof on_cpu);
        } else {
            at = put_bytes(at, before.at, (size_t)(rest.at - before.at));
        }
    }
    at = put_bytes(at, net_end, sizeof net_end - 1);
    *size_bytes = (size_t)(at - *bytes);
    return GP_OK;
}

/* --- names --- */

static int compare_names(const void *a, const void *b)
{
    const struct pb_bytes *x = a, *y = b;
    const size_t n = pb_size(*x), m = pb_size(*y);
    const int order = memcmp(x->at, y->at, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

bool c2_names_have(const struct c2_names *sorted, struct pb_bytes name)
{
    return sorted->n &&
           bsearch(&name, sorted->items, sorted->n, sizeof name, compare_names);
}

enum gp_status c2_net_written(const struct c2_net *net, union plugin_block **kept,
                              struct c2_names *names, struct gp_error *err)
{
    struct pb_bytes rest = c2_net_view(net), operator, name;
    size_t n = 0;
    while (pb_next_body(&rest, NET_OPERATOR, &operator))
        while (pb_next_body(&operator, OPERATOR_OUTPUT, &name))
            n++;
    names->items = plugin_keep(kept, n * sizeof *names->items, err);
    if (!names->items)
        return GP_NO_MEMORY;
    for (rest = c2_net_view(net); pb_next_body(&rest, NET_OPERATOR, &operator);)
        while (pb_next_body(&operator, OPERATOR_OUTPUT, &name))
            names->items[names->n++] = name;
    qsort(names->items, names->n, sizeof *names->items, compare_names);
    return GP_OK;
}
