/* The result as a table for people, and the progress line during the run. */
#include "cli/bench.h"

#include "base/clock.h"
#include "cli/cli.h"

enum { KEY_COLUMN = 12, VALUE_COLUMN = 10 };

static const double percentiles[] = {0.5, 0.9, 0.99, 0.999};

const char *bench_error_name(enum bench_error error)
{
    static const char *const names[BENCH_ERRORS] = {
        [BENCH_CONNECT] = "not connected", [BENCH_RESET] = "connection lost",
        [BENCH_TIMEOUT] = "timeout",       [BENCH_BAD_ANSWER] = "bad answer",
        [BENCH_UNSENT] = "never sent",     [BENCH_STATUS] = "HTTP status",
    };
    return names[error];
}

int bench_format_ns(char *out, size_t size, double ns)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    size_t unit = 0;
    for (; unit < 3 && ns >= 999.5; unit++)
        ns /= 1000;
    return snprintf(out, size, "%.*f %s",
                    ns < 9.995   ? 2
                    : ns < 99.95 ? 1
                                 : 0,
                    ns, units[unit]);
}

static void begin_row(struct text *text, const char *key)
{
    const size_t start = text->size_bytes;
    text_puts(text, key);
    cli_pad(text, start, KEY_COLUMN);
}

double bench_seconds(int64_t ns)
{
    return (double)ns / (double)CLOCK_S;
}

static double a_second(uint64_t n, const struct bench_slice *slice)
{
    return slice->length_ns ? (double)n / bench_seconds(slice->length_ns) : 0;
}

static void write_how(struct text *text, const struct bench_settings *settings)
{
    text_puts(text, settings->address);
    if (settings->rate_per_s > 0)
        text_printf(text, "  %.10g/s%s", settings->rate_per_s,
                    settings->is_poisson ? ", Poisson" : "");
    else
        text_printf(text, "  %u in flight", settings->n_connections);
    if (settings->n_requests)
        text_printf(text, ", %llu requests", (unsigned long long)settings->n_requests);
    else
        text_printf(text, ", for %.10g s", bench_seconds(settings->duration_ns));
    text_printf(text, " after %.10g s of warm-up\n", bench_seconds(settings->warm_up_ns));
}

static void write_request(struct text *text, const struct bench_messages *messages)
{
    begin_row(text, "request");
    text_printf(text, "%s  %zu bytes", messages->about, messages->items[0].size_bytes);
    if (messages->n > 1)
        text_printf(text, "  (the first of %u)", messages->n);
    text_puts(text, "\n");
}

static void write_errors(struct text *text, const struct bench_result *result)
{
    const char *between = ": ";
    begin_row(text, "errors");
    text_printf(text, "%llu", (unsigned long long)result->total.n_errors);
    for (int i = 0; i < BENCH_STATUSES; i++)
        if (result->n_status[i]) {
            text_printf(text, "%s%llu HTTP %d", between,
                        (unsigned long long)result->n_status[i], i);
            between = ", ";
        }
    for (enum bench_error i = 0; i < BENCH_STATUS; i++)
        if (result->n_errors[i]) {
            text_printf(text, "%s%llu %s", between,
                        (unsigned long long)result->n_errors[i], bench_error_name(i));
            between = ", ";
        }
    text_puts(text, "\n");
}

static void write_rates(struct text *text, const struct bench_slice *total)
{
    begin_row(text, "requests");
    text_printf(text, "%llu in %.2f s, %.1f/s\n", (unsigned long long)total->n_answers,
                bench_seconds(total->length_ns), a_second(total->n_answers, total));
    begin_row(text, "rows");
    text_printf(text, "%.1f/s\n", a_second(total->n_rows, total));
    begin_row(text, "bytes");
    text_printf(text, "%.2f MB/s out, %.2f MB/s in\n",
                a_second(total->sent_bytes, total) / 1e6,
                a_second(total->received_bytes, total) / 1e6);
}

static void write_cell(struct text *text, double ns)
{
    char cell[32];
    (void)bench_format_ns(cell, sizeof cell, ns);
    text_printf(text, "%*s", VALUE_COLUMN, cell);
}

static void write_latency(struct text *text, const struct histogram *latency)
{
    static const char *const names[] = {"min", "mean",  "p50", "p90",
                                        "p99", "p99.9", "max"};
    begin_row(text, "latency");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        text_printf(text, "%*s", VALUE_COLUMN, names[i]);
    text_puts(text, "\n");
    begin_row(text, "");
    write_cell(text, (double)latency->least_ns);
    write_cell(text, histogram_mean_ns(latency));
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
        write_cell(text, (double)histogram_at(latency, percentiles[i]));
    write_cell(text, (double)latency->greatest_ns);
    text_puts(text, "\n");
}

static void write_cpu(struct text *text, const char *key, int64_t cpu_ns,
                      const struct bench_slice *total)
{
    char each[32];
    if (cpu_ns < 0 || total->n_answers == 0)
        return;
    (void)bench_format_ns(each, sizeof each, (double)cpu_ns / (double)total->n_answers);
    begin_row(text, key);
    text_printf(text, "%s a request, %.2f cores\n", each,
                (double)cpu_ns / (double)total->length_ns);
}

static void write_notes(struct text *text, const struct bench_settings *settings,
                        const struct bench_result *result)
{
    if (result->first_error.status != GP_OK)
        text_printf(text, "first error: %s\n", result->first_error.message);
    if (result->n_late)
        text_printf(text,
                    "%llu requests left over 1 ms late, because all connections or this "
                    "machine were busy; their latency includes this\n",
                    (unsigned long long)result->n_late);
    if (result->n_errors[BENCH_UNSENT])
        text_printf(text,
                    "the server does not keep up with %.10g/s over %u connections\n",
                    settings->rate_per_s, settings->n_connections);
    if ((double)result->client_cpu_ns > 0.9 * (double)result->total.length_ns)
        text_puts(
            text,
            "the load generator used up its core: the server may be capable of more\n");
    if (result->is_interrupted)
        text_puts(text, "interrupted\n");
}

void bench_write(struct text *text, const struct bench_settings *settings,
                 const struct bench_messages *messages, const struct bench_result *result)
{
    write_how(text, settings);
    write_request(text, messages);
    write_rates(text, &result->total);
    write_errors(text, result);
    if (result->latency.n)
        write_latency(text, &result->latency);
    write_cpu(text, "server CPU", result->total.server_cpu_ns, &result->total);
    write_cpu(text, "client CPU", result->client_cpu_ns, &result->total);
    write_notes(text, settings, result);
}

void bench_show_progress(const struct bench_slice *last, int64_t elapsed_ns,
                         uint64_t n_errors)
{
    char p50[32], p99[32];
    (void)bench_format_ns(p50, sizeof p50, (double)last->p50_ns);
    (void)bench_format_ns(p99, sizeof p99, (double)last->p99_ns);
    (void)fprintf(stderr, "\r%4.0f s  %.1f/s  p50 %s  p99 %s  %llu errors\x1b[K",
                  bench_seconds(elapsed_ns), a_second(last->n_answers, last), p50, p99,
                  (unsigned long long)n_errors);
    (void)fflush(stderr);
}

void bench_clear_progress(void)
{
    (void)fputs("\r\x1b[K", stderr);
    (void)fflush(stderr);
}
