/* OpenVINO's C interface as this plug-in uses it: a table of functions that is filled
 * when its library has been found, so that the plug-in loads without it. OpenVINO finds
 * its own plug-in for CPUs and its readers of formats beside that library.
 *
 * A call that fails returns a status other than OK; the message is kept once per process,
 * so that under load it may belong to another run. */
#ifndef GP_OPENVINO_OV_H
#define GP_OPENVINO_OV_H

#include <graphpipe/engine.h>

#include <openvino/c/openvino.h>

#define OV_FUNCTIONS(X)                                                                  \
    X(ov_compiled_model_create_infer_request)                                            \
    X(ov_compiled_model_free)                                                            \
    X(ov_compiled_model_get_property)                                                    \
    X(ov_core_compile_model)                                                             \
    X(ov_core_create)                                                                    \
    X(ov_core_read_model)                                                                \
    X(ov_free)                                                                           \
    X(ov_get_error_info)                                                                 \
    X(ov_get_last_err_msg)                                                               \
    X(ov_get_openvino_version)                                                           \
    X(ov_infer_request_cancel)                                                           \
    X(ov_infer_request_free)                                                             \
    X(ov_infer_request_get_output_tensor_by_index)                                       \
    X(ov_infer_request_infer)                                                            \
    X(ov_infer_request_set_input_tensor_by_index)                                        \
    X(ov_infer_request_set_output_tensor_by_index)                                       \
    X(ov_infer_request_start_async)                                                      \
    X(ov_infer_request_wait)                                                             \
    X(ov_model_const_input_by_index)                                                     \
    X(ov_model_const_output_by_index)                                                    \
    X(ov_model_free)                                                                     \
    X(ov_model_get_friendly_name)                                                        \
    X(ov_model_is_dynamic)                                                               \
    X(ov_model_reshape_by_port_indexes)                                                  \
    X(ov_model_inputs_size)                                                              \
    X(ov_model_outputs_size)                                                             \
    X(ov_output_const_port_free)                                                         \
    X(ov_partial_shape_free)                                                             \
    X(ov_port_get_any_name)                                                              \
    X(ov_port_get_element_type)                                                          \
    X(ov_port_get_partial_shape)                                                         \
    X(ov_shape_free)                                                                     \
    X(ov_tensor_create_from_host_ptr)                                                    \
    X(ov_tensor_data)                                                                    \
    X(ov_tensor_free)                                                                    \
    X(ov_tensor_get_byte_size)                                                           \
    X(ov_tensor_get_element_type)                                                        \
    X(ov_tensor_get_shape)                                                               \
    X(ov_version_free)

/* The runtime, once per process. */
struct ov_runtime {
#define OV_MEMBER(name) __typeof__(&name) name;
    OV_FUNCTIONS(OV_MEMBER)
#undef OV_MEMBER
    ov_core_t *core;
    char version[32];
    char path[512];
};

/* Loads the runtime on the first call. */
enum gp_status ov_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct ov_runtime **ov, struct gp_error *err);

/* GP_OK for OK; otherwise `status`, with OpenVINO's message as one line after `what`. */
enum gp_status ov_check(const struct ov_runtime *ov, ov_status_e failed,
                        enum gp_status status, const char *what, struct gp_error *err);

/* GraphPipe's type for OpenVINO's, GP_NULL if there is none, and the other way around;
 * there is none for strings, which the C interface cannot read. The name is OpenVINO's, a
 * static string. */
enum gp_dtype ov_dtype(ov_element_type_e type);
ov_element_type_e ov_type(enum gp_dtype dtype);
const char *ov_type_name(ov_element_type_e type);

/* A tensor over existing memory, which OpenVINO does not copy. */
enum gp_status ov_view(const struct ov_runtime *ov, enum gp_dtype dtype,
                       const int64_t *sizes, uint32_t rank, const void *data,
                       ov_tensor_t **tensor, struct gp_error *err);

#endif
