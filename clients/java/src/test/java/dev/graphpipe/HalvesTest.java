package dev.graphpipe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** The 16-bit floats. */
class HalvesTest {
    @Test
    void float16OfEveryBitPattern() {
        for (int bits = 0; bits < 1 << 16; bits++) {
            float value = Halves.fromFloat16((short) bits);
            int exponent = bits >> 10 & 31;
            int fraction = bits & 1023;
            double wanted = exponent == 31 ? fraction == 0 ? Double.POSITIVE_INFINITY : Double.NaN
                    : exponent == 0 ? fraction * 0x1p-24
                    : (1024 + fraction) * Math.pow(2, exponent - 25);
            assertEquals((float) (bits < 1 << 15 ? wanted : -wanted), value);
            short back = Halves.toFloat16(value);
            assertTrue(Float.isNaN(value) ? Float.isNaN(Halves.fromFloat16(back))
                    : back == (short) bits, () -> Integer.toHexString(back));
        }
    }
}
