/* cli/histogram.h - latencies counted in buckets that grow with them, so that any
 * percentile can be told afterwards, and histograms can be added up.
 *
 * Each power of two is divided into 128 buckets, from 8 ns up to 137 s: a percentile is
 * right to 0.4 %, whatever its size. The least, the greatest and the mean are exact.
 */
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

/* What is beyond the last bucket is counted there. */
void histogram_add(struct histogram *histogram, int64_t value_ns);

/* Adds all that `from` counted. */
void histogram_merge(struct histogram *histogram, const struct histogram *from);

/* The value that `fraction` (0 to 1) of all are not above; 0 of an empty one. */
int64_t histogram_at(const struct histogram *histogram, double fraction);

double histogram_mean_ns(const struct histogram *histogram);

/* Where the bucket begins. */
int64_t histogram_floor_ns(size_t bucket);

#endif
