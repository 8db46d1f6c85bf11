/* One run: the request's memory becomes tensors as it lies, but for inputs that forward
 * writes into and for numbers and texts, which are copied; outputs are sent from
 * libtorch's memory. On a GPU inputs are copied to the device from where they lie, and outputs
 * from there to where they are sent from, all in the device's default stream, so that the last
 * of these waits for the rest. There is no way to stop a run: libtorch looks at nothing between two
 * operators, so one that is cancelled ends in its own time.
 *
 * How many threads a run has is a setting of the thread that calls it. Slots have threads
 * of their own, so that each keeps its setting and its helpers. */
#include "../cores.h"
#include "pytorch.h"

#include <ATen/Parallel.h>
#include <ATen/core/List.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/api/include/torch/cuda.h>

using c10::TypeKind;

static const std::pair<enum gp_dtype, c10::ScalarType> scalar_types[] = {
    {GP_UINT8, c10::kByte},        {GP_INT8, c10::kChar},      {GP_UINT16, c10::kUInt16},
    {GP_INT16, c10::kShort},       {GP_UINT32, c10::kUInt32},  {GP_INT32, c10::kInt},
    {GP_UINT64, c10::kUInt64},     {GP_INT64, c10::kLong},     {GP_FLOAT16, c10::kHalf},
    {GP_FLOAT32, c10::kFloat},     {GP_FLOAT64, c10::kDouble}, {GP_BOOL, c10::kBool},
    {GP_BFLOAT16, c10::kBFloat16},
};

static std::string quoted(const char *name)
{
    return std::string("\"") + name + "\"";
}

/* --- in -------------------------------------------------------------------------------- */

/* A tensor over the request's memory. */
static at::Tensor make_view(const struct gp_tensor &from)
{
    static const auto *const end = std::end(scalar_types);
    const auto *found =
        std::find_if(std::begin(scalar_types), end,
                     [&](const auto &pair) { return pair.first == from.dtype; });
    if (found == end)
        throw pytorch_refusal(GP_INVALID, "input " + quoted(from.name) + " is of type " +
                                              gp_dtype_name(from.dtype) +
                                              ", which no Tensor has");
    const c10::IntArrayRef shape(from.shape, from.rank);
    if (from.size_bytes == 0)
        return at::empty(shape, found->second);
    return at::from_blob(const_cast<void *>(from.data), shape, found->second);
}

static std::string make_text(const struct gp_string &from)
{
    return from.size_bytes ? std::string(from.data, from.size_bytes) : std::string();
}

/* Numbers and texts, and lists of them: forward's type says which. */
static c10::IValue make_value(const struct gp_tensor &from, const c10::Type &type)
{
    const auto *list = type.castRaw<c10::ListType>();
    const TypeKind kind = list ? list->getElementType()->kind() : type.kind();
    const auto *strings = static_cast<const struct gp_string *>(from.data);
    const size_t n = from.size_bytes / gp_dtype_stride(from.dtype);
    if (!list && n != 1)
        throw pytorch_refusal(
            GP_INVALID, "input " + quoted(from.name) + " has " + std::to_string(n) +
                            " elements; forward wants one " + type.annotation_str());
    if (kind == TypeKind::StringType) {
        c10::List<std::string> texts;
        for (size_t i = 0; i < n; i++)
            texts.push_back(make_text(strings[i]));
        return list ? c10::IValue(texts) : c10::IValue(texts.get(0));
    }
    const at::Tensor numbers = make_view(from).reshape({-1});
    if (!list && kind == TypeKind::IntType)
        return numbers.item<int64_t>();
    if (!list && kind == TypeKind::FloatType)
        return numbers.item<double>();
    if (!list)
        return numbers.item<bool>();
    if (kind == TypeKind::IntType)
        return c10::List<int64_t>(c10::ArrayRef<int64_t>(numbers.data_ptr<int64_t>(), n));
    if (kind == TypeKind::FloatType)
        return c10::List<double>(c10::ArrayRef<double>(numbers.data_ptr<double>(), n));
    return c10::List<bool>(c10::ArrayRef<bool>(numbers.data_ptr<bool>(), n));
}

static c10::IValue make_input(c10::Device device, const pytorch_argument &argument,
                              const struct gp_tensor &from)
{
    const auto *optional = argument.type->castRaw<c10::OptionalType>();
    const c10::Type &type = optional ? *optional->getElementType() : *argument.type;
    if (type.kind() != TypeKind::TensorType)
        return make_value(from, type);
    const at::Tensor view = make_view(from);
    return view.to(device, view.scalar_type(), device.is_cuda(), argument.is_written);
}

c10::IValue pytorch_forward(pytorch_model &model, uint32_t slot,
                            const struct gp_tensor *inputs, uint32_t n_inputs)
{
    const c10::InferenceMode guard;
    const size_t place = slot % model.devices.size();
    const c10::DeviceGuard on_device(model.devices[place]);
    std::vector<c10::IValue> stack;
    stack.reserve(model.arguments.size());
    for (const pytorch_argument &argument : model.arguments) {
        const auto *const end = inputs + n_inputs;
        const auto *came = std::find_if(inputs, end, [&](const struct gp_tensor &tensor) {
            return argument.io.name == tensor.name;
        });
        stack.push_back(came == end ? argument.preset
                                    : make_input(model.devices[place], argument, *came));
    }
    if (!model.package)
        return model.modules[place].forward(std::move(stack));
    std::vector<at::Tensor> tensors;
    for (const c10::IValue &value : stack)
        tensors.push_back(value.toTensor());
    return model.package->run(tensors);
}

/* --- out ------------------------------------------------------------------------------- */

static enum gp_dtype dtype_of(const at::Tensor &tensor, const char *name)
{
    for (const auto &[dtype, scalar_type] : scalar_types)
        if (scalar_type == tensor.scalar_type())
            return dtype;
    throw pytorch_refusal(GP_UNSUPPORTED, "output " + quoted(name) + " came as " +
                                              c10::toString(tensor.scalar_type()) +
                                              ", which GraphPipe does not have");
}

static void release(void *tensor)
{
    delete static_cast<at::Tensor *>(tensor);
}

/* Copies a GPU's tensor to where it is sent from, when it has been computed. */
static void fetch_tensor(const at::Tensor &from, enum gp_dtype dtype, uint32_t index,
                         struct gp_outputs *outputs)
{
    struct gp_error err = {GP_OK, ""};
    void *memory = gp_outputs_alloc(outputs, index, dtype, from.sizes().data(),
                                    static_cast<uint32_t>(from.dim()), &err);
    if (!memory)
        throw pytorch_refusal(err.status, err.message);
    if (from.numel())
        at::from_blob(memory, from.sizes(), from.scalar_type()).copy_(from.resolve_neg());
}

/* Hands the tensor's memory over, and the tensor with it. What a later run might write
 * into while it is being sent is copied. */
static void give_tensor(const pytorch_model &model, const at::Tensor &from,
                        const char *name, uint32_t index, struct gp_outputs *outputs)
{
    struct gp_error err = {GP_OK, ""};
    if (!from.defined() || from.layout() != c10::kStrided)
        throw pytorch_refusal(GP_UNSUPPORTED, "output " + quoted(name) +
                                                  " is no dense tensor, and cannot be "
                                                  "sent");
    const enum gp_dtype dtype = dtype_of(from, name);
    if (!from.is_cpu())
        return fetch_tensor(from, dtype, index, outputs);
    at::Tensor whole = from.resolve_neg().contiguous();
    if (model.keeps_state)
        whole = whole.clone();
    auto kept = std::make_unique<at::Tensor>(std::move(whole));
    const struct gp_tensor tensor =
        gp_tensor_view(dtype, kept->sizes().data(), static_cast<uint32_t>(kept->dim()),
                       kept->const_data_ptr());
    if (gp_outputs_adopt(outputs, index, &tensor, release, kept.get(), &err) != GP_OK)
        throw pytorch_refusal(err.status, err.message);
    (void)kept.release();
}

static void give_texts(const std::vector<std::string> &texts, const int64_t *shape,
                       uint32_t rank, uint32_t index, struct gp_outputs *outputs)
{
    struct gp_error err = {GP_OK, ""};
    auto *strings = static_cast<struct gp_string *>(
        gp_outputs_alloc(outputs, index, GP_STRING, shape, rank, &err));
    for (size_t i = 0; strings && i < texts.size(); i++) {
        void *bytes = gp_outputs_memory(outputs, texts[i].size() + 1, &err);
        if (!bytes)
            throw pytorch_refusal(err.status, err.message);
        memcpy(bytes, texts[i].data(), texts[i].size());
        strings[i] = {static_cast<const char *>(bytes), texts[i].size()};
    }
    if (!strings)
        throw pytorch_refusal(err.status, err.message);
}

static void give_output(const pytorch_model &model, const c10::IValue &value,
                        const char *name, uint32_t index, struct gp_outputs *outputs)
{
    if (value.isTensor())
        return give_tensor(model, value.toTensor(), name, index, outputs);
    if (value.isInt())
        return give_tensor(model, at::scalar_tensor(value.toInt(), c10::kLong), name,
                           index, outputs);
    if (value.isDouble())
        return give_tensor(model, at::scalar_tensor(value.toDouble(), c10::kDouble), name,
                           index, outputs);
    if (value.isBool())
        return give_tensor(model, at::scalar_tensor(value.toBool(), c10::kBool), name,
                           index, outputs);
    if (value.isIntList())
        return give_tensor(model, at::tensor(value.toIntVector()), name, index, outputs);
    if (value.isDoubleList())
        return give_tensor(model, at::tensor(value.toDoubleVector(), c10::kDouble), name,
                           index, outputs);
    if (value.isBoolList()) {
        const auto list = value.toBoolList();
        const at::Tensor bools = at::empty(static_cast<int64_t>(list.size()), c10::kBool);
        std::copy(list.begin(), list.end(), bools.data_ptr<bool>());
        return give_tensor(model, bools, name, index, outputs);
    }
    if (value.isString())
        return give_texts({value.toStringRef()}, nullptr, 0, index, outputs);
    if (value.isList() && value.toList().elementType()->kind() == TypeKind::StringType) {
        std::vector<std::string> texts;
        for (const c10::IValue &text : value.toListRef())
            texts.push_back(text.toStringRef());
        const int64_t n = static_cast<int64_t>(texts.size());
        return give_texts(texts, &n, 1, index, outputs);
    }
    throw pytorch_refusal(GP_ENGINE, "output " + quoted(name) + " came as " +
                                         value.tagKind() + ", which cannot be sent");
}

/* What lies at a step of an output's path. */
static c10::IValue follow(const c10::IValue &value, const c10::IValue &step,
                          const char *name)
{
    if (step.isNone())
        return value;
    if (value.isGenericDict()) {
        const auto dict = value.toGenericDict();
        const auto found = dict.find(step);
        if (found != dict.end())
            return found->value();
    } else {
        const size_t at = static_cast<size_t>(step.toInt());
        if (value.isTuple() && at < value.toTupleRef().elements().size())
            return value.toTupleRef().elements()[at];
        if (value.isList() && at < value.toListRef().size())
            return value.toListRef()[at];
    }
    throw pytorch_refusal(GP_ENGINE,
                          "forward gave no output " + quoted(name) + " in this run");
}

static void give_outputs(const pytorch_model &model, const c10::IValue &result,
                         const struct gp_call *call, struct gp_outputs *outputs)
{
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        const char *name = call->output_names[i];
        const auto output = std::find_if(
            model.outputs.begin(), model.outputs.end(),
            [&](const pytorch_output &each) { return each.io.name == name; });
        if (output == model.outputs.end())
            throw pytorch_refusal(GP_INVALID, "no output is named " + quoted(name));
        give_output(model,
                    follow(follow(result, output->path[0], name), output->path[1], name),
                    name, i, outputs);
    }
}

/* --- the run --------------------------------------------------------------------------- */

/* The threads of runs on this thread. libtorch sets them up itself the first time that it
 * is asked for them, which must not come after ours. */
static void set_threads(uint32_t n_threads)
{
    static thread_local uint32_t now = 0;
    if (now == n_threads)
        return;
    if (now == 0)
        (void)at::get_num_threads();
    at::set_num_threads(static_cast<int>(n_threads));
    now = n_threads;
}

/* One of the runs under way, and how many share the cores with it as it begins. */
struct under_way {
    std::atomic<uint32_t> &n;
    const uint32_t n_runs;
    under_way(pytorch_model &model, const struct gp_call *call)
        : n(model.n_running),
          n_runs(cores_n_runs(call, n.fetch_add(1) + 1, model.n_cores))
    {
    }
    ~under_way()
    {
        n.fetch_sub(1);
    }
    under_way(const under_way &) = delete;
    under_way &operator=(const under_way &) = delete;
};

/* At its end a GPU no longer reads what a run that failed has been given. */
struct settling {
    const c10::Device device;
    ~settling()
    {
        if (!device.is_cuda() || std::uncaught_exceptions() == 0)
            return;
        try {
            torch::cuda::synchronize(device.index());
        } catch (const std::exception &) { /* what is thrown already says more */
        }
    }
};

enum gp_status pytorch_run(void *self, uint32_t slot, const struct gp_call *call,
                           struct gp_outputs *outputs, struct gp_error *err)
{
    pytorch_model &model = *static_cast<pytorch_model *>(self);
    return pytorch_guard(err, "the model failed", [&] {
        const c10::InferenceMode guard;
        const settling at_the_end{model.devices[slot % model.devices.size()]};
        const pytorch_listener listener(model);
        c10::IValue result;
        {
            const under_way run(model, call);
            set_threads(model.n_wide && run.n_runs > model.n_wide ? 1 : model.n_threads);
            result = pytorch_forward(model, slot, call->inputs, call->n_inputs);
        }
        give_outputs(model, result, call, outputs);
    });
}
