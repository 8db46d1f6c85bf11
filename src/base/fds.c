#include "base/fds.h"

#include <fcntl.h>
#include <unistd.h>

bool fds_hold_standard(void)
{
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++) {
        if (fcntl(number, F_GETFD) >= 0)
            continue;
        /* The lowest free number, which is this one unless another thread was faster. */
        const int fd = open("/dev/null", number == STDERR_FILENO ? O_RDWR : O_RDONLY);
        if (fd < 0)
            return false;
        if (fd > STDERR_FILENO)
            close(fd);
    }
    return true;
}
