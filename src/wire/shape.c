/* How types and shapes are printed, here and everywhere: "float32[-1,3,224,224]". */
#include <graphpipe/message.h>

char *gp_shape_format(enum gp_dtype dtype, const int64_t *shape, uint32_t rank,
                      char *text, size_t text_size)
{
    int n = snprintf(text, text_size, "%s[", gp_dtype_name(dtype));
    for (uint32_t i = 0; i < rank && n >= 0 && (size_t)n < text_size; i++)
        n += snprintf(text + n, text_size - (size_t)n, i ? ",%lld" : "%lld",
                      (long long)shape[i]);
    if (n >= 0 && (size_t)n < text_size)
        (void)snprintf(text + n, text_size - (size_t)n, "]");
    return text;
}
