/* Both formats have a sign, an exponent and a fraction, as in IEEE 754, so one pair of
 * functions does for both: the number of fraction bits and the exponents of the smallest
 * and the largest normal number describe a format completely. */
#include "base/half.h"

#include <math.h>

struct half_format {
    int fraction_bits;
    int lowest; /* exponent of the smallest normal number */
    int highest;
};

static const struct half_format float16 = {10, -14, 15};
static const struct half_format bfloat16 = {7, -126, 127};

static double widen(uint16_t bits, const struct half_format *format)
{
    const int one = 1 << format->fraction_bits;
    const int exponent = (bits & 0x7fff) >> format->fraction_bits;
    const int fraction = bits & (one - 1);
    const int bias = 1 - format->lowest;
    double value;
    if (exponent > format->highest + bias)
        value = fraction ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        value = ldexp(fraction, format->lowest - format->fraction_bits);
    else
        value = ldexp(one + fraction, exponent - bias - format->fraction_bits);
    return bits & 0x8000 ? -value : value;
}

static uint16_t narrow(double value, const struct half_format *format)
{
    const int one = 1 << format->fraction_bits;
    const int bias = 1 - format->lowest;
    const int infinity = (format->highest + bias + 1) << format->fraction_bits;
    const int sign = signbit(value) ? 0x8000 : 0;
    if (isnan(value))
        return (uint16_t)(sign | infinity | one / 2);
    if (isinf(value) || value == 0)
        return (uint16_t)(sign | (value == 0 ? 0 : infinity));
    int exponent;
    (void)frexp(value, &exponent);
    exponent--; /* frexp counts from 0.5 */
    if (exponent < format->lowest)
        exponent = format->lowest;
    const double scaled = ldexp(sign ? -value : value, format->fraction_bits - exponent);
    int fraction = (int)scaled;
    const double rest = scaled - fraction;
    if (rest > 0.5 || (rest == 0.5 && fraction % 2))
        fraction++;
    /* A fraction that rounds up to the next power of two carries into the exponent, and
     * one below `one` is a subnormal number: the sum is right for both. */
    const int bits = ((exponent + bias) << format->fraction_bits) + fraction - one;
    return (uint16_t)(sign | (bits < infinity ? bits : infinity));
}

double half_from_float16(uint16_t bits)
{
    return widen(bits, &float16);
}

double half_from_bfloat16(uint16_t bits)
{
    return widen(bits, &bfloat16);
}

uint16_t half_to_float16(double value)
{
    return narrow(value, &float16);
}

uint16_t half_to_bfloat16(double value)
{
    return narrow(value, &bfloat16);
}
