/* A table with one column for keys and names, one for types, and descriptions at the
 * end. */
#include "cli/about.h"

#include "cli/cli.h"
#include "wire/shape.h"

enum { KEY_COLUMN = 13 };

static void write_row(struct text *text, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    const size_t start = text->size_bytes;
    text_puts(text, key);
    cli_pad(text, start, KEY_COLUMN);
    text_foreign_puts(text, value);
    text_puts(text, "\n");
}

/* The widths of the names and the types of inputs and outputs. */
static void measure_ios(const struct gp_io *ios, uint32_t n, size_t *name_width,
                        size_t *type_width)
{
    for (uint32_t i = 0; i < n; i++) {
        struct text name = {0}, type = {0};
        text_foreign_puts(&name, ios[i].name);
        shape_write_io(&type, &ios[i]);
        const size_t width = cli_width(name.data, name.size_bytes);
        *name_width = width > *name_width ? width : *name_width;
        *type_width = type.size_bytes > *type_width ? type.size_bytes : *type_width;
        text_finish(&name);
        text_finish(&type);
    }
}

static void write_ios(struct text *text, const char *heading, const struct gp_io *ios,
                      uint32_t n, size_t name_width, size_t type_width)
{
    if (n)
        text_printf(text, "%s\n", heading);
    else
        write_row(text, heading, "none declared");
    for (uint32_t i = 0; i < n; i++) {
        const char *description = ios[i].description ? ios[i].description : "";
        const bool is_optional = ios[i].flags & GP_IO_OPTIONAL;
        const size_t start = text->size_bytes;
        text_puts(text, "  ");
        text_foreign_puts(text, ios[i].name);
        cli_pad(text, start, name_width + 4);
        shape_write_io(text, &ios[i]);
        if (is_optional || *description)
            cli_pad(text, start, name_width + type_width + 6);
        text_printf(text, "%s%s", is_optional ? "optional" : "",
                    is_optional && *description ? ": " : "");
        text_foreign_puts(text, description);
        text_puts(text, "\n");
    }
}

void about_write(struct text *text, const struct gp_metadata *metadata)
{
    write_row(text, "model", metadata->name);
    write_row(text, "version", metadata->version);
    write_row(text, "server", metadata->server);
    write_row(text, "description", metadata->description);
    size_t name_width = KEY_COLUMN - 4, type_width = 0;
    measure_ios(metadata->inputs, metadata->n_inputs, &name_width, &type_width);
    measure_ios(metadata->outputs, metadata->n_outputs, &name_width, &type_width);
    write_ios(text, "inputs", metadata->inputs, metadata->n_inputs, name_width,
              type_width);
    write_ios(text, "outputs", metadata->outputs, metadata->n_outputs, name_width,
              type_width);
}
