#include "forked.h"

#include "live.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int orders; /* the child's end */

char forked_take_order(void)
{
    char order = '\0';
    return read(orders, &order, 1) == 1 ? order : '\0';
}

void forked_order(const struct forked *child, char order)
{
    assert_int_equal(write(child->orders, &order, 1), 1);
}

void forked_begin(struct forked *child, int (*serve)(void))
{
    int says[2], gets[2];
    *child = (struct forked){0};
    assert_int_equal(pipe(says), 0);
    assert_int_equal(pipe(gets), 0);
    fflush(NULL);
    child->pid = fork();
    assert_true(child->pid >= 0);
    if (child->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(says[1], STDERR_FILENO);
        orders = gets[0];
        close(says[0]);
        close(says[1]);
        close(gets[1]);
        exit(serve());
    }
    close(says[1]);
    close(gets[0]);
    child->says = says[0];
    child->orders = gets[1];
}

bool forked_listen(struct forked *child)
{
    struct pollfd entry = {.fd = child->says, .events = POLLIN};
    if (poll(&entry, 1, FORKED_PATIENCE_MS) != 1)
        fail_msg("it says nothing more than \"%s\"", child->text);
    const ssize_t n = read(child->says, child->text + child->size,
                           sizeof child->text - 1 - child->size);
    if (n > 0)
        child->size += (size_t)n;
    child->text[child->size] = '\0';
    return n > 0;
}

void forked_await(struct forked *child, const char *words)
{
    while (!strstr(child->text, words))
        if (!forked_listen(child))
            fail_msg("no \"%s\" in \"%s\"", words, child->text);
}

unsigned forked_count(const struct forked *child, const char *words)
{
    unsigned n = 0;
    for (const char *at = child->text; (at = strstr(at, words)); at++)
        n++;
    return n;
}

void forked_signal(const struct forked *child, int number)
{
    assert_int_equal(kill(child->pid, number), 0);
}

/* The number of that name in /proc/PID/status, which `format` reads. */
static unsigned long read_status(const struct forked *child, const char *name,
                                 const char *format)
{
    char path[64], line[256];
    unsigned long number = 0;
    bool is_found = false;
    (void)snprintf(path, sizeof path, "/proc/%ld/status", (long)child->pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (!is_found && fgets(line, sizeof line, file))
        is_found = strncmp(line, name, strlen(name)) == 0 &&
                   sscanf(line + strlen(name), format, &number) == 1;
    fclose(file);
    assert_true(is_found);
    return number;
}

void forked_await_taken(const struct forked *child)
{
    for (int n_ms = 0; read_status(child, "ShdPnd:", "%lx"); n_ms++) {
        assert_true(n_ms < FORKED_PATIENCE_MS);
        poll(NULL, 0, 1);
    }
}

unsigned forked_count_threads(const struct forked *child)
{
    return (unsigned)read_status(child, "Threads:", "%lu");
}

void forked_await_threads(const struct forked *child, unsigned n)
{
    for (int n_ms = 0; forked_count_threads(child) > n; n_ms++) {
        assert_true(n_ms < FORKED_PATIENCE_MS);
        poll(NULL, 0, 1);
    }
}

void forked_exits(struct forked *child, int wanted)
{
    int status = 0;
    while (forked_listen(child)) {
    }
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != wanted)
        fail_msg("%#x instead of %d: \"%s\"", (unsigned)status, wanted, child->text);
    close(child->says);
    close(child->orders);
}

struct gp_server_options forked_options(void)
{
    static const char *const any_port[] = {"127.0.0.1:0"};
    static const int64_t any_size[] = {-1};
    static const struct gp_io x = {
        .name = "x", .shape = any_size, .rank = 1, .dtype = GP_UINT8};
    static const struct gp_io y = {
        .name = "y", .shape = any_size, .rank = 1, .dtype = GP_UINT8};
    static const struct gp_metadata metadata = {
        .inputs = &x, .n_inputs = 1, .outputs = &y, .n_outputs = 1};
    struct gp_server_options options = live_options();
    options.listen = any_port;
    options.metadata = &metadata;
    return options;
}

int forked_connect(struct forked *child)
{
    static const char listening[] = "listening on http://127.0.0.1:";
    const struct timeval patience = {.tv_sec = FORKED_PATIENCE_MS / 1000};
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    forked_await(child, "graphpipe inspect");
    const char *at = strstr(child->text, listening);
    assert_non_null(at);
    in.sin_port = htons((uint16_t)atoi(at + sizeof listening - 1));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (const void *)&in, sizeof in), 0);
    return fd;
}
