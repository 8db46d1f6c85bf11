/* model/signature.h - which requests may run together.
 *
 * Those that differ in nothing but their rows: the same inputs by name, type and row shape, the
 * same outputs in the same order, the same config. They are compared in full.
 */
#ifndef GP_MODEL_SIGNATURE_H
#define GP_MODEL_SIGNATURE_H

#include "model/inference.h"

/* True if a bound inference has rows: the same number of them, maybe none, in every input. */
bool signature_has_rows(const struct inference *inference);

/* True if two that have rows may run together. */
bool signature_matches(const struct inference *a, const struct inference *b);

#endif
