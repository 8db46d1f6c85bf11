/* What the subcommands share: messages, output and small conveniences. */
#include "cli/cli.h"

#include <stdarg.h>
#include <string.h>

/* Names and messages come from other machines, and control characters in them could drive
 * the terminal. JSON has escaped its own. */
static void tame(char *bytes, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        if (((unsigned char)bytes[i] < ' ' && bytes[i] != '\n') || bytes[i] == 0x7f)
            bytes[i] = '?';
}

/* One write for the whole line, so that lines of other threads and processes do not mix
 * in. */
static void say(const char *prefix, const char *format, va_list args)
{
    char line[1024];
    int n = snprintf(line, sizeof line, "%s", prefix);
    const int room = (int)sizeof line - n - 1;
    const int more = vsnprintf(line + n, (size_t)room, format, args);
    n += more < 0 ? 0 : more < room ? more : room - 1;
    line[n++] = '\n';
    tame(line, (size_t)n);
    (void)fflush(stdout);
    (void)fwrite(line, 1, (size_t)n, stderr);
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
    tame(text->data, text->size_bytes);
    if (text->size_bytes)
        (void)fwrite(text->data, 1, text->size_bytes, stdout);
    text->size_bytes = 0;
    return !text->is_short;
}

const char *cli_address(struct gp_arena *arena, const char *word)
{
    if (strstr(word, "://") || strncmp(word, "unix:", 5) == 0)
        return word;
    char *address = gp_arena_alloc(arena, strlen(word) + sizeof "http://");
    if (address)
        (void)sprintf(address, "http://%s", word);
    return address ? address : word;
}

void cli_pad(struct text *text, size_t line_start, size_t width)
{
    const size_t used = text->size_bytes - line_start;
    text_printf(text, "%*s", used + 2 < width ? (int)(width - used) : 2, "");
}
