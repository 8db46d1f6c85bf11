/* Text lines are for people: warnings, errors and access lines begin with the time, the
 * lines of the start do not. JSON lines carry the same facts, one object a line. log_thread.c
 * writes them. */
#include "base/log.h"

#include "base/log_thread.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};

enum { HAND_OVER_BYTES = 4096, LONG_LINE_BYTES = 512 };

/* Of a message, and of a target, before what cannot be seen of it is escaped. */
enum { MAX_MESSAGE_BYTES = 2048, MAX_TARGET_BYTES = 1024 };

/* The date is made once a second. */
static void put_time(struct log_lines *lines)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != lines->second) {
        lines->second = now.tv_sec;
        gmtime_r(&now.tv_sec, &utc);
        strftime(lines->stamp, sizeof lines->stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    }
    const long ms = now.tv_nsec / 1000000;
    const char rest[] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
                         (char)('0' + ms % 10), 'Z'};
    text_puts(&lines->text, lines->stamp);
    text_add(&lines->text, rest, sizeof rest);
}

void log_write(struct log *log, struct log_lines *lines)
{
    struct text *text = &lines->text;
    if (!text->size_bytes && !text->is_short)
        return;
    log_add(log, text);
    text->size_bytes = 0;
    if (text->is_short || text->capacity_bytes > (size_t)2 * HAND_OVER_BYTES)
        text_finish(text);
}

void log_lines_finish(struct log_lines *lines)
{
    text_finish(&lines->text);
}

void log_line(struct log *log, enum gp_log_level level, const char *format, ...)
{
    if (log->fd <= 0 || level > log->level)
        return;
    va_list args;
    struct text message = {0};
    va_start(args, format);
    text_vprintf(&message, format, args);
    va_end(args);
    message.size_bytes = gp_text_cut(message.data, message.size_bytes, MAX_MESSAGE_BYTES);

    struct log_lines line = {0};
    struct text *text = &line.text;
    if (log->format == GP_LOG_JSON) {
        text_puts(text, "{\"time\":\"");
        put_time(&line);
        text_printf(text, "\",\"level\":\"%s\",\"message\":", level_names[level]);
        text_json(text, message.data, message.size_bytes);
        text_puts(text, "}\n");
    } else {
        if (level < GP_LOG_INFO) {
            put_time(&line);
            text_printf(text, " %s: ", level_names[level]);
        }
        text_show(text, message.data, message.size_bytes);
        text_puts(text, "\n");
    }
    text->is_short |= message.is_short;
    text_finish(&message);
    log_write(log, &line);
    log_lines_finish(&line);
}

void log_put_peer(struct text *text, const struct sockaddr_in6 *peer)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (peer->sin6_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)peer;
        const unsigned char *bytes = (const unsigned char *)&in->sin_addr;
        for (int i = 0; i < 4; i++) {
            text_number(text, bytes[i]);
            text_puts(text, i < 3 ? "." : ":");
        }
        text_number(text, ntohs(in->sin_port));
    } else if (peer->sin6_family == AF_INET6) {
        inet_ntop(AF_INET6, &peer->sin6_addr, host, sizeof host);
        text_printf(text, "[%s]:%u", host, ntohs(peer->sin6_port));
    } else {
        text_puts(text, "unix");
    }
}

static size_t target_size(const struct log_access *access)
{
    return gp_text_cut(access->target, strlen(access->target), MAX_TARGET_BYTES);
}

static void put_json_access(struct log_lines *lines, const struct log_access *access)
{
    struct text *text = &lines->text;
    text_puts(text, "{\"time\":\"");
    put_time(lines);
    text_puts(text, "\",\"level\":\"debug\",\"peer\":\"");
    log_put_peer(text, access->peer);
    text_printf(text, "\",\"method\":\"%s\",\"target\":", access->method);
    text_json(text, access->target, target_size(access));
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
    text_puts(text, "}\n");
}

static void put_ms(struct text *text, const char *before, int64_t ns)
{
    const uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
    const char digits[] = {'.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
                           (char)('0' + us % 10)};
    text_puts(text, before);
    text_number(text, us / 1000);
    text_add(text, digits, sizeof digits);
}

/* Without printf: with it a line cost a tenth of a small request. */
static void put_text_access(struct log_lines *lines, const struct log_access *access)
{
    struct text *text = &lines->text;
    put_time(lines);
    text_puts(text, " ");
    log_put_peer(text, access->peer);
    text_puts(text, " ");
    text_puts(text, access->method);
    text_puts(text, " ");
    text_foreign(text, access->target, target_size(access));
    text_puts(text, " ");
    text_number(text, (uint64_t)access->status);
    text_puts(text, "  in ");
    text_number(text, access->received_bytes);
    text_puts(text, "  out ");
    text_number(text, access->sent_bytes);
    put_ms(text, " bytes  ", access->total_ns);
    put_ms(text, " ms (waited ", access->waited_ns);
    put_ms(text, ", ran ", access->ran_ns);
    text_puts(text, access->note[0] ? ")  " : ")");
    text_show(text, access->note, strlen(access->note));
    text_puts(text, "\n");
}

void log_access(struct log *log, struct log_lines *lines, const struct log_access *access)
{
    if (log->fd <= 0 || log->level < GP_LOG_DEBUG)
        return;
    if (log->format == GP_LOG_JSON)
        put_json_access(lines, access);
    else
        put_text_access(lines, access);
    if (lines->text.size_bytes + LONG_LINE_BYTES > HAND_OVER_BYTES ||
        lines->text.is_short)
        log_write(log, lines);
}
