#include "wire/metadata_json.h"

static void write_io(struct text *text, const struct gp_io *io)
{
    text_puts(text, "{\"name\": ");
    text_json_puts(text, io->name);
    text_printf(text, ", \"type\": \"%s\", \"shape\": [", gp_dtype_name(io->dtype));
    for (uint32_t i = 0; i < io->rank; i++)
        text_printf(text, i ? ", %lld" : "%lld", (long long)io->shape[i]);
    text_puts(text, io->flags & GP_IO_OPTIONAL ? "], \"optional\": true" : "]");
    if (io->description && *io->description) {
        text_puts(text, ", \"description\": ");
        text_json_puts(text, io->description);
    }
    text_puts(text, "}");
}

void metadata_write_ios(struct text *text, const char *key, const struct gp_io *ios,
                        uint32_t n)
{
    text_printf(text, ",\n  \"%s\": [", key);
    for (uint32_t i = 0; i < n; i++) {
        text_puts(text, i ? ",\n    " : "\n    ");
        write_io(text, &ios[i]);
    }
    text_puts(text, "\n  ]");
}

void metadata_write_json(struct text *text, const struct gp_metadata *metadata)
{
    const char *const keys[] = {"name", "version", "server", "description"};
    const char *const values[] = {metadata->name, metadata->version, metadata->server,
                                  metadata->description};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        text_printf(text, "%s  \"%s\": ", i ? ",\n" : "{\n", keys[i]);
        text_json_puts(text, values[i] ? values[i] : "");
    }
    metadata_write_ios(text, "inputs", metadata->inputs, metadata->n_inputs);
    metadata_write_ios(text, "outputs", metadata->outputs, metadata->n_outputs);
    text_puts(text, "\n}\n");
}
