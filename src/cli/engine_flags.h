/* cli/engine_flags.h - engine options that have a flag of their own, since people ask for
 * them by name: --signature NAME is --engine-option signature=NAME. Serve and inspect have
 * the same rows; an engine that has no such option says so, by the same word. */
#ifndef GP_CLI_ENGINE_FLAGS_H
#define GP_CLI_ENGINE_FLAGS_H

#include "cli/options.h"

struct engine_flags {
    const char *signature;
    bool allow_native_code;
    const char *python;
    const char *device;
};

/* Rows for a table that has "engine-option" too; the struct has the flags as a member. */
#define ENGINE_FLAGS(type, member)                                                       \
    {.name = "signature",                                                                \
     .env = "GP_SIGNATURE",                                                              \
     .argument = "NAME",                                                                 \
     .kind = OPTION_TEXT,                                                                \
     .is_of_model = true,                                                                \
     .into = "engine-option",                                                            \
     OPTION_AT(type, member.signature),                                                  \
     .help = "tensorflow: the signature of a SavedModel"},                               \
        {.name = "allow-native-code",                                                    \
         .env = "GP_ALLOW_NATIVE_CODE",                                                  \
         .kind = OPTION_FLAG,                                                            \
         .is_of_model = true,                                                            \
         .into = "engine-option",                                                        \
         OPTION_AT(type, member.allow_native_code),                                      \
         .help = "pytorch: run a .pt2, which is native code"},                           \
        {.name = "python",                                                               \
         .env = "GP_PYTHON",                                                             \
         .argument = "PATH",                                                             \
         .kind = OPTION_TEXT,                                                            \
         .is_of_model = true,                                                            \
         .into = "engine-option",                                                        \
         OPTION_AT(type, member.python),                                                 \
         .help = "python: the interpreter (default: python3)"},                          \
    {                                                                                    \
        .name = "device", .env = "GP_DEVICE", .argument = "cpu|cuda[:N,...]",            \
        .kind = OPTION_TEXT, .is_of_model = true, .into = "engine-option",               \
        OPTION_AT(type, member.device),                                                  \
        .help = "onnx, pytorch, tensorflow: where it runs (default: cpu)"                \
    }

#endif
