/* A plug-in for a contract that this host does not know. */
#include <graphpipe/engine.h>

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        .size_bytes = sizeof engine, .abi = 999, .name = "oldabi", .version = ""};
    (void)host;
    return &engine;
}
