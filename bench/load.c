/* The limit under a server's start with an ONNX model: what ONNX Runtime alone takes to be
 * loaded and to open the sessions that engines/onnx would open (engines/onnx/
 * onnx_session.c), a wide and a narrow one at once. Whoever starts it takes the time.
 *
 *   load LIBRARY MODEL N_CORES      says "ready" and ends */
/* of ort_bench.h, what runs a model is not needed here */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "ort_bench.h"

#include <pthread.h>
#include <unistd.h>

static void *open_narrow(void *path)
{
    return open_session(path, 1, 0);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: load LIBRARY MODEL N_CORES\n");
        return 2;
    }
    const int n_cores = atoi(argv[3]);
    pthread_t thread;
    load_runtime(argv[1]);
    const int has_narrow =
        n_cores > 1 && pthread_create(&thread, NULL, open_narrow, argv[2]) == 0;
    (void)open_session(argv[2], n_cores, 0);
    if (has_narrow)
        pthread_join(thread, NULL);
    (void)!write(STDOUT_FILENO, "ready\n", 6);
    _exit(0); /* what it would take to end is nobody's question */
}
