#include "base/curl.h"

#include <dlfcn.h>

bool curl_open(struct curl *curl, const char *what, struct gp_error *err)
{
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        gp_error_set(err, GP_UNSUPPORTED,
                     "%s needs libcurl: apt-get install libcurl4 (%s)", what, dlerror());
        return false;
    }
#define FIND(name)                                                                       \
    *(void **)&curl->name = dlsym(handle, "curl_" #name);                                \
    if (!curl->name) {                                                                   \
        gp_error_set(err, GP_UNSUPPORTED, "libcurl.so.4 has no curl_" #name);            \
        return false;                                                                    \
    }
    CURL_FUNCTIONS(FIND)
#undef FIND
    if (curl->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        return true;
    gp_error_set(err, GP_UNSUPPORTED, "libcurl does not start");
    return false;
}
