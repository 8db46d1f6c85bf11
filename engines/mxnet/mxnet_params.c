/* Reads a params file, MXNet's own format, instead of having MXNet read it: there a wrong
 * size in the file becomes an allocation of any size, or a crash. All numbers are little
 * endian: a head, the arrays one after the other, then their names. */
#include "mxnet.h"

enum { LIST_MAGIC = 0x112 };

/* How an array begins, by the release that wrote it; in the oldest with its rank. */
static const uint32_t MAGIC_V1 = 0xF993fac8, MAGIC_V2 = 0xF993fac9, MAGIC_V3 = 0xF993faca;

struct params_reader {
    const unsigned char *at;
    const unsigned char *end;
    const char *path;
    bool is_short;
};

static uint64_t read_number(struct params_reader *in, size_t size_bytes)
{
    uint64_t value = 0;
    if ((size_t)(in->end - in->at) < size_bytes) {
        in->is_short = true;
        in->at = in->end;
        return 0;
    }
    for (size_t i = 0; i < size_bytes; i++)
        value |= (uint64_t)in->at[i] << (8 * i);
    in->at += size_bytes;
    return value;
}

static uint32_t read_u32(struct params_reader *in)
{
    return (uint32_t)read_number(in, 4);
}

static enum gp_status refuse_short(const struct params_reader *in, uint64_t i,
                                   struct gp_error *err)
{
    return gp_error_set(err, GP_INVALID, "%s: the file ends within array %llu: it is cut",
                        in->path, (unsigned long long)i);
}

/* The sizes of an array, and how many elements they make. */
static enum gp_status read_sizes(struct params_reader *in, uint64_t i, uint32_t rank,
                                 size_t size_bytes, struct mx_array *array,
                                 struct gp_error *err)
{
    uint64_t n = 1;
    if (rank > GP_MAX_RANK)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s: array %llu has %u dimensions, over the limit of %d",
                            in->path, (unsigned long long)i, rank, GP_MAX_RANK);
    array->rank = rank;
    for (uint32_t j = 0; j < rank; j++) {
        const uint64_t size = read_number(in, size_bytes);
        if (size > INT32_MAX || (size && n > SIZE_MAX / 8 / size))
            return gp_error_set(
                err, GP_INVALID, "%s: array %llu has a dimension of %llu elements",
                in->path, (unsigned long long)i, (unsigned long long)size);
        array->sizes[j] = (uint32_t)size;
        n *= size;
    }
    array->n_elements = (size_t)n;
    return GP_OK;
}

/* The head of an array up to its sizes; *has_rest is false for one that is none. */
static enum gp_status read_shape(struct params_reader *in, uint64_t i,
                                 struct mx_array *array, bool *has_rest,
                                 struct gp_error *err)
{
    const uint32_t magic = read_u32(in);
    const bool is_new = magic == MAGIC_V2 || magic == MAGIC_V3;
    if (is_new && read_u32(in) != 0)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s: array %llu is sparse; save it after "
                            "tostype(\"default\")",
                            in->path, (unsigned long long)i);
    const bool is_old = !is_new && magic != MAGIC_V1;
    const uint32_t rank = is_old ? magic : read_u32(in);
    *has_rest = magic == MAGIC_V3 ? (int32_t)rank >= 0 : rank > 0;
    if (!*has_rest)
        return GP_OK;
    return read_sizes(in, i, rank, is_old ? 4 : 8, array, err);
}

static enum gp_status read_array(struct params_reader *in, uint64_t i,
                                 struct mx_array *array, struct gp_error *err)
{
    bool has_rest = false;
    const enum gp_status status = read_shape(in, i, array, &has_rest, err);
    if (status != GP_OK || !has_rest)
        return status;
    (void)read_number(in, 8); /* the device that it was on */
    array->type = (int)read_u32(in);
    const size_t size = gp_dtype_size(mx_dtype(array->type));
    if (in->is_short)
        return refuse_short(in, i, err);
    if (size == 0)
        return gp_error_set(err, GP_INVALID, "%s: array %llu has the unknown type %d",
                            in->path, (unsigned long long)i, array->type);
    if (array->n_elements > (size_t)(in->end - in->at) / size)
        return refuse_short(in, i, err);
    array->data = in->at;
    in->at += array->n_elements * size;
    return GP_OK;
}

/* "arg:NAME" or "aux:NAME"; without either it is an argument. */
static enum gp_status read_name(struct params_reader *in, uint64_t i,
                                union plugin_block **kept, struct mx_array *array,
                                struct gp_error *err)
{
    const uint64_t size = read_number(in, 8);
    if (in->is_short || size > (uint64_t)(in->end - in->at))
        return gp_error_set(err, GP_INVALID,
                            "%s: the file ends within the name of array %llu: it is cut",
                            in->path, (unsigned long long)i);
    const char *name = plugin_keep_bytes(kept, in->at, (size_t)size, err);
    if (!name)
        return GP_NO_MEMORY;
    in->at += size;
    array->is_aux = strncmp(name, "aux:", 4) == 0;
    array->name = name + (array->is_aux || strncmp(name, "arg:", 4) == 0 ? 4 : 0);
    return GP_OK;
}

static int compare_arrays(const void *a, const void *b)
{
    const struct mx_array *one = a, *other = b;
    const int by_name = strcmp(one->name, other->name);
    return by_name ? by_name : (int)one->is_aux - (int)other->is_aux;
}

static enum gp_status read_all(struct params_reader *in, union plugin_block **kept,
                               struct mx_params *params, struct gp_error *err)
{
    static const char wanted[] = "a params file of MXNet begins with the number 0x112";
    if (read_number(in, 8) != LIST_MAGIC)
        return gp_error_set(err, GP_INVALID, "%s holds no arrays: %s", in->path, wanted);
    (void)read_number(in, 8);
    const uint64_t n = read_number(in, 8);
    if (in->is_short ||
        n > (uint64_t)(in->end - in->at) / 8) /* of each: a head, a name */
        return gp_error_set(err, GP_INVALID, "%s: %llu arrays cannot be in %zu bytes",
                            in->path, (unsigned long long)n, (size_t)(in->end - in->at));
    if (n / 2 > MX_MOST_ARGUMENTS)
        return gp_error_set(err, GP_TOO_LARGE, "%s: %llu arrays are over the limit of %d",
                            in->path, (unsigned long long)n, 2 * MX_MOST_ARGUMENTS);
    params->arrays = plugin_keep(kept, (size_t)n * sizeof *params->arrays, err);
    if (!params->arrays)
        return GP_NO_MEMORY;
    enum gp_status status = GP_OK;
    for (uint64_t i = 0; i < n && status == GP_OK; i++)
        status = read_array(in, i, &params->arrays[i], err);
    if (status == GP_OK && read_number(in, 8) != n)
        return gp_error_set(err, GP_INVALID,
                            "%s: there is not one name for each of the %llu arrays",
                            in->path, (unsigned long long)n);
    for (uint64_t i = 0; i < n && status == GP_OK; i++)
        status = read_name(in, i, kept, &params->arrays[i], err);
    params->n = (size_t)n;
    if (status == GP_OK && n)
        qsort(params->arrays, params->n, sizeof *params->arrays, compare_arrays);
    return status;
}

enum gp_status mx_params_open(const char *path, union plugin_block **kept,
                              struct mx_params *params, struct gp_error *err)
{
    *params = (struct mx_params){0};
    const enum gp_status status =
        plugin_map(path, "the mxnet engine needs a .params file", &params->file, err);
    if (status != GP_OK)
        return status;
    struct params_reader in = {.at = params->file.bytes,
                               .end = params->file.bytes + params->file.size_bytes,
                               .path = path};
    return read_all(&in, kept, params, err);
}

const struct mx_array *mx_params_find(const struct mx_params *params, const char *name,
                                      bool is_aux)
{
    const struct mx_array key = {.name = name, .is_aux = is_aux};
    if (params->n == 0)
        return NULL;
    return bsearch(&key, params->arrays, params->n, sizeof *params->arrays,
                   compare_arrays);
}

void mx_params_close(struct mx_params *params)
{
    plugin_unmap(&params->file);
}
