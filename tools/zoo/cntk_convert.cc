/* Has CNTK load a model of ONNX and save it as its own, or the other way around:
 *
 *     cntk_convert MODEL.onnx NET.model
 *     cntk_convert NET.model MODEL.onnx
 *
 * No package has CNTK's C++ headers, so the few declarations that this takes are here, as
 * release 2.7 has them; the linker finds them in libCntk.Core-2.7.so by their mangled
 * names. Names of files are ASCII. */
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

namespace CNTK
{
enum class DeviceKind : unsigned int { CPU, GPU };
enum class ModelFormat { CNTKv2, ONNX };

class DeviceDescriptor
{
    unsigned int id = 0;
    DeviceKind kind = DeviceKind::CPU;
};

class Function
{
  public:
    static std::shared_ptr<Function>
    Load(const std::wstring &path, const DeviceDescriptor &device, ModelFormat format);
    void Save(const std::wstring &path, ModelFormat format, bool has_arrays_apart);
};
} // namespace CNTK

static std::wstring widen(const char *text)
{
    const std::string narrow = text;
    return std::wstring(narrow.begin(), narrow.end());
}

static CNTK::ModelFormat format_of(const std::wstring &path)
{
    const std::wstring end = L".onnx";
    const bool is_onnx = path.size() > end.size() &&
                         path.compare(path.size() - end.size(), end.size(), end) == 0;
    return is_onnx ? CNTK::ModelFormat::ONNX : CNTK::ModelFormat::CNTKv2;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: cntk_convert FROM TO\n");
        return 2;
    }
    try {
        const std::wstring from = widen(argv[1]), to = widen(argv[2]);
        CNTK::Function::Load(from, {}, format_of(from))->Save(to, format_of(to), false);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "cntk_convert: %s\n", error.what());
        return 1;
    }
    return 0;
}
