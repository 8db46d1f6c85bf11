/* Around the example of tensor.h. */
#include <graphpipe/tensor.h>

int main(void)
{
#include "example.inc"
    return call.inputs[0].size_bytes == sizeof pixels ? 0 : 1;
}
