// official_verify KIND FILE: success when FlatBuffers' own verifier finds FILE to be a
// valid message of that kind, request, response or metadata. Compiled by the tests, where
// the library is installed.
#include "ours_generated.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    std::ifstream file(argv[2], std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t *>(bytes.data()),
                                   bytes.size());
    bool is_valid;
    if (!std::strcmp(argv[1], "request"))
        is_valid = verifier.VerifyBuffer<ours::Request>(nullptr);
    else if (!std::strcmp(argv[1], "response"))
        is_valid = verifier.VerifyBuffer<ours::InferResponse>(nullptr);
    else
        is_valid = verifier.VerifyBuffer<ours::MetadataResponse>(nullptr);
    return is_valid ? 0 : 1;
}
