/* An open PyTorch model: a TorchScript module, or a package of AOTInductor, which all
 * slots share. Inside the plug-in errors are exceptions, those of libtorch and
 * pytorch_refusal; the four functions that the host calls turn them into a status. */
#ifndef GP_PYTORCH_PYTORCH_H
#define GP_PYTORCH_PYTORCH_H

#include "../device.h"

#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/csrc/jit/api/module.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

/* An error that we phrase ourselves; its message goes to the user unchanged. */
struct pytorch_refusal : std::runtime_error {
    enum gp_status status;
    pytorch_refusal(enum gp_status its_status, const std::string &message)
        : std::runtime_error(message), status(its_status)
    {
    }
};

/* What is known about an input or output. */
struct pytorch_io {
    std::string name;
    std::string description;
    enum gp_dtype dtype = GP_NULL;             /* any */
    std::optional<std::vector<int64_t>> shape; /* none: any rank */
    bool is_optional = false;
};

/* An argument of forward. */
struct pytorch_argument {
    pytorch_io io;
    c10::TypePtr type;
    c10::IValue preset;      /* its value if the request leaves it out */
    bool is_input = true;    /* otherwise of a type that no tensor can be */
    bool is_written = false; /* forward may change it in place */
};

/* The position of an output in forward's result: the result itself, an element, or an
 * element of one. None ends the path. */
struct pytorch_output {
    pytorch_io io;
    c10::IValue path[2]; /* a position or a key */
};

struct pytorch_model {
    struct device_list list;
    std::vector<c10::Device> devices{c10::kCPU}; /* slot i runs on devices[i % n] */
    std::vector<torch::jit::Module> modules;     /* one per device; none for a package */
    std::unique_ptr<torch::inductor::AOTIModelPackageLoader> package;
    std::vector<pytorch_argument> arguments;
    std::vector<pytorch_output> outputs;
    bool keeps_state = false; /* forward changes the module */

    uint32_t n_slots = 1;
    uint32_t n_threads = 1; /* of a run */
    uint32_t n_cores = 1;
    uint32_t n_wide = 0; /* concurrent runs beyond which each has one; 0: never */
    std::atomic<uint32_t> n_running{0};

    /* for the description, and the memory that it points into */
    std::vector<struct gp_io> described_inputs;
    std::vector<struct gp_io> described_outputs;
    std::vector<std::string> files;
    std::vector<const char *> file_names;
    std::string summary;
    std::string description;
    void (*log)(void *log_context, enum gp_log_level level,
                const char *message) = nullptr;
    void *log_context = nullptr;
};

inline bool pytorch_has_gpus(const pytorch_model &model)
{
    return model.list.n > 0;
}

/* Runs `work` where no exception may escape; `what` prefixes the messages of libtorch. */
enum gp_status pytorch_guard(struct gp_error *err, const char *what,
                             const std::function<void()> &work);

/* The message of an exception as one line, without the traces around it. */
std::string pytorch_one_line(const std::exception &failure);

void pytorch_log(const pytorch_model &model, enum gp_log_level level,
                 const std::string &message);

/* During its lifetime, libtorch's warnings and forward's output on this thread go to the
 * model's log. */
class pytorch_listener : public c10::WarningHandler
{
    const pytorch_model &model;
    c10::WarningUtils::WarningHandlerGuard guard;

  public:
    explicit pytorch_listener(const pytorch_model &its_model);
    ~pytorch_listener() override;
    void process(const c10::Warning &warning) override;
};

/* The user's description of inputs and outputs, as JSON: an object with the two lists, or
 * one list; see docs/engines.md. `where` is its name in messages. */
struct pytorch_said {
    std::optional<std::vector<pytorch_io>> inputs;
    std::optional<std::vector<pytorch_io>> outputs;
};
pytorch_said pytorch_said_read(const std::string &text, const std::string &where);
std::vector<pytorch_io> pytorch_said_list(const std::string &text,
                                          const std::string &where);

/* Fill arguments, then outputs and the description's lists, from forward's schema, or for
 * a package from `said` alone. The second may run the model. */
void pytorch_inputs_read(pytorch_model &model, const pytorch_said &said);
void pytorch_outputs_read(pytorch_model &model, const pytorch_said &said);

/* Runs forward on the slot's device, with inputs in the described order, each with its
 * described name. A GPU may still be working when it returns, and reading the inputs. */
c10::IValue pytorch_forward(pytorch_model &model, uint32_t slot,
                            const struct gp_tensor *inputs, uint32_t n_inputs);

/* gp_engine.run */
enum gp_status pytorch_run(void *model, uint32_t slot, const struct gp_call *call,
                           struct gp_outputs *outputs, struct gp_error *err);

#endif
