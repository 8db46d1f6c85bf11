/* Passes on what a child prints through the server, so that a log whose reader stalls or
 * has gone never blocks or ends a child: each child has a pipe that the supervisor always
 * reads. Its lines become lines of the log, short ones and not too many a second; a child
 * cannot forge other lines. */
#include "engine/isolate_child.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { LINES_A_SECOND = 200, READS_AT_A_TIME = 16 };

bool output_open(struct child *child, int *end_fd)
{
    struct child_output *output = &child->output;
    int ends[2];
    output_close(child);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK); /* of our end only */
    output->fd = ends[0];
    *end_fd = ends[1];
    return true;
}

/* Begins a new second when the last one is over. */
static void begin_second(struct child *child)
{
    struct child_output *output = &child->output;
    const int64_t now = clock_now_ns();
    if (now < output->second_ends_ns)
        return;
    if (output->n_left_out)
        isolate_log(child->isolate, GP_LOG_WARNING,
                    "slot %u prints too much: %lu lines were left out", child->slot,
                    output->n_left_out);
    output->second_ends_ns = now + CLOCK_S;
    output->n_lines = 0;
    output->n_left_out = 0;
}

static void end_line(struct child *child)
{
    struct child_output *output = &child->output;
    if (!output->n_bytes)
        return;
    begin_second(child);
    output->line[output->n_bytes] = '\0';
    if (output->n_lines++ < LINES_A_SECOND)
        isolate_log(child->isolate, GP_LOG_INFO, "slot %u: %s%s", child->slot,
                    output->line, output->is_cut ? "..." : "");
    else
        output->n_left_out++;
    output->n_bytes = 0;
    output->is_cut = false;
}

static void take_byte(struct child *child, char byte)
{
    struct child_output *output = &child->output;
    if (byte == '\n' || byte == '\r')
        end_line(child);
    else if (!output->is_cut &&
             gp_text_has_room(byte, output->n_bytes, sizeof output->line))
        output->line[output->n_bytes++] = byte ? byte : '?';
    else
        output->is_cut = true;
}

void output_read(struct child *child)
{
    struct child_output *output = &child->output;
    char bytes[4096];
    for (int i = 0; i < READS_AT_A_TIME && output->fd >= 0; i++) {
        const ssize_t n = read(output->fd, bytes, sizeof bytes);
        for (ssize_t at = 0; at < n; at++)
            take_byte(child, bytes[at]);
        if (n == 0) {
            end_line(child);
            close(output->fd);
            output->fd = -1;
        }
        if (n <= 0)
            return;
    }
}

int64_t output_due_ns(struct child *child)
{
    if (!child->output.n_left_out)
        return INT64_MAX;
    begin_second(child);
    return child->output.n_left_out ? child->output.second_ends_ns : INT64_MAX;
}

void output_close(struct child *child)
{
    struct child_output *output = &child->output;
    output_read(child);
    end_line(child);
    output->second_ends_ns = 0;
    begin_second(child);
    if (output->fd >= 0)
        close(output->fd);
    output->fd = -1;
}
