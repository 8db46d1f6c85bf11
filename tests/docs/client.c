/* Around the example of client.h: it asks a server that gives back what it gets. */
#include <graphpipe/client.h>

int main(void)
{
#include "example.inc"
    return scores ? 0 : 1;
}
