#include "model/model_name.h"

#include <stddef.h>
#include <string.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* First parts of other routes, and "versions", which separates a name from a version. */
static const char *const reserved[] = {"control", "metrics", "ui",
                                       "v1",      "v2",      "versions"};

enum gp_status model_name_check(const char *name, struct gp_error *err)
{
    const size_t n = strlen(name);
    if (n == 0)
        return gp_error_set(err, GP_INVALID, "a model has no name");
    if (n > MODEL_NAME_MAX_BYTES)
        return gp_error_set(err, GP_INVALID,
                            "the name %.*s... of a model has %zu bytes, the limit is %d",
                            gp_cut(name, 40), name, n, MODEL_NAME_MAX_BYTES);
    if (!strchr(LETTERS, name[0]) || name[strspn(name, LETTERS "._-")])
        return gp_error_set(err, GP_INVALID,
                            "\"%s\" cannot be a model's name: wanted letters, digits, "
                            "\".\", \"_\" and \"-\", with a letter or digit first",
                            name);
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (strcmp(name, reserved[i]) == 0)
            return gp_error_set(err, GP_INVALID,
                                "a model cannot be called \"%s\", which is a route of "
                                "the server: choose another name",
                                name);
    return GP_OK;
}
