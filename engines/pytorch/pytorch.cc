/* The PyTorch engine: opens, describes and closes a TorchScript module with libtorch, or
 * runs what AOTInductor made. Options: inputs=, outputs= (JSON lists),
 * allow-native-code=1 and device=.
 *
 * A module whose forward changes it (a counter, the state of a recurrent network) has one
 * slot: its runs depend on each other's order and must not overlap. Any other is frozen,
 * which folds what is constant, and shared by all slots of a device. */
#include "pytorch.h"

#include "../pinned.h"
#include "../plugin.h"

#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/InferenceMode.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/api/include/torch/cuda.h>
#include <torch/csrc/api/include/torch/version.h>
#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_iterator.h>
#include <torch/csrc/jit/runtime/print_handler.h>
#include <torch/csrc/jit/serialization/import.h>

#include <dlfcn.h>

#include <cstring>
#include <new>
#include <set>
#include <sstream>

/* Cuts everything from `begin` up to the end of `end` out. */
static void cut(std::string &text, const char *begin, const char *end)
{
    const size_t from = text.find(begin);
    const size_t to = from == std::string::npos ? from : text.find(end, from);
    if (to != std::string::npos)
        text.erase(from, to + strlen(end) - from);
}

std::string pytorch_one_line(const std::exception &failure)
{
    const auto *of_torch = dynamic_cast<const c10::Error *>(&failure);
    std::string text = of_torch ? of_torch->what_without_backtrace() : failure.what();
    /* the interpreter puts its traceback before the actual error */
    static const char mark[] = "Error: ";
    const size_t last = text.rfind(mark);
    const bool is_traced = text.find("Traceback of TorchScript") != std::string::npos;
    if (is_traced && last != std::string::npos)
        text.erase(0, last + sizeof mark - 1);
    std::istringstream words(text);
    std::string line, word;
    while (words >> word)
        line += (line.empty() ? "" : " ") + word;
    cut(line, "[enforce fail at ", "] . ");
    cut(line, " (of Python compilation unit at", ")");
    cut(line, " INTERNAL ASSERT FAILED at ", "report a bug to PyTorch.");
    for (const char *rest :
         {" : File \"code/", ": File \"code/", " (Could this error message",
          ". Could not find any similar ops"})
        line.resize(std::min(line.size(), line.find(rest)));
    return line.substr(0, 360);
}

enum gp_status pytorch_guard(struct gp_error *err, const char *what,
                             const std::function<void()> &work)
{
    try {
        work();
        return GP_OK;
    } catch (const pytorch_refusal &refusal) {
        return gp_error_set(err, refusal.status, "%s", refusal.what());
    } catch (const std::bad_alloc &) {
        return gp_error_set(err, GP_NO_MEMORY, "%s: no memory", what);
    } catch (const c10::OutOfMemoryError &failure) {
        return gp_error_set(err, GP_NO_MEMORY, "%s: %s", what,
                            pytorch_one_line(failure).c_str());
    } catch (const std::exception &failure) {
        return gp_error_set(err, GP_ENGINE, "%s: %s", what,
                            pytorch_one_line(failure).c_str());
    } catch (...) {
        return gp_error_set(err, GP_ENGINE, "%s, and does not say why", what);
    }
}

void pytorch_log(const pytorch_model &model, enum gp_log_level level,
                 const std::string &message)
{
    if (model.log)
        model.log(model.log_context, level, ("PyTorch: " + message).c_str());
}

static thread_local const pytorch_model *listening;

static void print_to_log(const std::string &text)
{
    if (listening)
        pytorch_log(*listening, GP_LOG_INFO,
                    text.substr(0, text.find_last_not_of('\n') + 1));
}

pytorch_listener::pytorch_listener(const pytorch_model &its_model)
    : model(its_model), guard(this)
{
    listening = &model;
}

pytorch_listener::~pytorch_listener()
{
    listening = nullptr;
}

void pytorch_listener::process(const c10::Warning &warning)
{
    pytorch_log(model, GP_LOG_WARNING, warning.msg());
}

static void refuse(const std::string &message)
{
    throw pytorch_refusal(GP_INVALID, message);
}

/* --- the file -------------------------------------------------------------------------- */

/* What AOTInductor makes. */
static bool is_package(const std::string &path)
{
    return path.size() > 4 && strcasecmp(path.c_str() + path.size() - 4, ".pt2") == 0;
}

/* Reads the first bytes, or all. */
static std::string read_file(const char *path, size_t most)
{
    struct plugin_file file;
    struct gp_error err;
    if (plugin_map(path, "the pytorch engine needs a .pt file", &file, &err) != GP_OK)
        throw pytorch_refusal(err.status, err.message);
    const std::string text(reinterpret_cast<const char *>(file.bytes),
                           std::min(file.size_bytes, most));
    plugin_unmap(&file);
    return text;
}

/* libtorch's errors for files that are not TorchScript help nobody. */
static void check_kind(const std::string &path, const std::string &head)
{
    static const char export_it[] =
        "; export the module with torch.jit.script or torch.jit.trace and its save(), or "
        "with torch.onnx.export for the onnx engine";
    if (head[0] == '\x80')
        refuse(path + " is a pickle of torch.save, which only Python can read" +
               export_it);
    if (head != "PK\3\4")
        refuse(path + " is no TorchScript: it does not begin like a zip archive");
    if (!caffe2::serialize::PyTorchStreamReader(path).hasRecord("constants.pkl"))
        refuse(path +
               " was written by torch.save and holds weights or a pickled module, "
               "which only Python can read" +
               export_it);
}

/* --- options --------------------------------------------------------------------------- */

struct wishes {
    pytorch_said said;
    bool allow_native_code = false;
};

static wishes read_options(pytorch_model &model, const struct gp_engine_options *options)
{
    wishes wished;
    const std::string path = options->model_path;
    const size_t dot = path.rfind('.'), slash = path.rfind('/');
    const bool has_dot =
        dot != std::string::npos && (slash == std::string::npos || dot > slash);
    const std::string beside = (has_dot ? path.substr(0, dot) : path) + ".json";
    model.files.push_back(path);
    if (access(beside.c_str(), F_OK) == 0) {
        wished.said = pytorch_said_read(read_file(beside.c_str(), SIZE_MAX), beside);
        model.files.push_back(beside);
    }
    for (size_t i = 0; i < options->n_options; i++) {
        const std::string option = options->options[i];
        if (option.rfind("inputs=", 0) == 0)
            wished.said.inputs = pytorch_said_list(option.substr(7), "inputs");
        else if (option.rfind("outputs=", 0) == 0)
            wished.said.outputs = pytorch_said_list(option.substr(8), "outputs");
        else if (option == "allow-native-code=1")
            wished.allow_native_code = true;
        else if (option != "allow-native-code=0" && !device_value(option.c_str()))
            refuse("the pytorch engine has no option \"" + option +
                   "\"; it has inputs=LIST, outputs=LIST, allow-native-code=1 and "
                   "device=DEVICE");
    }
    return wished;
}

/* Otherwise libtorch's own error would come with the first tensor for the device. */
static void read_devices(pytorch_model &model, const struct gp_engine_options *options)
{
    struct gp_error err = {GP_OK, ""};
    if (device_read(&model.list, options, &err) != GP_OK)
        throw pytorch_refusal(err.status, err.message);
    if (!pytorch_has_gpus(model))
        return;
    if (!at::detail::getCUDAHooks().hasCUDART())
        refuse("this libtorch has no CUDA: build the plug-in with -DGP_TORCH=DIR, a "
               "libtorch that has");
    const int n_there = torch::cuda::device_count();
    model.devices.clear();
    for (uint32_t i = 0; i < model.list.n; i++) {
        const int number = model.list.numbers[i];
        if (number >= n_there)
            refuse("there is no device cuda:" + std::to_string(number) + "; " +
                   (n_there == 0 ? "CUDA finds none here, or no driver"
                                 : std::to_string(n_there) + " are there"));
        model.devices.emplace_back(c10::kCUDA, static_cast<c10::DeviceIndex>(number));
    }
}

/* --- the module ------------------------------------------------------------------------ */

/* libtorch loads a tensor even if the file lacks its bytes, and then every run fails. */
template <typename List>
static void check_weights(const List &list, const std::string &path)
{
    for (const auto &entry : list)
        if (entry.value.has_storage() && entry.value.storage().nbytes() &&
            !entry.value.storage().data())
            refuse(path + " holds nothing of the weights \"" + entry.name + "\"");
}

/* Folds constants, including training mode and its branches, and brings weights into the
 * order that a CPU computes with. Not all modules allow it. */
static torch::jit::Module freeze_module(const pytorch_model &model,
                                        const torch::jit::Module &module)
{
    try {
        torch::jit::Module frozen = torch::jit::freeze(module);
        return pytorch_has_gpus(model) ? frozen
                                       : torch::jit::optimize_for_inference(frozen);
    } catch (const std::exception &failure) {
        pytorch_log(model, GP_LOG_INFO,
                    "the module is served unfrozen: " + pytorch_one_line(failure));
        return module;
    }
}

/* For the next device: read from the file again, since frozen constants stay where they
 * are. */
static void load_module(pytorch_model &model, const std::string &path)
{
    torch::jit::Module module =
        torch::jit::load(path, model.devices[model.modules.size()], false);
    check_weights(module.named_parameters(), path);
    check_weights(module.named_buffers(), path);
    if (!module.find_method("forward"))
        refuse(path + " has no method forward, which is what is served");
    module.eval();
    model.description = module.type()->name()->name();
    model.modules.push_back(freeze_module(model, module));
}

static const char only_for_cpus[] = "; a .pt2 is served on CPUs only, a .pt on GPUs too";

static void load_package(pytorch_model &model, const std::string &path)
{
    try {
        model.package = std::make_unique<torch::inductor::AOTIModelPackageLoader>(path);
    } catch (const std::exception &failure) {
        refuse(path +
               " is not what torch._inductor.aoti_compile_and_package of PyTorch " +
               TORCH_VERSION + " makes: " + pytorch_one_line(failure));
    }
    const auto metadata = model.package->get_metadata();
    const auto device = metadata.find("AOTI_DEVICE_KEY");
    if (device != metadata.end() && device->second != "cpu")
        refuse(path + " was compiled for " + device->second + only_for_cpus);
}

/* Where an operator is told whether it trains; 0 if it is not. */
static size_t training_input(const torch::jit::Node *node)
{
    static const std::set<std::string> drops = {"aten::dropout", "aten::dropout_",
                                                "aten::feature_dropout",
                                                "aten::alpha_dropout"};
    if (drops.count(node->kind().toQualString()))
        return 2; /* (input, p, train) */
    const bool is_norm = node->kind() == c10::Symbol::fromQualString("aten::batch_norm");
    return is_norm ? 5 : 0; /* (input, weight, bias, mean, var, training, ...) */
}

/* A trace keeps the mode that it was made in as a constant, which eval() does not change. */
static void warn_of_training(const pytorch_model &model,
                             std::shared_ptr<torch::jit::Graph> &graph)
{
    torch::jit::DepthFirstGraphNodeIterator nodes(graph);
    for (const torch::jit::Node *node = nodes.next(); node; node = nodes.next()) {
        const size_t i = training_input(node);
        if (!i || i >= node->inputs().size())
            continue;
        const auto trains = torch::jit::toIValue(node->inputs()[i]);
        if (!trains || !trains->isBool() || !trains->toBool())
            continue;
        pytorch_log(model, GP_LOG_WARNING,
                    std::string("forward was saved in training mode: ") +
                        node->kind().toQualString() +
                        " goes on as in training; call the module's eval() before it is "
                        "traced");
        return;
    }
}

/* Looks for what forward writes into: its arguments, which are the request's memory, and
 * the module itself. If in doubt it counts as written. */
static void find_writes(pytorch_model &model)
{
    std::shared_ptr<torch::jit::Graph> graph =
        model.modules[0].get_method("forward").graph()->copy();
    torch::jit::Inline(*graph);
    warn_of_training(model, graph);
    const torch::jit::AliasDb aliases(graph, true);
    for (size_t i = 0; i < model.arguments.size(); i++)
        model.arguments[i].is_written = aliases.hasWriters(graph->inputs()[i + 1]);
    torch::jit::DepthFirstGraphNodeIterator nodes(graph);
    for (const torch::jit::Node *node = nodes.next(); node; node = nodes.next())
        if (node->kind() == c10::prim::SetAttr ||
            (node->kind() == c10::prim::GetAttr && aliases.hasWriters(node->output())))
            model.keeps_state = true;
    if (model.keeps_state)
        pytorch_log(model, GP_LOG_WARNING,
                    "forward changes the module: its runs are done one at a time, and "
                    "all clients share what it remembers");
}

/* docs/decisions/pytorch.md has the reasons. */
static void plan_threads(pytorch_model &model, const struct gp_engine_options *options)
{
    const uint32_t n_cores = options->n_cores ? options->n_cores : 1;
    model.n_cores = n_cores;
    model.n_threads = options->n_threads ? options->n_threads : n_cores;
    model.n_wide =
        options->n_threads || pytorch_has_gpus(model) ? 0 : std::max(n_cores / 2, 1u);
    model.n_slots = device_n_slots(&model.list, options);
    if (model.keeps_state || model.package)
        model.n_slots = 1;
}

/* --- the engine ------------------------------------------------------------------------ */

/* The threads for opening, and for forks inside modules: a setting of the whole process
 * that its first model makes. PyTorch would take all cores of the machine, whatever the
 * quota. */
static void limit_threads(const struct gp_engine_options *options)
{
    const int n_cores = options->n_cores ? static_cast<int>(options->n_cores) : 1;
    at::set_num_threads(n_cores);
    try {
        at::set_num_interop_threads(n_cores);
    } catch (const c10::Error &) {
    }
}

static void load(pytorch_model &model, const struct gp_engine_options *options)
{
    const c10::InferenceMode guard;
    const pytorch_listener listener(model);
    FLAGS_caffe2_log_level = c10::GLOG_FATAL; /* what it throws it would print as well */
    torch::jit::setPrintHandler(print_to_log);
    /* for all modules of the process: no run records shapes that a later, recompiled one
     * would rely on */
    torch::jit::FusionStrategy none;
    torch::jit::setFusionStrategy(none);
    model.log = options->log;
    model.log_context = options->log_context;
    limit_threads(options);
    if (!options->model_path || !*options->model_path)
        refuse("the pytorch engine needs a model: a .pt file");
    const std::string path = options->model_path;
    const std::string head = read_file(options->model_path, 4);
    const wishes wished = read_options(model, options);
    read_devices(model, options);
    if (is_package(path)) {
        if (!wished.allow_native_code)
            refuse(path + " holds native code, which can do all that the server may: "
                          "where you trust it, --allow-native-code");
        if (pytorch_has_gpus(model))
            refuse(path + " is native code" + only_for_cpus);
        load_package(model, path);
    } else {
        check_kind(path, head);
        load_module(model, path);
    }
    pytorch_inputs_read(model, wished.said);
    if (!model.package)
        find_writes(model);
    plan_threads(model, options);
    model.devices.resize(std::min<size_t>(model.devices.size(), model.n_slots),
                         c10::kCPU);
    while (!model.package && model.modules.size() < model.devices.size())
        load_module(model, path);
    pytorch_outputs_read(model, wished.said);
}

static enum gp_status open_model(const struct gp_engine_options *options, void **self,
                                 struct gp_error *err)
{
    const std::string what = std::string("cannot load the model ") +
                             (options->model_path ? options->model_path : "");
    const enum gp_status status = pytorch_guard(err, what.c_str(), [&] {
        auto model = std::make_unique<pytorch_model>();
        load(*model, options);
        *self = model.release();
    });
    return status == GP_OK || !options->model_path
               ? status
               : plugin_blame(status, options->model_path, err);
}

static enum gp_status describe_model(void *self, struct gp_description *description,
                                     struct gp_error *err)
{
    pytorch_model &model = *static_cast<pytorch_model *>(self);
    return pytorch_guard(err, "no description", [&] {
        for (const std::string &file : model.files)
            model.file_names.push_back(file.c_str());
        model.summary = model.list.text + ("  " + std::to_string(model.n_threads)) +
                        " thread" + (model.n_threads == 1 ? "" : "s") +
                        (model.keeps_state ? "  keeps state" : "");
        description->flags = GP_WRITES_OUTPUTS;
        if (model.n_threads > 1 || pytorch_has_gpus(model))
            description->flags |= GP_SLOT_THREAD;
        description->n_slots = model.n_slots;
        description->summary = model.summary.c_str();
        description->version = "";
        description->description = model.description.c_str();
        description->inputs = model.described_inputs.data();
        description->n_inputs = static_cast<uint32_t>(model.described_inputs.size());
        description->outputs = model.described_outputs.data();
        description->n_outputs = static_cast<uint32_t>(model.described_outputs.size());
        description->files = model.file_names.data();
        description->n_files = static_cast<uint32_t>(model.file_names.size());
        pinned_describe(&model.list, description);
    });
}

static void close_model(void *self)
{
    delete static_cast<pytorch_model *>(self);
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    Dl_info info;
    (void)options;
    (void)err;
    *version = TORCH_VERSION;
    *path = dladdr(reinterpret_cast<void *>(&at::set_num_threads), &info) ? info.dli_fname
                                                                          : "";
    return GP_OK;
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        sizeof engine,  GP_ENGINE_ABI, "pytorch",   TORCH_VERSION, open_model,
        describe_model, pytorch_run,   close_model, probe,         0};
    return host->abi == GP_ENGINE_ABI ? &engine : nullptr;
}
