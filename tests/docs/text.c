/* Around the example of text.h. */
#include <graphpipe/text.h>

int main(void)
{
#include "example.inc"
    return 0;
}
