/* What a model takes and gives. forward's schema has the arguments' names, their types as
 * far as "Tensor" or "int" go, and their defaults; element types and shapes are in no
 * file, so they are what the user says, or any. How many tensors a list or a dict has,
 * and their keys, only a run shows: one is made at open where the inputs are known. */
#include "pytorch.h"

using c10::TypeKind;

[[noreturn]] static void refuse(const std::string &message)
{
    throw pytorch_refusal(GP_UNSUPPORTED, message);
}

static const c10::Type &inside_optional(const c10::Type &type)
{
    const auto *optional = type.castRaw<c10::OptionalType>();
    return optional ? *optional->getElementType() : type;
}

static bool is_list_of(const c10::Type &type, TypeKind kind)
{
    const auto *list = type.castRaw<c10::ListType>();
    return list && list->getElementType()->kind() == kind;
}

/* What GraphPipe has for a type that is not Tensor; false where it has nothing. */
static bool describe_value(const c10::Type &type, pytorch_io &io)
{
    static const std::pair<TypeKind, enum gp_dtype> dtypes[] = {
        {TypeKind::IntType, GP_INT64},
        {TypeKind::FloatType, GP_FLOAT64},
        {TypeKind::BoolType, GP_BOOL},
        {TypeKind::StringType, GP_STRING},
    };
    for (const auto &[kind, dtype] : dtypes)
        if (type.kind() == kind || is_list_of(type, kind)) {
            io.dtype = dtype;
            if (type.kind() != kind)
                io.shape = {-1};
            return true;
        }
    return type.kind() == TypeKind::TensorType;
}

/* Puts what the user says over what is known. */
static void refine(pytorch_io &io, const pytorch_io &said, bool is_tensor)
{
    if (!said.name.empty())
        io.name = said.name;
    io.description = said.description;
    if (!is_tensor && said.dtype != GP_NULL && said.dtype != io.dtype)
        throw pytorch_refusal(GP_INVALID, "\"" + io.name + "\" is said to be " +
                                              gp_dtype_name(said.dtype) +
                                              ", but for this type of forward's it is " +
                                              gp_dtype_name(io.dtype));
    if (is_tensor && said.dtype == GP_STRING)
        throw pytorch_refusal(GP_INVALID,
                              "\"" + io.name + "\" is a Tensor, which has no strings");
    if (is_tensor)
        io.dtype = said.dtype;
    if (said.shape)
        io.shape = said.shape;
}

static pytorch_argument read_argument(const c10::Argument &from)
{
    pytorch_argument argument;
    argument.io.name = from.name();
    argument.type = from.type();
    const bool may_be_none = from.type()->kind() == TypeKind::OptionalType;
    argument.io.is_optional = from.default_value() || may_be_none;
    if (from.default_value())
        argument.preset = *from.default_value();
    argument.is_input = describe_value(inside_optional(*from.type()), argument.io);
    if (!argument.is_input && !argument.io.is_optional)
        refuse("forward's argument \"" + from.name() + "\" is " +
               from.type()->annotation_str() +
               ", which no tensor can be; take tensors, numbers, texts or lists of these "
               "in a forward around it");
    return argument;
}

/* A package says nothing of itself, and checks nothing in a run. */
static void assume_arguments(pytorch_model &model, const pytorch_said &said)
{
    const auto is_exact = [](const pytorch_io &io) {
        return io.dtype != GP_NULL && io.dtype != GP_STRING && io.shape;
    };
    if (!said.inputs || !said.outputs ||
        !std::all_of(said.inputs->begin(), said.inputs->end(), is_exact))
        throw pytorch_refusal(
            GP_INVALID,
            "a .pt2 checks nothing of what it gets: say its inputs, each with "
            "dtype and shape as it was exported, and its outputs, in a .json "
            "beside it or by --engine-option inputs= and outputs=");
    for (const pytorch_io &io : *said.inputs) {
        pytorch_argument argument;
        argument.io = io;
        argument.type = c10::TensorType::get();
        if (io.name.empty())
            argument.io.name = "input_" + std::to_string(model.arguments.size());
        model.arguments.push_back(std::move(argument));
    }
}

void pytorch_inputs_read(pytorch_model &model, const pytorch_said &said)
{
    if (model.package)
        return assume_arguments(model, said);
    const auto &all = model.modules[0].get_method("forward").function().getSchema();
    size_t n_said = said.inputs ? said.inputs->size() : 0, n = 0;
    for (size_t i = 1; i < all.arguments().size(); i++) { /* the first is self */
        pytorch_argument argument = read_argument(all.arguments()[i]);
        if (argument.is_input && n++ < n_said) {
            const bool is_tensor =
                inside_optional(*argument.type).kind() == TypeKind::TensorType;
            refine(argument.io, (*said.inputs)[n - 1], is_tensor);
        }
        model.arguments.push_back(std::move(argument));
    }
    if (n_said > n)
        throw pytorch_refusal(GP_INVALID, std::to_string(n_said) +
                                              " inputs are said, but forward takes " +
                                              std::to_string(n));
}

static void add_output(pytorch_model &model, const c10::Type &type, std::string name,
                       const c10::IValue &first, const c10::IValue &second)
{
    pytorch_output output;
    output.io.name = std::move(name);
    output.path[0] = first;
    output.path[1] = second;
    if (!describe_value(inside_optional(type), output.io))
        refuse("output \"" + output.io.name + "\" is " + type.annotation_str() +
               ", which cannot be sent");
    if (output.io.dtype != GP_NULL && !output.io.shape)
        output.io.shape.emplace(); /* a scalar */
    model.outputs.push_back(std::move(output));
}

/* What lies at a position or key, and its name. */
struct element {
    c10::IValue step;
    std::string name;
    c10::TypePtr type;
    std::optional<c10::IValue> sample;
};

static std::string key_text(const c10::IValue &key)
{
    return key.isString() ? key.toStringRef() : std::to_string(key.toInt());
}

/* The elements of a tuple, list or dict. Without a sample only a tuple has any. */
static std::vector<element> elements(const c10::Type &type,
                                     const std::optional<c10::IValue> &sample)
{
    std::vector<element> found;
    if (const auto *tuple = type.castRaw<c10::TupleType>()) {
        for (size_t i = 0; i < tuple->elements().size(); i++) {
            found.push_back({static_cast<int64_t>(i), std::to_string(i),
                             tuple->elements()[i], std::nullopt});
            if (tuple->schema())
                found.back().name = tuple->schema()->arguments()[i].name();
            if (sample)
                found.back().sample = sample->toTupleRef().elements()[i];
        }
    } else if (const auto *list = type.castRaw<c10::ListType>()) {
        for (const c10::IValue &value : sample->toListRef())
            found.push_back({static_cast<int64_t>(found.size()),
                             std::to_string(found.size()), list->getElementType(),
                             value});
    } else if (const auto *dict = type.castRaw<c10::DictType>()) {
        for (const auto &entry : sample->toGenericDict())
            found.push_back({entry.key(), key_text(entry.key()), dict->getValueType(),
                             entry.value()});
    }
    return found;
}

static bool is_container(const c10::Type &type)
{
    pytorch_io unused;
    return type.kind() == TypeKind::TupleType || type.kind() == TypeKind::DictType ||
           (type.kind() == TypeKind::ListType && !describe_value(type, unused));
}

static bool needs_sample(const c10::Type &type)
{
    if (const auto *tuple = type.castRaw<c10::TupleType>())
        return std::any_of(tuple->elements().begin(), tuple->elements().end(),
                           [](const c10::TypePtr &each) { return needs_sample(*each); });
    return is_container(type);
}

/* "output_0" for the only one and for those that have but a position; else the name of
 * the field or the key. One inside another: "boxes.0". */
static void read_outputs(pytorch_model &model, const c10::Type &type,
                         const std::optional<c10::IValue> &sample)
{
    if (!is_container(type))
        return add_output(model, type, "output_0", {}, {});
    for (const element &outer : elements(type, sample)) {
        const bool is_place =
            outer.name.find_first_not_of("0123456789") == std::string::npos;
        const std::string name = is_place ? "output_" + outer.name : outer.name;
        if (!is_container(*outer.type)) {
            add_output(model, *outer.type, name, outer.step, {});
            continue;
        }
        for (const element &inner : elements(*outer.type, outer.sample)) {
            if (is_container(*inner.type))
                refuse("output \"" + name + "." + inner.name + "\" is " +
                       inner.type->annotation_str() +
                       ": tuples, lists and dicts are taken apart one inside another, "
                       "no deeper");
            add_output(model, *inner.type, name + "." + inner.name, outer.step,
                       inner.step);
        }
    }
}

/* A list or dict of tensors that no run has shown: as many, and with the keys, as is said.
 */
static bool assume_outputs(pytorch_model &model, const c10::Type &type,
                           const pytorch_said &said)
{
    const auto *list = type.castRaw<c10::ListType>();
    const auto *dict = type.castRaw<c10::DictType>();
    if (!said.outputs || (!list && !dict))
        return false;
    const c10::Type &each = list ? *list->getElementType() : *dict->getValueType();
    if (is_container(each) ||
        (dict && dict->getKeyType()->kind() != TypeKind::StringType))
        return false;
    for (const pytorch_io &io : *said.outputs) {
        const int64_t place = static_cast<int64_t>(model.outputs.size());
        add_output(model, each,
                   io.name.empty() ? "output_" + std::to_string(place) : io.name,
                   list ? c10::IValue(place) : c10::IValue(io.name), {});
    }
    return true;
}

/* One of each required input, as small as its shape allows; none where one has no type or
 * shape. `memory` holds the tensors' zeros and shapes. */
static std::optional<std::vector<struct gp_tensor>>
make_sample(const pytorch_model &model, std::vector<std::vector<int64_t>> &memory)
{
    std::vector<struct gp_tensor> inputs;
    for (const pytorch_argument &argument : model.arguments) {
        const pytorch_io &io = argument.io;
        if (io.is_optional)
            continue;
        if (io.dtype == GP_NULL || io.dtype == GP_STRING ||
            (!io.shape && inside_optional(*argument.type).kind() == TypeKind::TensorType))
            return std::nullopt;
        std::vector<int64_t> shape = io.shape.value_or(std::vector<int64_t>{});
        for (int64_t &size : shape)
            size = size < 0 ? 1 : size;
        memory.push_back(std::move(shape));
        const std::vector<int64_t> &kept = memory.back();
        struct gp_tensor tensor = gp_tensor_view(
            io.dtype, kept.data(), static_cast<uint32_t>(kept.size()), nullptr);
        memory.emplace_back(tensor.size_bytes / sizeof(int64_t) + 1);
        tensor.data = memory.back().data();
        tensor.name = io.name.c_str();
        inputs.push_back(tensor);
    }
    return inputs;
}

/* forward's result for zeros; it also pays for what the first run on each device costs. None where the
 * inputs are not known, forward does not take zeros, or would remember them. */
static std::optional<c10::IValue> try_run(pytorch_model &model)
{
    std::vector<std::vector<int64_t>> memory;
    const auto inputs = make_sample(model, memory);
    if (!inputs || model.keeps_state)
        return std::nullopt;
    try {
        std::vector<c10::IValue> results;
        for (uint32_t slot = 0; slot < model.devices.size(); slot++)
            results.push_back(pytorch_forward(model, slot, inputs->data(),
                                              static_cast<uint32_t>(inputs->size())));
        return results[0];
    } catch (const std::exception &failure) {
        const std::string reason =
            "a first run of zeros failed: " + pytorch_one_line(failure);
        if (model.package) /* what was said of it is wrong, and no run would be safe */
            throw pytorch_refusal(GP_INVALID, reason);
        pytorch_log(model, GP_LOG_WARNING, reason);
        return std::nullopt;
    }
}

static void refine_outputs(pytorch_model &model, const pytorch_said &said)
{
    if (!said.outputs)
        return;
    if (said.outputs->size() > model.outputs.size())
        throw pytorch_refusal(GP_INVALID, std::to_string(said.outputs->size()) +
                                              " outputs are said, but forward gives " +
                                              std::to_string(model.outputs.size()));
    for (size_t i = 0; i < said.outputs->size(); i++) {
        pytorch_io &io = model.outputs[i].io;
        refine(io, (*said.outputs)[i], io.dtype == GP_NULL);
    }
}

static struct gp_io described(const pytorch_io &io)
{
    uint32_t flags = io.is_optional ? GP_IO_OPTIONAL : 0;
    flags |= io.shape ? 0 : GP_IO_ANY_RANK;
    return {io.name.c_str(),
            io.description.c_str(),
            io.shape ? io.shape->data() : nullptr,
            io.shape ? static_cast<uint32_t>(io.shape->size()) : 0,
            io.dtype,
            flags};
}

/* Default inputs come first. */
static void describe(pytorch_model &model)
{
    for (const bool is_optional : {false, true})
        for (const pytorch_argument &argument : model.arguments)
            if (argument.is_input && argument.io.is_optional == is_optional)
                model.described_inputs.push_back(described(argument.io));
    for (const pytorch_output &output : model.outputs)
        model.described_outputs.push_back(described(output.io));
    if (model.described_inputs.size() > GP_MAX_TENSORS ||
        model.described_outputs.size() > GP_MAX_TENSORS)
        refuse("the model has " + std::to_string(model.described_inputs.size()) +
               " inputs and " + std::to_string(model.described_outputs.size()) +
               " outputs; the limit of both is " + std::to_string(GP_MAX_TENSORS));
    if (model.outputs.empty())
        refuse("forward gives nothing that can be sent");
}

void pytorch_outputs_read(pytorch_model &model, const pytorch_said &said)
{
    /* a package gives a list */
    const c10::TypePtr type = model.package ? c10::ListType::ofTensors()
                                            : model.modules[0]
                                                  .get_method("forward")
                                                  .function()
                                                  .getSchema()
                                                  .returns()
                                                  .at(0)
                                                  .type();
    const auto sample = try_run(model);
    if (sample || !needs_sample(*type))
        read_outputs(model, *type, sample);
    else if (!assume_outputs(model, *type, said))
        refuse("forward gives " + type->annotation_str() +
               ", and what is in it only a run shows: say the inputs with dtype and "
               "shape, or the outputs with their names, in a .json beside the model or "
               "by --engine-option");
    refine_outputs(model, said);
    describe(model);
}
