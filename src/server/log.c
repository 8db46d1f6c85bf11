/* Text lines are for people: warnings, errors and access lines begin with the time, the
 * lines of the start do not. JSON lines carry the same facts, one object a line. A line
 * that cannot be written is lost rather than waited for. */
#include "server/log.h"

#include "base/text.h"

#include <poll.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static void put_time(struct text *text)
{
    struct timespec now;
    struct tm utc;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    text_printf(text, "%s.%03ldZ", stamp, now.tv_nsec / 1000000);
}

/* A pipe that polls as writable takes a line (4096 bytes) without waiting. */
static void emit(const struct log *log, struct text *text)
{
    struct pollfd look = {.fd = log->fd, .events = POLLOUT};
    text_puts(text, "\n");
    if (!text->is_short && poll(&look, 1, 0) == 1 &&
        write(log->fd, text->data, text->size_bytes) < 0) {
        /* Nowhere to say it. */
    }
    text_finish(text);
}

void log_line(const struct log *log, enum gp_log_level level, const char *format, ...)
{
    if (log->fd <= 0 || level > log->level)
        return;
    char message[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);

    struct text text = {0};
    if (log->format == GP_LOG_JSON) {
        text_puts(&text, "{\"time\":\"");
        put_time(&text);
        text_printf(&text, "\",\"level\":\"%s\",\"message\":", level_names[level]);
        text_json_puts(&text, message);
        text_puts(&text, "}");
    } else {
        if (level < GP_LOG_INFO) {
            put_time(&text);
            text_printf(&text, " %s: ", level_names[level]);
        }
        text_puts(&text, message);
    }
    emit(log, &text);
}

static void put_json_access(struct text *text, const struct log_access *access)
{
    text_puts(text, "{\"time\":\"");
    put_time(text);
    text_puts(text, "\",\"level\":\"debug\",\"peer\":");
    text_json_puts(text, access->peer);
    text_printf(text, ",\"method\":\"%s\",\"target\":", access->method);
    text_json_puts(text, access->target);
    text_printf(
        text,
        ",\"status\":%d,\"received_bytes\":%llu,\"sent_bytes\":%llu,\"total_ms\":%.3f,"
        "\"waited_ms\":%.3f,\"ran_ms\":%.3f",
        access->status, (unsigned long long)access->received_bytes,
        (unsigned long long)access->sent_bytes, (double)access->total_ns / 1e6,
        (double)access->waited_ns / 1e6, (double)access->ran_ns / 1e6);
    if (access->note[0]) {
        text_puts(text, ",\"error\":");
        text_json_puts(text, access->note);
    }
    text_puts(text, "}");
}

void log_access(const struct log *log, const struct log_access *access)
{
    if (log->fd <= 0 || log->level < GP_LOG_DEBUG)
        return;
    struct text text = {0};
    if (log->format == GP_LOG_JSON) {
        put_json_access(&text, access);
    } else {
        put_time(&text);
        text_printf(
            &text,
            " %s %s %s %d  in %llu  out %llu bytes  %.3f ms (waited %.3f, ran %.3f)",
            access->peer, access->method, access->target, access->status,
            (unsigned long long)access->received_bytes,
            (unsigned long long)access->sent_bytes, (double)access->total_ns / 1e6,
            (double)access->waited_ns / 1e6, (double)access->ran_ns / 1e6);
        if (access->note[0])
            text_printf(&text, "  %s", access->note);
    }
    emit(log, &text);
}
