/* bridge.h - what the plug-in uses of Caffe2, as C functions. Caffe2 is C++ only, so whoever
 * uses it is linked with it, and its libraries have the names of PyTorch's of today. The
 * server has plug-ins of both in one process; so the plug-in for Caffe2 is linked with
 * nothing, and opens this bridge, which is, only in a process that runs a model. */
#ifndef GP_CAFFE2_BRIDGE_H
#define GP_CAFFE2_BRIDGE_H

#include <graphpipe/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

struct c2_workspace; /* a net, and the blobs that it reads and writes */

struct c2_bridge {
    const char *version; /* of PyTorch, with which Caffe2 came in the end */

    /* Once in a process, before anything else. */
    enum gp_status (*start)(struct gp_error *err);

    /* Whether there is such an operator for CPUs. */
    int (*has_operator)(const char *type);

    /* Parses the two nets, and runs the first. */
    enum gp_status (*open)(const void *init_net, size_t init_bytes,
                           const void *predict_net, size_t predict_bytes,
                           struct c2_workspace **workspace, struct gp_error *err);
    void (*close)(struct c2_workspace *workspace);

    /* Makes a tensor of this shape the blob `name`, and returns its memory, which is not
     * cleared; NULL and *err if that fails. For an empty one it is not NULL either. */
    void *(*set_input)(struct c2_workspace *workspace, const char *name,
                       enum gp_dtype dtype, const int64_t *shape, uint32_t rank,
                       struct gp_error *err);

    /* Makes the operators of the second net, whose inputs have been set. */
    enum gp_status (*create)(struct c2_workspace *workspace, struct gp_error *err);

    enum gp_status (*run)(struct c2_workspace *workspace, uint32_t n_threads,
                          struct gp_error *err);

    /* A view of the blob `name`, valid until the next run. */
    enum gp_status (*get_output)(struct c2_workspace *workspace, const char *name,
                                 struct gp_tensor *tensor, struct gp_error *err);
};

/* The bridge's one symbol. */
#define C2_BRIDGE_ENTRY "caffe2_bridge_entry"

#ifdef __cplusplus
}
#endif

#endif
