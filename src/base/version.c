#include <graphpipe/version.h>

const char *gp_version(void)
{
    return GP_VERSION;
}
