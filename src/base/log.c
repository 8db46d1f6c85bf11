/* Text lines are for people: warnings and errors begin with the time, lines about the start do
 * not. JSON lines have the same facts, one object per line. log_thread.c writes them. */
#include "base/log.h"

#include "base/log_thread.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};

enum { HAND_OVER_BYTES = 4096, LONG_LINE_BYTES = 512 };

/* Of a message, before escaping. */
enum { MAX_MESSAGE_BYTES = 2048 };

void log_put_time(struct log_lines *lines)
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

void log_gather(struct log *log, struct log_lines *lines)
{
    if (lines->text.size_bytes + LONG_LINE_BYTES > HAND_OVER_BYTES ||
        lines->text.is_short)
        log_write(log, lines);
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

    /* without the whole message there is no line */
    struct log_lines line = {.text.is_short = message.is_short};
    struct text *text = &line.text;
    if (log->format == GP_LOG_JSON) {
        text_puts(text, "{\"time\":\"");
        log_put_time(&line);
        text_printf(text, "\",\"level\":\"%s\",\"message\":", level_names[level]);
        text_json(text, message.data, message.size_bytes);
        text_puts(text, "}\n");
    } else {
        if (level < GP_LOG_INFO) {
            log_put_time(&line);
            text_printf(text, " %s: ", level_names[level]);
        }
        text_show(text, message.data, message.size_bytes);
        text_puts(text, "\n");
    }
    text_finish(&message);
    log_write(log, &line);
    log_lines_finish(&line);
}
