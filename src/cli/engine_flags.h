/* cli/engine_flags.h - the rows of options that choose and set up an engine, shared by the
 * subcommands that open one. Some engine options also have a flag, since people ask for
 * them by name: --signature NAME is --engine-option signature=NAME. An engine without such
 * an option refuses it by that name. */
#ifndef GP_CLI_ENGINE_FLAGS_H
#define GP_CLI_ENGINE_FLAGS_H

#include "cli/options.h"

struct engine_flags {
    const char *signature;
    bool allow_native_code;
    const char *python;
    const char *device;
};

/* Rows without braces and offset: {ENGINE_DIR_ROW, OPTION_AT(type, field)}. */
#define ENGINE_ROW                                                                       \
    .name = "engine", .letter = 'e', .env = "GP_ENGINE", .argument = "NAME",             \
    .kind = OPTION_TEXT, .help = "what opens it (default: the file decides)"
#define ENGINE_DIR_ROW                                                                   \
    .name = "engine-dir", .env = "GP_ENGINE_DIR", .argument = "DIR",                     \
    .kind = OPTION_TEXT, .help = "where to look for engines first"
#define ENGINE_OPTION_ROW                                                                \
    .name = "engine-option", .env = "GP_ENGINE_OPTION", .argument = "KEY=VALUE",         \
    .kind = OPTION_LIST, .is_of_model = true, .is_pairs = true,                          \
    .help = "passed to the engine, repeatable"
#define ENGINE_PYTHON_ROW                                                                \
    .name = "python", .env = "GP_PYTHON", .argument = "PATH", .kind = OPTION_TEXT,       \
    .is_of_model = true, .into = "engine-option",                                        \
    .help = "python: the interpreter (default: python3)"

/* Rows for a table that has ENGINE_OPTION_ROW too; `member` is its struct engine_flags. */
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
        {ENGINE_PYTHON_ROW, OPTION_AT(type, member.python)},                             \
    {                                                                                    \
        .name = "device", .env = "GP_DEVICE", .argument = "cpu|cuda[:N,...]",            \
        .kind = OPTION_TEXT, .is_of_model = true, .into = "engine-option",               \
        OPTION_AT(type, member.device),                                                  \
        .help = "onnx, pytorch, tensorflow: where it runs (default: cpu)"                \
    }

#endif
