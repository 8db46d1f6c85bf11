#include "wire/shape.h"

static char *format_shape(const char *type, const int64_t *shape, uint32_t rank,
                          char *text, size_t text_size)
{
    int n = snprintf(text, text_size, "%s[", type);
    for (uint32_t i = 0; i < rank && n >= 0 && (size_t)n < text_size; i++)
        n += snprintf(text + n, text_size - (size_t)n, i ? ",%lld" : "%lld",
                      (long long)shape[i]);
    if (n >= 0 && (size_t)n < text_size)
        (void)snprintf(text + n, text_size - (size_t)n, "]");
    return text;
}

char *gp_shape_format(enum gp_dtype dtype, const int64_t *shape, uint32_t rank,
                      char *text, size_t text_size)
{
    return format_shape(gp_dtype_name(dtype), shape, rank, text, text_size);
}

static const char *type_name(enum gp_dtype dtype)
{
    return dtype == GP_NULL ? "any" : gp_dtype_name(dtype);
}

void shape_write(struct text *text, enum gp_dtype dtype, const int64_t *shape,
                 uint32_t rank)
{
    text_printf(text, "%s[", type_name(dtype));
    for (uint32_t i = 0; i < rank; i++)
        text_printf(text, i ? ",%lld" : "%lld", (long long)shape[i]);
    text_puts(text, "]");
}

void shape_write_io(struct text *text, const struct gp_io *io)
{
    if (io->flags & GP_IO_ANY_RANK)
        text_printf(text, "%s[...]", type_name(io->dtype));
    else
        shape_write(text, io->dtype, io->shape, io->rank);
}

char *shape_format_io(const struct gp_io *io, char *text, size_t text_size)
{
    if (!(io->flags & GP_IO_ANY_RANK))
        return format_shape(type_name(io->dtype), io->shape, io->rank, text, text_size);
    (void)snprintf(text, text_size, "%s[...]", type_name(io->dtype));
    return text;
}

void shape_write_ios(struct text *text, const struct gp_io *ios, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        text_puts(text, i ? ", " : "");
        text_foreign_puts(text, ios[i].name);
        text_puts(text, " ");
        shape_write_io(text, &ios[i]);
    }
}
