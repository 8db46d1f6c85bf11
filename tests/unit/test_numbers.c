/* Numbers of 16 bits, each of them and what rounds to it, and numbers that look random. */
#include "base/half.h"
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct format {
    double (*from)(uint16_t bits);
    uint16_t (*to)(double value);
    double least,
        one_more; /* the smallest number, and the power of two behind the largest */
    uint16_t one, infinity;
};

static const struct format formats[] = {
    {half_from_float16, half_to_float16, 0x1p-24, 0x1p16, 0x3c00, 0x7c00},
    {half_from_bfloat16, half_to_bfloat16, 0x1p-133, 0x1p128, 0x3f80, 0x7f80},
};

/* A bfloat16 is the upper half of a float. */
static void assert_upper_half(uint16_t bits)
{
    const uint32_t whole = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &whole, sizeof value);
    const double found = half_from_bfloat16(bits);
    assert_true(found == (double)value || (isnan(found) && isnan(value)));
}

/* Each is itself again; what lies between two of them is the nearer one, or the even one of both. */
static void every_half(void **state)
{
    (void)state;
    for (const struct format *f = formats; f < formats + 2; f++) {
        assert_true(f->from(f->one) == 1 && f->from(1) == f->least);
        for (unsigned i = 0; i < f->infinity; i++) {
            const uint16_t bits = (uint16_t)i, next = (uint16_t)(i + 1), sign = 0x8000;
            const double value = f->from(bits);
            const double above = next < f->infinity ? f->from(next) : f->one_more;
            const double middle = value + (above - value) / 2;
            assert_true(value < above);
            assert_true(f->from(bits | sign) == -value);
            assert_int_equal(f->to(value), bits);
            assert_int_equal(f->to(-value), bits | sign);
            assert_int_equal(f->to(middle * (1 - 1e-9)), bits);
            assert_int_equal(f->to(middle), i % 2 ? next : bits);
            assert_int_equal(f->to(middle * (1 + 1e-9)), next);
            assert_int_equal(f->to(-middle * (1 + 1e-9)), next | sign);
        }
    }
    for (unsigned i = 0; i <= UINT16_MAX; i++)
        assert_upper_half((uint16_t)i);
}

static void what_is_no_number(void **state)
{
    (void)state;
    for (const struct format *f = formats; f < formats + 2; f++) {
        assert_true(f->from(f->infinity) == (double)INFINITY);
        assert_true(f->from(f->infinity | 0x8000) == -(double)INFINITY);
        assert_int_equal(f->to(INFINITY), f->infinity);
        assert_int_equal(f->to(-INFINITY), f->infinity | 0x8000);
        assert_int_equal(f->to(1e300), f->infinity);
        for (unsigned i = f->infinity + 1u; i < 0x8000; i++)
            assert_true(isnan(f->from((uint16_t)i)));
        assert_true(isnan(f->from(f->to(NAN))));
        assert_true(signbit(f->from(0x8000)));
        assert_int_equal(f->to(copysign(NAN, -1.0)) & 0x8000, 0x8000);
    }
}

/* The published generator's: whoever has the seed has the same numbers, from release to release. */
static void the_same_numbers_everywhere(void **state)
{
    static const uint64_t wanted[] = {
        UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
        UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
        UINT64_C(16408922859458223821)};
    struct random random = {1234567};
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(random_bits(&random) == wanted[i]);
    random = (struct random){1234567};
    assert_true(random_uniform(&random) == (double)(wanted[0] >> 11) / 0x1p53);
}

/* The share of n exponential variates beyond x, of which e^-x is expected. */
static double share_beyond(double x, int n)
{
    struct random random = {1};
    int n_beyond = 0;
    for (int i = 0; i < n; i++)
        n_beyond += random_exponential(&random) > x;
    return (double)n_beyond / n;
}

static void gaps_between_arrivals(void **state)
{
    enum { N = 100000 };
    struct random random = {1};
    double sum = 0;
    (void)state;
    for (int i = 0; i < N; i++) {
        const double gap = random_exponential(&random);
        assert_true(gap >= 0);
        sum += gap;
    }
    assert_true(fabs(sum / N - 1) < 0.01);
    double wanted = 1;
    for (double x = 0.25; x < 4; x += 0.25) {
        wanted *= 0.7788007830714049; /* e^-0.25 */
        assert_true(fabs(share_beyond(x, N) - wanted) < 0.005);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half),
        cmocka_unit_test(what_is_no_number),
        cmocka_unit_test(the_same_numbers_everywhere),
        cmocka_unit_test(gaps_between_arrivals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
