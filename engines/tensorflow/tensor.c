/* Tensors to and from TensorFlow: the same memory, except strings, which are copied both
 * ways, as TensorFlow has its own type for them. Lent memory that is not aligned is
 * copied by TensorFlow. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static void leave(void *data, size_t size_bytes, void *arg)
{
    (void)data;
    (void)size_bytes;
    (void)arg;
}

static void free_strings(void *data, size_t size_bytes, void *arg)
{
    TF_TString *strings = data;
    (void)arg;
    for (size_t i = 0; i < size_bytes / sizeof *strings; i++)
        TF_TString_Dealloc(&strings[i]);
    free(data);
}

/* TensorFlow frees them once nothing refers to them. */
static TF_Tensor *make_strings(const struct tf_api *api, const struct gp_tensor *tensor)
{
    const struct gp_string *from = tensor->data;
    const size_t n = tensor->size_bytes / sizeof *from;
    const size_t size = n * sizeof(TF_TString);
    TF_TString *strings =
        aligned_alloc(ALIGNMENT, (size + ALIGNMENT) & ~(size_t)(ALIGNMENT - 1));
    if (!strings)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        TF_TString_Init(&strings[i]);
        TF_TString_Copy(&strings[i], from[i].data ? from[i].data : "",
                        from[i].size_bytes);
    }
    return api->NewTensor(TF_STRING, tensor->shape, (int)tensor->rank, strings, size,
                          free_strings, NULL);
}

TF_Tensor *tf_tensor_make(const struct tf_api *api, const struct gp_tensor *tensor,
                          bool is_lent, struct gp_error *err)
{
    static _Alignas(ALIGNMENT) char nothing[ALIGNMENT];
    const TF_DataType type = tf_type(tensor->dtype);
    const int rank = (int)tensor->rank;
    const size_t size = tensor->size_bytes;
    void *data = size ? (void *)(uintptr_t)tensor->data : nothing;
    TF_Tensor *value;
    if (tensor->dtype == GP_STRING) {
        value = make_strings(api, tensor);
    } else if (is_lent || size == 0) {
        value = api->NewTensor(type, tensor->shape, rank, data, size, leave, NULL);
    } else {
        value = api->AllocateTensor(type, tensor->shape, rank, size);
        if (value)
            memcpy(api->TensorData(value), data, size);
    }
    if (!value)
        gp_error_set(err, GP_NO_MEMORY, "no memory for an input of %zu bytes", size);
    return value;
}

static enum gp_status give_strings(const struct tf_api *api, const TF_Tensor *value,
                                   uint32_t index, const struct gp_tensor *shape,
                                   struct gp_outputs *outputs, struct gp_error *err)
{
    const TF_TString *from = api->TensorData(value);
    const size_t n = shape->size_bytes / sizeof(struct gp_string);
    size_t size = 0;
    struct gp_string *strings =
        gp_outputs_alloc(outputs, index, GP_STRING, shape->shape, shape->rank, err);
    if (!strings)
        return err->status;
    for (size_t i = 0; i < n; i++)
        size += TF_TString_GetSize(&from[i]);
    char *bytes = gp_outputs_memory(outputs, size + 1, err);
    if (!bytes)
        return err->status;
    for (size_t i = 0; i < n; i++) {
        const size_t length = TF_TString_GetSize(&from[i]);
        memcpy(bytes, TF_TString_GetDataPointer(&from[i]), length);
        strings[i] = (struct gp_string){bytes, length};
        bytes += length;
    }
    return GP_OK;
}

enum gp_status tf_tensor_give(const struct tf_api *api, TF_Tensor **value, uint32_t index,
                              struct gp_outputs *outputs, struct gp_error *err)
{
    int64_t shape[GP_MAX_RANK];
    const int rank = api->NumDims(*value);
    const TF_DataType type = api->TensorType(*value);
    const enum gp_dtype dtype = tf_dtype(type);
    if (dtype == GP_NULL || rank < 0 || (uint32_t)rank > GP_MAX_RANK)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "output %u came as %s of rank %d, which cannot be sent",
                            index, tf_type_name(type), rank);
    for (int i = 0; i < rank; i++)
        shape[i] = api->Dim(*value, i);
    struct gp_tensor tensor = gp_tensor_view(dtype, shape, (uint32_t)rank, NULL);
    if (dtype == GP_STRING)
        return give_strings(api, *value, index, &tensor, outputs, err);
    tensor.data = api->TensorData(*value);
    const enum gp_status status =
        gp_outputs_adopt(outputs, index, &tensor, tf_release_tensor, *value, err);
    if (status == GP_OK)
        *value = NULL;
    return status;
}
