package dev.graphpipe;

/** The 16-bit floats, which Java 11 does not know, as float and back, rounded to even. */
final class Halves {
    private static final int FLOAT16_BIAS_SHIFT = (127 - 15) << 23;

    private Halves() {
    }

    static float fromFloat16(short bits) {
        int sign = (bits & 0x8000) << 16;
        int magnitude = bits & 0x7fff;
        if (magnitude < 0x400) { // zero, or subnormal: a multiple of 2^-24
            return Float.intBitsToFloat(Float.floatToRawIntBits(magnitude * 0x1p-24f) | sign);
        }
        int shifted = (magnitude << 13) + FLOAT16_BIAS_SHIFT;
        if (magnitude >= 0x7c00) { // infinity, or not a number
            shifted = magnitude << 13 | 0x7f800000;
        }
        return Float.intBitsToFloat(shifted | sign);
    }

    static short toFloat16(float value) {
        int bits = Float.floatToRawIntBits(value);
        int sign = bits >>> 16 & 0x8000;
        int magnitude = bits & 0x7fffffff;
        if (magnitude > 0x7f800000) { // a NaN stays one, whatever bits are cut off
            return (short) (sign | 0x7e00 | magnitude >>> 13 & 0x3ff);
        }
        if (magnitude >= 0x477ff000) { // rounds to 65536 or more
            return (short) (sign | 0x7c00);
        }
        if (magnitude < 0x38800000) { // subnormal: the addition rounds to a multiple of 2^-24
            float sum = Math.abs(value) + 0.5f;
            return (short) (sign | Float.floatToRawIntBits(sum) - Float.floatToRawIntBits(0.5f));
        }
        int rounded = magnitude + 0xfff + (magnitude >>> 13 & 1) - FLOAT16_BIAS_SHIFT;
        return (short) (sign | rounded >>> 13);
    }

    static float fromBfloat16(short bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    static short toBfloat16(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) (bits >>> 16 | 0x40);
        }
        return (short) (bits + 0x7fff + (bits >>> 16 & 1) >>> 16);
    }
}
