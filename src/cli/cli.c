/* Shared by the subcommands: messages, output and small conveniences. */
#include "cli/cli.h"

#include <stdarg.h>
#include <string.h>

/* Lines of our own, which may quote names and messages from other machines. */
static void show_lines(struct text *shown, const char *bytes, size_t size_bytes)
{
    while (size_bytes) {
        const char *end = memchr(bytes, '\n', size_bytes);
        const size_t size = end ? (size_t)(end - bytes) : size_bytes;
        text_show(shown, bytes, size);
        if (!end)
            return;
        text_puts(shown, "\n");
        bytes = end + 1;
        size_bytes -= size + 1;
    }
}

/* One write for the whole line, so that lines of other threads and processes do not mix
 * in. */
static void say(const char *prefix, const char *format, va_list args)
{
    struct text line = {0}, shown = {0};
    text_puts(&line, prefix);
    text_vprintf(&line, format, args);
    text_puts(&line, "\n");
    show_lines(&shown, line.data, line.size_bytes);
    (void)fflush(stdout);
    if (shown.size_bytes && !line.is_short)
        (void)fwrite(shown.data, 1, shown.size_bytes, stderr);
    text_finish(&shown);
    text_finish(&line);
}

int cli_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("graphpipe: ", format, args);
    va_end(args);
    return CLI_FAILED;
}

int cli_misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("graphpipe: ", format, args);
    va_end(args);
    return CLI_USAGE;
}

int cli_broken(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("error: ", format, args);
    va_end(args);
    return CLI_FAILED;
}

void cli_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("graphpipe: warning: ", format, args);
    va_end(args);
}

bool cli_flush(struct text *text)
{
    struct text shown = {0};
    show_lines(&shown, text->data, text->size_bytes);
    if (shown.size_bytes)
        (void)fwrite(shown.data, 1, shown.size_bytes, stdout);
    const bool is_whole = !text->is_short && !shown.is_short;
    text_finish(&shown);
    text->size_bytes = 0;
    return is_whole;
}

const char *cli_address(struct gp_arena *arena, const char *word)
{
    if (strstr(word, "://") || strncmp(word, "unix:", 5) == 0)
        return word;
    static const char here[] = "http://127.0.0.1";
    char *address = gp_arena_alloc(arena, strlen(word) + sizeof here);
    if (address)
        (void)sprintf(address, "%s%s", *word == ':' ? here : "http://", word);
    return address ? address : word;
}

size_t cli_width(const char *bytes, size_t size_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < size_bytes; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

void cli_pad(struct text *text, size_t line_start, size_t width)
{
    const size_t used =
        text->data ? cli_width(text->data + line_start, text->size_bytes - line_start)
                   : 0;
    text_printf(text, "%*s", used + 2 < width ? (int)(width - used) : 2, "");
}
