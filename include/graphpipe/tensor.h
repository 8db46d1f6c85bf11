/* graphpipe/tensor.h - a tensor, and a call: the input tensors and the names of the
 * outputs to return.
 *
 *     static float pixels[1 * 3 * 224 * 224];
 *     const int64_t shape[] = {1, 3, 224, 224};
 *     struct gp_tensor image = gp_tensor_view(GP_FLOAT32, shape, 4, pixels);
 *     struct gp_call call = {.inputs = &image, .n_inputs = 1};
 *
 * Ownership: these structs borrow. A tensor points to a shape and to bytes that must stay
 * valid until the call that uses them returns; nothing here allocates or frees.
 * Layout: row-major, little-endian, with the host's alignment for the type. The data of a
 * string tensor is an array of struct gp_string; a string may hold any bytes, NUL
 * included.
 * Units: shapes count elements, everything named size_bytes counts bytes.
 * Threads: plain data; share it like any struct.
 *
 * These structs cross between the host and plug-ins as arrays, so their layout is frozen.
 * The exception is struct gp_call, which begins with its size and grows only at the end.
 */
#ifndef GRAPHPIPE_TENSOR_H
#define GRAPHPIPE_TENSOR_H

#include <graphpipe/status.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Limits of a message; a larger one is refused. */
#define GP_MAX_RANK 32u
#define GP_MAX_TENSORS 4096u
#define GP_MAX_NAME_BYTES 65536u
#define GP_MAX_MESSAGE_BYTES 2147483647u /* the limit of FlatBuffers: 2 GiB - 1 */

/* X(symbol, number on the wire, name, bytes per element; 0: no fixed size) */
#define GP_DTYPE_MAP(X)                                                                  \
    X(GP_NULL, 0, "null", 0) /* in metadata: any type */                                 \
    X(GP_UINT8, 1, "uint8", 1)                                                           \
    X(GP_INT8, 2, "int8", 1)                                                             \
    X(GP_UINT16, 3, "uint16", 2)                                                         \
    X(GP_INT16, 4, "int16", 2)                                                           \
    X(GP_UINT32, 5, "uint32", 4)                                                         \
    X(GP_INT32, 6, "int32", 4)                                                           \
    X(GP_UINT64, 7, "uint64", 8)                                                         \
    X(GP_INT64, 8, "int64", 8)                                                           \
    X(GP_FLOAT16, 9, "float16", 2)                                                       \
    X(GP_FLOAT32, 10, "float32", 4)                                                      \
    X(GP_FLOAT64, 11, "float64", 8)                                                      \
    X(GP_STRING, 12, "string", 0)                                                        \
    X(GP_BOOL, 13, "bool", 1) /* one byte, 0 or 1; newer than the 2018 protocol */       \
    X(GP_BFLOAT16, 14, "bfloat16", 2) /* newer than the 2018 protocol */

enum gp_dtype {
#define GP_DTYPE_ENUM(symbol, number, name, size) symbol = number,
    GP_DTYPE_MAP(GP_DTYPE_ENUM)
#undef GP_DTYPE_ENUM
};

/* One element of a string tensor. Not terminated. */
struct gp_string {
    const char *data;
    size_t size_bytes;
};

struct gp_tensor {
    const char *name;     /* NULL or "": by position */
    const int64_t *shape; /* rank dimensions, each >= 0; may be NULL for a scalar */
    /* The elements, struct gp_string for GP_STRING. May be NULL when there are none. */
    const void *data;
    size_t size_bytes; /* of data; n_elements * sizeof(struct gp_string) for GP_STRING */
    enum gp_dtype dtype;
    uint32_t rank; /* 0: a scalar */
};

enum gp_io_flags {
    GP_IO_OPTIONAL = 1u << 0, /* may be left out: the model has a default value */
    GP_IO_ANY_RANK = 1u << 1  /* the model leaves the rank open; shape is empty */
};

/* A model's description of one input or output. */
struct gp_io {
    const char *name;
    const char *description; /* "" when there is none, never NULL */
    const int64_t *shape;    /* rank dimensions; -1: any size */
    uint32_t rank;
    enum gp_dtype dtype; /* GP_NULL: any */
    uint32_t flags;      /* enum gp_io_flags */
};

struct gp_host; /* engine.h */

/* One inference. A caller fills in what it needs and leaves the rest zero. */
struct gp_call {
    /* sizeof(struct gp_call). A caller may leave it 0 for the layout of 0.1. */
    uint32_t size_bytes;
    uint32_t n_inputs;
    const struct gp_tensor *inputs;
    const char *const *output_names; /* NULL, with n_outputs 0: the model's defaults */
    uint32_t n_outputs;
    const char *config;         /* passed to the engine unchanged; NULL: "" */
    int64_t deadline_ns;        /* on CLOCK_MONOTONIC; 0: none */
    const struct gp_host *host; /* set by the host for an engine, otherwise NULL */
    /* A hint from the host, for an engine: the cores that no other run is using as this one
     * begins, at least 1; 0: unknown. */
    uint32_t n_free_cores;
};

/* Bytes per element; 0 for GP_NULL, GP_STRING and unknown numbers. */
static inline size_t gp_dtype_size(enum gp_dtype dtype)
{
    switch (dtype) {
#define GP_DTYPE_SIZE(symbol, number, name, size)                                        \
    case symbol:                                                                         \
        return size;
        GP_DTYPE_MAP(GP_DTYPE_SIZE)
#undef GP_DTYPE_SIZE
    }
    return 0;
}

/* The type's name as it is printed everywhere, a static string; "unknown" for unknown
 * numbers. */
static inline const char *gp_dtype_name(enum gp_dtype dtype)
{
    switch (dtype) {
#define GP_DTYPE_NAME(symbol, number, name, size)                                        \
    case symbol:                                                                         \
        return name;
        GP_DTYPE_MAP(GP_DTYPE_NAME)
#undef GP_DTYPE_NAME
    }
    return "unknown";
}

/* Bytes per element in memory: sizeof(struct gp_string) for strings. */
static inline size_t gp_dtype_stride(enum gp_dtype dtype)
{
    return dtype == GP_STRING ? sizeof(struct gp_string) : gp_dtype_size(dtype);
}

/* The number of elements of a shape: 1 for a scalar, -1 when a dimension is negative or
 * the product overflows. */
static inline int64_t gp_shape_count(const int64_t *shape, uint32_t rank)
{
    int64_t n = 1;
    int is_empty = 0;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return -1;
        if (shape[i] == 0)
            is_empty = 1;
        else if (n > INT64_MAX / shape[i])
            return -1;
        else
            n *= shape[i];
    }
    return is_empty ? 0 : n;
}

/* A tensor over the caller's memory. Checks nothing: a bad shape gives size_bytes 0 and
 * is refused where the tensor is used. */
static inline struct gp_tensor gp_tensor_view(enum gp_dtype dtype, const int64_t *shape,
                                              uint32_t rank, const void *data)
{
    struct gp_tensor tensor = {NULL, shape, data, 0, dtype, rank};
    const int64_t n = gp_shape_count(shape, rank);
    const size_t stride = gp_dtype_stride(dtype);
    if (n > 0 && stride > 0 && (uint64_t)n <= SIZE_MAX / stride)
        tensor.size_bytes = (size_t)n * stride;
    return tensor;
}

/* The elements if they have the type that the caller expects, otherwise NULL, and *err
 * says what came. For an empty tensor the pointer is arbitrary but not NULL. */
static inline const void *gp_tensor_data(const struct gp_tensor *tensor,
                                         enum gp_dtype dtype, struct gp_error *err)
{
    if (!tensor || tensor->dtype != dtype) {
        gp_error_set(err, GP_INVALID, "the tensor holds %s, not %s",
                     tensor ? gp_dtype_name(tensor->dtype) : "nothing",
                     gp_dtype_name(dtype));
        return NULL;
    }
    return tensor->data ? tensor->data : (const void *)tensor;
}

#ifdef __cplusplus
}
#endif

#endif
