/* The result as JSON: the settings, the totals, the slices of time, from which --compare
 * takes the spread, and the histogram as pairs of a bucket's lower bound and its
 * count. */
#include "cli/bench.h"

#include "base/text.h"

#include <graphpipe/version.h>

static double microseconds(double ns)
{
    return ns / 1000;
}

static void write_settings(struct text *text, const struct bench_settings *settings)
{
    text_puts(text, "\"settings\":{\"address\":");
    text_json_puts(text, settings->address);
    if (settings->rate_per_s > 0)
        text_printf(text, ",\"loop\":\"open\",\"rate\":%.10g,\"poisson\":%s",
                    settings->rate_per_s, settings->is_poisson ? "true" : "false");
    else
        text_puts(text, ",\"loop\":\"closed\"");
    text_printf(text, ",\"connections\":%u,\"warm_up_s\":%.10g", settings->n_connections,
                bench_seconds(settings->warm_up_ns));
    if (settings->duration_ns)
        text_printf(text, ",\"for_s\":%.10g", bench_seconds(settings->duration_ns));
    if (settings->n_requests)
        text_printf(text, ",\"requests\":%llu", (unsigned long long)settings->n_requests);
    text_printf(text, ",\"timeout_s\":%.10g,\"seed\":%llu}",
                bench_seconds(settings->timeout_ns), (unsigned long long)settings->seed);
}

static void write_request(struct text *text, const struct bench_messages *messages)
{
    const struct bench_message *first = &messages->items[0];
    text_puts(text, ",\n\"request\":{\"about\":");
    text_json_puts(text, messages->about);
    text_printf(text, ",\"messages\":%u,\"bytes\":%zu,\"rows\":%llu}", messages->n,
                first->size_bytes, (unsigned long long)first->n_rows);
}

static void write_errors(struct text *text, const struct bench_result *result)
{
    text_puts(text, ",\"errors\":{");
    for (enum bench_error i = 0; i < BENCH_STATUS; i++)
        text_printf(text, "\"%s\":%llu,", bench_error_name(i),
                    (unsigned long long)result->n_errors[i]);
    text_puts(text, "\"http\":{");
    const char *between = "";
    for (int i = 0; i < BENCH_STATUSES; i++)
        if (result->n_status[i]) {
            text_printf(text, "%s\"%d\":%llu", between, i,
                        (unsigned long long)result->n_status[i]);
            between = ",";
        }
    text_puts(text, "}}");
}

static void write_cpu(struct text *text, const char *name, int64_t cpu_ns, uint64_t n)
{
    if (cpu_ns >= 0 && n > 0)
        text_printf(text, ",\"%s\":%.3f", name, microseconds((double)cpu_ns / (double)n));
    else
        text_printf(text, ",\"%s\":null", name);
}

static void write_slice(struct text *text, const struct bench_slice *slice)
{
    const double length_s = slice->length_ns ? bench_seconds(slice->length_ns) : 1;
    text_printf(text,
                "\"seconds\":%.6f,\"requests\":%llu,\"failed\":%llu,"
                "\"requests_per_s\":%.3f,\"rows_per_s\":%.3f,\"sent_bytes_per_s\":%.1f,"
                "\"received_bytes_per_s\":%.1f",
                bench_seconds(slice->length_ns), (unsigned long long)slice->n_answers,
                (unsigned long long)slice->n_errors, (double)slice->n_answers / length_s,
                (double)slice->n_rows / length_s, (double)slice->sent_bytes / length_s,
                (double)slice->received_bytes / length_s);
    write_cpu(text, "server_cpu_us", slice->server_cpu_ns, slice->n_answers);
}

static void write_latency(struct text *text, const struct histogram *latency)
{
    text_printf(text,
                ",\"latency_us\":{\"n\":%llu,\"min\":%.3f,\"mean\":%.3f,\"p50\":%.3f,"
                "\"p90\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}",
                (unsigned long long)latency->n, microseconds((double)latency->least_ns),
                microseconds(histogram_mean_ns(latency)),
                microseconds((double)histogram_at(latency, 0.5)),
                microseconds((double)histogram_at(latency, 0.9)),
                microseconds((double)histogram_at(latency, 0.99)),
                microseconds((double)histogram_at(latency, 0.999)),
                microseconds((double)latency->greatest_ns));
}

static void write_slices(struct text *text, const struct bench_result *result)
{
    text_puts(text, ",\n\"slices\":[");
    for (size_t i = 0; i < result->n_slices; i++) {
        const struct bench_slice *slice = &result->slices[i];
        text_printf(text, "%s\n{", i ? "," : "");
        write_slice(text, slice);
        if (slice->n_answers)
            text_printf(text, ",\"p50_us\":%.3f,\"p99_us\":%.3f",
                        microseconds((double)slice->p50_ns),
                        microseconds((double)slice->p99_ns));
        text_puts(text, "}");
    }
    text_puts(text, "]");
}

static void write_histogram(struct text *text, const struct histogram *latency)
{
    const char *between = "";
    text_puts(text, ",\n\"histogram_us\":[");
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (latency->counts[i]) {
            text_printf(text, "%s[%.3f,%llu]", between,
                        microseconds((double)histogram_floor_ns(i)),
                        (unsigned long long)latency->counts[i]);
            between = ",";
        }
    text_puts(text, "]");
}

void bench_write_json(struct text *text, const struct bench_settings *settings,
                      const struct bench_messages *messages,
                      const struct bench_result *result)
{
    text_puts(text, "{\"graphpipe_bench\":1,\"version\":");
    text_json_puts(text, gp_version());
    text_puts(text, ",\n");
    write_settings(text, settings);
    write_request(text, messages);
    text_puts(text, ",\n\"total\":{");
    write_slice(text, &result->total);
    write_cpu(text, "client_cpu_us", result->client_cpu_ns, result->total.n_answers);
    text_printf(text, ",\"late\":%llu,\"interrupted\":%s",
                (unsigned long long)result->n_late,
                result->is_interrupted ? "true" : "false");
    write_errors(text, result);
    write_latency(text, &result->latency);
    text_puts(text, "}");
    write_slices(text, result);
    write_histogram(text, &result->latency);
    text_puts(text, "}\n");
}
