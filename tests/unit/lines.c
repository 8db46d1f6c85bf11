#include "lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The line has to hold what the wanted one does between its "*"s. */
static bool fits(const char *line, size_t n, const char *wanted, size_t n_wanted)
{
    const char *star = memchr(wanted, '*', n_wanted);
    if (!star)
        return n == n_wanted && memcmp(line, wanted, n) == 0;
    const size_t n_first = (size_t)(star - wanted), n_rest = n_wanted - n_first - 1;
    if (n < n_first || memcmp(line, wanted, n_first) != 0)
        return false;
    for (size_t skip = n_first; skip <= n; skip++)
        if (fits(line + skip, n - skip, star + 1, n_rest))
            return true;
    return false;
}

void assert_lines(const char *text, const char *wanted)
{
    const char *line = text;
    for (const char *at = wanted; *at || *line;) {
        const size_t n = strcspn(line, "\n"), n_wanted = strcspn(at, "\n");
        if (!fits(line, n, at, n_wanted))
            fail_msg("wanted %.*s in\n%s", (int)n_wanted, at, text);
        line += n + (line[n] == '\n');
        at += n_wanted + (at[n_wanted] == '\n');
    }
}
