/* Caffe2 behind C functions. Caffe2's own headers need those of the protobuf that it was built
 * with, which no package has; so of its classes those that c10 has are taken from there, and
 * what else is needed is declared here, as in its sources. Inside, errors are exceptions; the
 * functions of the bridge turn them into a status. */
#include "bridge.h"

#include <ATen/core/blob.h>
#include <c10/core/TensorImpl.h>
#include <c10/core/UndefinedTensorImpl.h>
#include <c10/util/Logging.h>
#include <c10/util/Registry.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

/* --- what Caffe2's headers would declare ----------------------------------------------- */

namespace google
{
namespace protobuf
{
class Message;
}
} // namespace google

namespace at
{
void set_num_threads(int n_threads);
}

namespace caffe2
{

/* A message of protobuf, which takes 172 bytes in PyTorch 1.7.1. */
class NetDef
{
    alignas(std::max_align_t) char bytes[2048];

  public:
    NetDef();
    ~NetDef();
};

class NetBase;
class OperatorBase;
class OperatorDef;

class Workspace
{
  public:
    Blob *CreateBlob(const std::string &name);
    Blob *GetBlob(const std::string &name);
    NetBase *CreateNet(const std::shared_ptr<const NetDef> &net, bool overwrite);
    bool RunNet(const std::string &name);
};

struct PredictorConfig {
    std::shared_ptr<std::map<std::string, std::shared_ptr<Blob>>> parameters;
    std::shared_ptr<NetDef> predict_net;
    std::vector<std::string> input_names;
    std::vector<std::string> output_names;
    std::vector<std::string> parameter_names;
    std::shared_ptr<Workspace> ws;
};

bool GlobalInit(int *argc, char ***argv);
bool ParseProtoFromLargeString(const std::string &bytes,
                               google::protobuf::Message *message);
PredictorConfig makePredictorConfig(const NetDef &init_net, const NetDef &predict_net,
                                    Workspace *parent, bool run_init, int optimization);
C10_DECLARE_REGISTRY(CPUOperatorRegistry, OperatorBase, const OperatorDef &, Workspace *);

} // namespace caffe2

/* Its class Tensor has one member, and this is it. */
using tensor_ptr = c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

/* --- errors ---------------------------------------------------------------------------- */

/* An error that we phrase ourselves. */
struct c2_refusal : std::runtime_error {
    using std::runtime_error::runtime_error;
};

static const char enforced[] = "[enforce fail at ";

/* The first line of what Caffe2 says, without the place in its sources, and the operator that
 * it names further down. */
static std::string one_line(const std::string &said)
{
    static const char its_type[] = "type: \"";
    const size_t in_source = said.rfind(enforced, 0) == 0 ? said.find("] ") : 0;
    const size_t begin =
        in_source == 0 || in_source == std::string::npos ? 0 : in_source + 2;
    const size_t mark = said.find("rror from operator");
    const size_t type = mark == std::string::npos ? mark : said.find(its_type, mark);
    size_t end = said.find('\n', begin);
    for (const char *rest : {" (Error from operator", ", operator input:"})
        end = std::min(end, said.find(rest, begin));
    std::istringstream words(said.substr(begin, end - begin));
    std::string line, word;
    while (words >> word && line.size() < 300)
        line += (line.empty() ? "" : " ") + word;
    if (line.rfind(". ", 0) == 0) /* no condition was given */
        line.erase(0, 2);
    if (type != std::string::npos) {
        const size_t from = type + sizeof its_type - 1;
        line += " (operator " + said.substr(from, said.find('"', from) - from) + ")";
    }
    return line;
}

static enum gp_status guard(struct gp_error *err, enum gp_status status,
                            const std::function<void()> &work)
{
    try {
        work();
        return GP_OK;
    } catch (const c2_refusal &refusal) {
        return gp_error_set(err, status, "%s", refusal.what());
    } catch (const std::bad_alloc &) {
        return gp_error_set(err, GP_NO_MEMORY, "Caffe2 has no memory");
    } catch (const std::exception &failure) {
        /* what an operator enforces is about what it gets */
        const bool is_enforced = strncmp(failure.what(), enforced, strlen(enforced)) == 0;
        return gp_error_set(err, is_enforced ? GP_INVALID : status, "%s",
                            one_line(failure.what()).c_str());
    } catch (...) {
        return gp_error_set(err, status, "Caffe2 failed, and does not say why");
    }
}

/* --- types ----------------------------------------------------------------------------- */

/* Caffe2 knows no others of GraphPipe's. */
static const std::pair<enum gp_dtype, caffe2::TypeMeta> *
find_type(const std::function<bool(enum gp_dtype, const caffe2::TypeMeta &)> &is_it)
{
    using caffe2::TypeMeta;
    static const std::pair<enum gp_dtype, TypeMeta> types[] = {
        {GP_FLOAT32, TypeMeta::Make<float>()},    {GP_FLOAT64, TypeMeta::Make<double>()},
        {GP_FLOAT16, TypeMeta::Make<at::Half>()}, {GP_UINT8, TypeMeta::Make<uint8_t>()},
        {GP_INT8, TypeMeta::Make<int8_t>()},      {GP_UINT16, TypeMeta::Make<uint16_t>()},
        {GP_INT16, TypeMeta::Make<int16_t>()},    {GP_INT32, TypeMeta::Make<int32_t>()},
        {GP_INT64, TypeMeta::Make<int64_t>()},    {GP_BOOL, TypeMeta::Make<bool>()},
    };
    for (const auto &type : types)
        if (is_it(type.first, type.second))
            return &type;
    return nullptr;
}

/* --- the bridge ------------------------------------------------------------------------ */

struct c2_workspace {
    caffe2::PredictorConfig config;
    std::map<std::string, tensor_ptr> inputs; /* blobs refer to them */
};

static const char net_name[] = "net"; /* as the plug-in has named it */

static enum gp_status start(struct gp_error *err)
{
    static char program[] = "graphpipe", quiet[] = "--caffe2_log_level=3";
    static char *words[] = {program, quiet, nullptr};
    return guard(err, GP_UNAVAILABLE, [] {
        int n_words = 2;
        char **argv = words;
        if (!caffe2::GlobalInit(&n_words, &argv))
            throw c2_refusal("Caffe2 does not start");
        /* a message with a trace of the stack takes a second */
        c10::SetStackTraceFetcher([] { return std::string(); });
    });
}

static int has_operator(const char *type)
{
    return caffe2::CPUOperatorRegistry()->Has(type);
}

static void parse(const void *bytes, size_t size_bytes, const char *what,
                  caffe2::NetDef *net)
{
    const std::string text(static_cast<const char *>(bytes), size_bytes);
    if (!caffe2::ParseProtoFromLargeString(
            text, reinterpret_cast<google::protobuf::Message *>(net)))
        throw c2_refusal(std::string(what) + " is no net of Caffe2");
}

static enum gp_status open_nets(const void *init_bytes, size_t init_size,
                                const void *predict_bytes, size_t predict_size,
                                struct c2_workspace **workspace, struct gp_error *err)
{
    return guard(err, GP_INVALID, [&] {
        caffe2::NetDef init, predict;
        parse(init_bytes, init_size, "the init net", &init);
        parse(predict_bytes, predict_size, "the predict net", &predict);
        auto made = std::make_unique<c2_workspace>();
        made->config = caffe2::makePredictorConfig(init, predict, nullptr, true, 0);
        *workspace = made.release();
    });
}

static void close_nets(struct c2_workspace *workspace)
{
    delete workspace;
}

static void *set_input(struct c2_workspace *workspace, const char *name,
                       enum gp_dtype dtype, const int64_t *shape, uint32_t rank,
                       struct gp_error *err)
{
    void *data = nullptr;
    (void)guard(err, GP_INVALID, [&] {
        const auto *type = find_type(
            [&](enum gp_dtype each, const caffe2::TypeMeta &) { return each == dtype; });
        if (!type)
            throw c2_refusal(std::string("Caffe2 has no type ") + gp_dtype_name(dtype));
        tensor_ptr &tensor = workspace->inputs[name];
        tensor = c10::make_intrusive<c10::TensorImpl, c10::UndefinedTensorImpl>(
            c10::Storage::create_legacy(c10::kCPU), c10::DispatchKey::CPU, type->second);
        tensor->Resize(std::vector<int64_t>(shape, shape + rank));
        data = tensor->raw_mutable_data(type->second);
        if (!data) /* of an empty one */
            data = &tensor;
        workspace->config.ws->CreateBlob(name)->ShareExternal(
            &tensor, caffe2::TypeMeta::Make<caffe2::Tensor>());
    });
    return data;
}

static enum gp_status create_net(struct c2_workspace *workspace, struct gp_error *err)
{
    return guard(err, GP_INVALID, [&] {
        if (!workspace->config.ws->CreateNet(workspace->config.predict_net, false))
            throw c2_refusal("Caffe2 cannot make the net's operators");
    });
}

static enum gp_status run_net(struct c2_workspace *workspace, uint32_t n_threads,
                              struct gp_error *err)
{
    return guard(err, GP_ENGINE, [&] {
        at::set_num_threads(static_cast<int>(n_threads));
        if (!workspace->config.ws->RunNet(net_name))
            throw c2_refusal("an operator failed, and does not say why");
    });
}

static enum gp_status get_output(struct c2_workspace *workspace, const char *name,
                                 struct gp_tensor *tensor, struct gp_error *err)
{
    return guard(err, GP_ENGINE, [&] {
        const std::string what = std::string("output \"") + name + "\"";
        const caffe2::Blob *blob = workspace->config.ws->GetBlob(name);
        if (!blob || !blob->meta().Match<caffe2::Tensor>())
            throw c2_refusal(what +
                             " came as something else than a tensor, and cannot be sent");
        const tensor_ptr &from = *static_cast<const tensor_ptr *>(blob->GetRaw());
        if (gp_shape_count(from->sizes().data(), static_cast<uint32_t>(from->dim())) !=
            from->numel())
            throw c2_refusal(what + " came with a shape that cannot be");
        const auto *type = find_type([&](enum gp_dtype, const caffe2::TypeMeta &each) {
            return each == from->dtype();
        });
        if (!type || (from->numel() != 0 && !from->storage_initialized()))
            throw c2_refusal(what +
                             " came without values, or of a type that GraphPipe lacks");
        *tensor = gp_tensor_view(type->first, from->sizes().data(),
                                 static_cast<uint32_t>(from->dim()),
                                 from->numel() ? from->data() : nullptr);
    });
}

extern "C" __attribute__((visibility("default"))) const struct c2_bridge *
caffe2_bridge_entry()
{
    static const struct c2_bridge bridge = {"1.7.1",    start,      has_operator,
                                            open_nets,  close_nets, set_input,
                                            create_net, run_net,    get_output};
    return &bridge;
}
