/* graphpipe/version.h - the version of this release.
 *
 * The three numbers follow semantic versioning. They are also the version of the shared
 * libraries; the plug-in contract has its own number, GP_ENGINE_ABI in engine.h.
 */
#ifndef GRAPHPIPE_VERSION_H
#define GRAPHPIPE_VERSION_H

#define GP_VERSION_MAJOR 0
#define GP_VERSION_MINOR 1
#define GP_VERSION_PATCH 0
#define GP_VERSION "0.1.0"

/* Marks what the shared libraries export; everything else is hidden. */
#if defined(__GNUC__)
#define GP_API __attribute__((visibility("default")))
#else
#define GP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the running library, a static string; it may be newer than
 * GP_VERSION. */
GP_API const char *gp_version(void);

#ifdef __cplusplus
}
#endif

#endif
