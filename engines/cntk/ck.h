/* CNTK's C interface, opened at run time: the functions that this plug-in uses. No package
 * has its header, so the types are declared here, as release 2.7 has them. What a function
 * gives belongs to the caller and is released by CNTK's functions. */
#ifndef GP_CNTK_CK_H
#define GP_CNTK_CK_H

#include "../plugin.h"

#include <limits.h>

enum { CK_MESSAGE_BYTES = 4096 };

struct ck_status {
    int32_t value; /* 0: success */
    char message[CK_MESSAGE_BYTES];
};

struct ck_device {
    enum { CK_CPU, CK_GPU } kind;
    uint32_t id;
};

/* Column-major: the first size is that of the dimension whose elements are adjacent. */
struct ck_shape {
    uint32_t *sizes;
    uint32_t rank;
};

struct ck_variable {
    char *name;
    struct ck_shape shape;
};

struct ck_value {
    struct ck_shape shape;
    float *data;
};

typedef struct ck_network *ck_handle;

/* X(member, result, arguments) of CNTK_member */
#define CK_FUNCTIONS(X)                                                                  \
    X(LoadModel, struct ck_status,                                                       \
      (const char *path, const struct ck_device *device, ck_handle *network))            \
    X(ReleaseModel, void, (ck_handle network))                                           \
    X(GetModelArgumentsInfo, struct ck_status,                                           \
      (ck_handle network, struct ck_variable * *variables, uint32_t * n))                \
    X(GetModelOutputsInfo, struct ck_status,                                             \
      (ck_handle network, struct ck_variable * *variables, uint32_t * n))                \
    X(EvaluateSequence, struct ck_status,                                                \
      (ck_handle network, const struct ck_variable *inputs,                              \
       const struct ck_value *input_values, const bool *begins, uint32_t n_inputs,       \
       const struct ck_variable *outputs, uint32_t n_outputs,                            \
       struct ck_value **output_values))                                                 \
    X(CleanVariable, void, (struct ck_variable * variable))                              \
    X(CleanValue, void, (struct ck_value * value))                                       \
    X(ReleaseArray, void, (void *array))

struct ck_api {
#define CK_MEMBER(name, result, arguments) result(*name) arguments;
    CK_FUNCTIONS(CK_MEMBER)
#undef CK_MEMBER
    void (*set_n_threads)(int n); /* of OpenMP; NULL if the library has none */
};

struct ck_runtime {
    struct ck_api api;
    char version[16];
    char path[PATH_MAX];
};

/* Loads the runtime on the first call. */
enum gp_status ck_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct ck_runtime **ck, struct gp_error *err);

/* GP_OK if a call succeeded; otherwise `status`, and *err says "WHAT: why" in one line. */
enum gp_status ck_check(const struct ck_status *result, enum gp_status status,
                        const char *what, struct gp_error *err);

#endif
