#include "played_child.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static pid_t start_process(void)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test crash */
        for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
            close(fd); /* else a socket that the test closes stays open */
        for (;;)
            pause();
    }
    return pid;
}

void played_begin(struct played_child *played, struct isolate *isolate, uint32_t slot)
{
    struct child *child = &isolate->children[slot];
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *played = (struct played_child){.child = child,
                                    .fd = fds[1],
                                    .process = start_process(),
                                    .link.fd = fds[1],
                                    .arena = gp_arena_create()};
    child->isolate = isolate;
    child->slot = slot;
    child->link.fd = fds[0];
    child->pid = played->process;
    child->output.fd = -1;
    child->cancel_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    child->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

void played_end(struct played_child *played)
{
    struct child *child = played->child;
    if (child->pid)
        spawn_discard(child);
    if (child->link.fd >= 0)
        close(child->link.fd);
    record_link_finish(&child->link);
    output_close(child);
    text_finish(&child->out);
    close(child->cancel_fd);
    close(child->wake_fd);
    free(child->taken);
    played_leave(played);
    record_link_finish(&played->link);
    text_finish(&played->out);
    gp_arena_destroy(played->arena);
}

void played_leave(struct played_child *played)
{
    if (played->fd >= 0)
        close(played->fd);
    played->fd = -1;
}

void played_say(struct played_child *played)
{
    assert_true(record_end(&played->out));
    assert_true(record_send_all(played->fd, &played->out));
}

void played_say_log(struct played_child *played, enum gp_log_level level,
                    const char *message)
{
    record_begin(&played->out, RECORD_LOG, 0);
    record_put_u32(&played->out, (uint32_t)level);
    record_put_text(&played->out, message);
    played_say(played);
}

struct record played_hear(struct played_child *played)
{
    struct record record;
    assert_int_equal(record_wait(&played->link, &record), RECORD_WHOLE);
    assert_true(record_keep(&record, played->arena));
    return record;
}

uint64_t played_get_place(struct played_child *played, uint64_t size_bytes)
{
    struct gp_error err;
    record_begin(&played->out, RECORD_ALLOC, played->child->run_id);
    record_put_u64(&played->out, size_bytes);
    played_say(played);
    struct record record = played_hear(played);
    if (record.type == RECORD_PLACE)
        return record_u64(&record);
    assert_int_equal(record.type, RECORD_FAILED);
    assert_int_equal(record_failure(&record, &err), GP_NO_MEMORY);
    assert_string_equal(err.message, "no memory for an output");
    return UINT64_MAX;
}

unsigned char *played_at_place(struct played_child *played, uint64_t offset)
{
    const struct isolate *isolate = played->child->isolate;
    return pool_range(isolate->pool, isolate->memory.outputs)->base + offset;
}

void played_begin_done(struct played_child *played, uint32_t n)
{
    record_begin(&played->out, RECORD_DONE, played->child->run_id);
    record_put_u32(&played->out, n);
}

void played_put_output(struct played_child *played, enum gp_dtype dtype, int64_t n,
                       uint64_t offset)
{
    static const unsigned char bytes[4096] = {0};
    const struct gp_tensor tensor = gp_tensor_view(dtype, &n, 1, bytes);
    record_put_tensor(&played->out, &tensor, offset);
}

void played_say_failed(struct played_child *played, enum gp_status status,
                       const char *message)
{
    record_begin(&played->out, RECORD_FAILED, played->child->run_id);
    record_put_u32(&played->out, status);
    record_put_text(&played->out, message);
    played_say(played);
}
