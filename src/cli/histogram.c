/* Buckets of 8 ns up to 1 us, then 128 for each power of two. */
#include "cli/histogram.h"

enum { UNIT_BITS = 3, SUB_BITS = 7 };

static size_t bucket_of(int64_t value_ns)
{
    const uint64_t units = value_ns > 0 ? (uint64_t)value_ns >> UNIT_BITS : 0;
    if (units < HISTOGRAM_SUBBUCKETS)
        return (size_t)units;
    const unsigned octave = 63u - (unsigned)__builtin_clzll(units) - SUB_BITS;
    const size_t bucket = octave * (size_t)HISTOGRAM_SUBBUCKETS + (units >> octave);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

int64_t histogram_floor_ns(size_t bucket)
{
    if (bucket < HISTOGRAM_SUBBUCKETS)
        return (int64_t)bucket << UNIT_BITS;
    const size_t octave = bucket / HISTOGRAM_SUBBUCKETS - 1;
    const size_t sub = HISTOGRAM_SUBBUCKETS + bucket % HISTOGRAM_SUBBUCKETS;
    return (int64_t)(sub << octave << UNIT_BITS);
}

void histogram_add(struct histogram *histogram, int64_t value_ns)
{
    if (histogram->n == 0 || value_ns < histogram->least_ns)
        histogram->least_ns = value_ns;
    if (histogram->n == 0 || value_ns > histogram->greatest_ns)
        histogram->greatest_ns = value_ns;
    histogram->counts[bucket_of(value_ns)]++;
    histogram->n++;
    histogram->sum_ns += (double)value_ns;
}

void histogram_merge(struct histogram *histogram, const struct histogram *from)
{
    if (from->n == 0)
        return;
    if (histogram->n == 0 || from->least_ns < histogram->least_ns)
        histogram->least_ns = from->least_ns;
    if (histogram->n == 0 || from->greatest_ns > histogram->greatest_ns)
        histogram->greatest_ns = from->greatest_ns;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->counts[i] += from->counts[i];
    histogram->n += from->n;
    histogram->sum_ns += from->sum_ns;
}

int64_t histogram_at(const struct histogram *histogram, double fraction)
{
    if (histogram->n == 0 || fraction <= 0)
        return histogram->least_ns;
    if (fraction >= 1)
        return histogram->greatest_ns;
    const double wanted = fraction * (double)histogram->n;
    uint64_t passed = 0;
    size_t bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS - 1 &&
           (double)(passed + histogram->counts[bucket]) < wanted)
        passed += histogram->counts[bucket++];
    const int64_t middle_ns =
        (histogram_floor_ns(bucket) + histogram_floor_ns(bucket + 1)) / 2;
    if (middle_ns < histogram->least_ns)
        return histogram->least_ns;
    return middle_ns < histogram->greatest_ns ? middle_ns : histogram->greatest_ns;
}

double histogram_mean_ns(const struct histogram *histogram)
{
    return histogram->n ? histogram->sum_ns / (double)histogram->n : 0;
}
