/* cli/histogram.h - counts latencies in buckets that grow with them, so that any
 * percentile can be computed afterwards, and histograms can be added up.
 *
 * Each power of two is divided into 128 buckets, from 8 ns up to 137 s: percentiles are
 * exact to 0.4 %, whatever their size. The minimum, the maximum and the mean are
 * exact. */
#ifndef GP_CLI_HISTOGRAM_H
#define GP_CLI_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_SUBBUCKETS = 128, HISTOGRAM_BUCKETS = 28 * HISTOGRAM_SUBBUCKETS };

/* Zeroed: empty. */
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t n;
    double sum_ns;
    int64_t least_ns;
    int64_t greatest_ns;
};

/* Values beyond the last bucket are counted in it. */
void histogram_add(struct histogram *histogram, int64_t value_ns);

/* Adds all counts of `from`. */
void histogram_merge(struct histogram *histogram, const struct histogram *from);

/* The value that `fraction` (0 to 1) of all do not exceed; 0 if the histogram is
 * empty. */
int64_t histogram_at(const struct histogram *histogram, double fraction);

double histogram_mean_ns(const struct histogram *histogram);

/* The lower bound of the bucket. */
int64_t histogram_floor_ns(size_t bucket);

#endif
