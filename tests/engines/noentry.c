/* A shared object that is no plug-in. */
#include <graphpipe/engine.h>

GP_ENGINE_EXPORT int gp_no_entry(void);

int gp_no_entry(void)
{
    return 0;
}
