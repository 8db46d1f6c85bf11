/* Two saved results side by side. A machine's noise moves whole seconds, so the spread is
 * taken over the slices of time: the ratio is that of the medians, and it may be off by
 * what lies between the quartiles of both. A difference within that is none. */
#include "cli/bench.h"

#include "cli/cli.h"
#include "cli/file.h"
#include "cli/json_read.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_COLUMN = 16, VALUE_WIDTH = 12 };

struct metric {
    const char *name;   /* in the table */
    const char *member; /* of a slice */
    bool is_us;
};

static const struct metric metrics[] = {
    {"requests/s", "requests_per_s", false}, {"rows/s", "rows_per_s", false},
    {"latency p50", "p50_us", true},         {"latency p99", "p99_us", true},
    {"CPU/request", "server_cpu_us", true},
};

struct quartiles {
    double low, median, high;
    size_t n;
};

static int order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between the values where none lies at the place. */
static double value_at(const double *sorted, size_t n, double fraction)
{
    const double place = fraction * (double)(n - 1);
    const size_t below = (size_t)place;
    const size_t above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

static struct quartiles read_quartiles(struct gp_arena *arena, const struct json *result,
                                       const char *member)
{
    const struct json *slices = json_member(result, "slices", JSON_ARRAY);
    size_t n = 0;
    for (const struct json *at = slices ? slices->first : NULL; at; at = at->next)
        n++;
    double *values = gp_arena_alloc(arena, n * sizeof *values);
    struct quartiles found = {0};
    for (const struct json *at = slices && values ? slices->first : NULL; at;
         at = at->next)
        if (json_member(at, member, JSON_NUMBER))
            values[found.n++] = json_number(at, member, 0);
    if (found.n == 0)
        return found;
    qsort(values, found.n, sizeof *values, order);
    found.low = value_at(values, found.n, 0.25);
    found.median = value_at(values, found.n, 0.5);
    found.high = value_at(values, found.n, 0.75);
    return found;
}

static void write_value(struct text *text, const struct metric *metric, double value)
{
    char cell[32];
    if (metric->is_us)
        (void)bench_format_ns(cell, sizeof cell, value * 1000);
    else
        (void)snprintf(cell, sizeof cell, "%.*f", value < 1000 ? 1 : 0, value);
    text_printf(text, "%*s", VALUE_WIDTH, cell);
}

static void write_metric(struct text *text, struct gp_arena *arena,
                         const struct metric *metric, const struct json *a,
                         const struct json *b)
{
    const struct quartiles of_a = read_quartiles(arena, a, metric->member);
    const struct quartiles of_b = read_quartiles(arena, b, metric->member);
    const size_t start = text->size_bytes;
    if (of_a.n == 0 || of_b.n == 0 || of_a.low <= 0)
        return;
    const double low = of_b.low / of_a.high, high = of_b.high / of_a.low;
    text_puts(text, metric->name);
    cli_pad(text, start, NAME_COLUMN);
    write_value(text, metric, of_a.median);
    write_value(text, metric, of_b.median);
    text_printf(text, "%*.3f   %.3f to %.3f", VALUE_WIDTH, of_b.median / of_a.median, low,
                high);
    text_puts(text, of_a.n < 4 || of_b.n < 4 ? "  too few slices to tell\n"
                    : low <= 1 && high >= 1  ? "  within the spread\n"
                                             : "\n");
}

static void write_errors(struct text *text, const struct json *a, const struct json *b)
{
    const size_t start = text->size_bytes;
    text_puts(text, "errors");
    cli_pad(text, start, NAME_COLUMN);
    text_printf(text, "%*.0f%*.0f\n", VALUE_WIDTH,
                json_number(json_member(a, "total", JSON_OBJECT), "failed", 0),
                VALUE_WIDTH,
                json_number(json_member(b, "total", JSON_OBJECT), "failed", 0));
}

static bool is_same(const struct json *a, const struct json *b)
{
    if (!b)
        return false;
    return a->kind == JSON_STRING ? strcmp(a->string, b->string) == 0
                                  : a->number == b->number && a->is_true == b->is_true;
}

/* Names what was measured differently, which may well be the point of it. */
static void write_differences(struct text *text, const char *part, const struct json *a,
                              const struct json *b)
{
    const struct json *ours = json_member(a, part, JSON_OBJECT);
    const struct json *theirs = json_member(b, part, JSON_OBJECT);
    for (const struct json *at = ours ? ours->first : NULL; at; at = at->next)
        if (!is_same(at, json_member(theirs, at->name, at->kind))) {
            text_printf(text, "note: %s.", part);
            text_foreign_puts(text, at->name);
            text_puts(text, " is not the same\n");
        }
}

static enum gp_status read_result(struct gp_arena *arena, const char *path,
                                  const struct json **result, struct gp_error *err)
{
    struct file file;
    struct gp_error why;
    if (file_open(&file, path, err) != GP_OK)
        return err->status;
    enum gp_status status = json_read(arena, file.data, file.size_bytes, result, &why);
    file_close(&file);
    if (status == GP_OK && (json_number(*result, "graphpipe_bench", 0) != 1 ||
                            !json_member(*result, "slices", JSON_ARRAY)))
        status = gp_error_set(&why, GP_MALFORMED, "no result of graphpipe bench");
    return status == GP_OK ? GP_OK
                           : gp_error_set(err, status, "%.*s: %s", gp_cut(path, 300),
                                          path, why.message);
}

enum gp_status bench_compare(struct text *text, struct gp_arena *arena,
                             const char *path_a, const char *path_b, struct gp_error *err)
{
    const struct json *a = NULL, *b = NULL;
    enum gp_status status = read_result(arena, path_a, &a, err);
    if (status == GP_OK)
        status = read_result(arena, path_b, &b, err);
    if (status != GP_OK)
        return status;
    text_printf(text, "A  %s\nB  %s\n", path_a, path_b);
    text_printf(text, "%*s%*s%*s   spread\n", NAME_COLUMN + VALUE_WIDTH, "A", VALUE_WIDTH,
                "B", VALUE_WIDTH, "B/A");
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        write_metric(text, arena, &metrics[i], a, b);
    write_errors(text, a, b);
    write_differences(text, "settings", a, b);
    write_differences(text, "request", a, b);
    return GP_OK;
}
