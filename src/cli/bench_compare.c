/* Compares two saved results. The noise of a machine moves whole seconds, so the spread
 * is taken over the slices of time: the ratio is that of the medians, and its error is
 * what lies between the quartiles of both. A difference within that range means
 * nothing. */
#include "cli/bench.h"

#include "cli/cli.h"
#include "cli/json_doc.h"

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

/* Interpolates if the position falls between two values. */
static double value_at(const double *sorted, size_t n, double fraction)
{
    const double place = fraction * (double)(n - 1);
    const size_t below = (size_t)place;
    const size_t above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

static struct quartiles read_quartiles(struct gp_arena *arena, yyjson_val *result,
                                       const char *member)
{
    yyjson_val *slices = yyjson_obj_get(result, "slices");
    double *values = gp_arena_alloc(arena, yyjson_arr_size(slices) * sizeof *values);
    struct quartiles found = {0};
    yyjson_arr_iter at = yyjson_arr_iter_with(slices);
    while (values && yyjson_arr_iter_has_next(&at)) {
        yyjson_val *value = yyjson_obj_get(yyjson_arr_iter_next(&at), member);
        if (yyjson_is_num(value))
            values[found.n++] = yyjson_get_num(value);
    }
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
                         const struct metric *metric, yyjson_val *a, yyjson_val *b)
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

static double count_failed(yyjson_val *result)
{
    return yyjson_get_num(yyjson_obj_get(yyjson_obj_get(result, "total"), "failed"));
}

static void write_errors(struct text *text, yyjson_val *a, yyjson_val *b)
{
    const size_t start = text->size_bytes;
    text_puts(text, "errors");
    cli_pad(text, start, NAME_COLUMN);
    text_printf(text, "%*.0f%*.0f\n", VALUE_WIDTH, count_failed(a), VALUE_WIDTH,
                count_failed(b));
}

/* Names the settings that differ, which may well be the point of the comparison. */
static void write_differences(struct text *text, const char *part, yyjson_val *a,
                              yyjson_val *b)
{
    yyjson_val *theirs = yyjson_obj_get(b, part);
    yyjson_obj_iter at = yyjson_obj_iter_with(yyjson_obj_get(a, part));
    while (yyjson_obj_iter_has_next(&at)) {
        yyjson_val *key = yyjson_obj_iter_next(&at);
        const char *name = yyjson_get_str(key);
        if (yyjson_equals(yyjson_obj_iter_get_val(key), yyjson_obj_get(theirs, name)))
            continue;
        text_printf(text, "note: %s.", part);
        text_foreign_puts(text, name);
        text_puts(text, " differs\n");
    }
}

static enum gp_status open_result(struct json_doc *result, struct gp_arena *arena,
                                  const char *path, struct gp_error *err)
{
    if (json_doc_open(result, path, arena, err) != GP_OK)
        return err->status;
    yyjson_val *root = yyjson_doc_get_root(result->doc);
    if (yyjson_get_num(yyjson_obj_get(root, "graphpipe_bench")) == 1 &&
        yyjson_is_arr(yyjson_obj_get(root, "slices")))
        return GP_OK;
    return gp_error_set(err, GP_MALFORMED, "%.*s: not a result of graphpipe bench",
                        gp_cut(path, 300), path);
}

static void compare(struct text *text, struct gp_arena *arena, yyjson_val *a,
                    yyjson_val *b)
{
    text_printf(text, "%*s%*s%*s   spread\n", NAME_COLUMN + VALUE_WIDTH, "A", VALUE_WIDTH,
                "B", VALUE_WIDTH, "B/A");
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        write_metric(text, arena, &metrics[i], a, b);
    write_errors(text, a, b);
    write_differences(text, "settings", a, b);
    write_differences(text, "request", a, b);
}

enum gp_status bench_compare(struct text *text, struct gp_arena *arena,
                             const char *path_a, const char *path_b, struct gp_error *err)
{
    struct json_doc a = {0}, b = {0};
    enum gp_status status = open_result(&a, arena, path_a, err);
    if (status == GP_OK)
        status = open_result(&b, arena, path_b, err);
    if (status == GP_OK) {
        text_printf(text, "A  %s\nB  %s\n", path_a, path_b);
        compare(text, arena, yyjson_doc_get_root(a.doc), yyjson_doc_get_root(b.doc));
    }
    json_doc_close(&b);
    json_doc_close(&a);
    return status;
}
