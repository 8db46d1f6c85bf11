/* base/curl.h - libcurl, opened when it is needed: to fetch models from URLs, and to connect to a cache
 * that hosts share. The program links nothing but libc, and most users need neither. */
#ifndef GP_BASE_CURL_H
#define GP_BASE_CURL_H

#include <graphpipe/status.h>

#include <stdbool.h>

#define CURL_DISABLE_DEPRECATION /* CURLOPT_PROTOCOLS works with old and new releases */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#define CURL_FUNCTIONS(X)                                                                \
    X(global_init)                                                                       \
    X(easy_init)                                                                         \
    X(easy_setopt)                                                                       \
    X(easy_perform)                                                                      \
    X(easy_getinfo)                                                                      \
    X(easy_strerror)                                                                     \
    X(easy_send)                                                                         \
    X(easy_recv)                                                                         \
    X(easy_cleanup)                                                                      \
    X(slist_append)                                                                      \
    X(slist_free_all)

struct curl {
#define CURL_POINTER(name) __typeof__(curl_##name) *name;
    CURL_FUNCTIONS(CURL_POINTER)
#undef CURL_POINTER
};

/* False with a message that begins with `what`: who needs libcurl. It stays open. */
bool curl_open(struct curl *curl, const char *what, struct gp_error *err);

#endif
