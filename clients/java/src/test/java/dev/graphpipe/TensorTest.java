package dev.graphpipe;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Tensors, and what cannot be one. */
class TensorTest {
    @Test
    void typesAndShapes() {
        assertEquals("float32[3]", Tensor.of(new float[3]).toString());
        assertEquals("float64[3,1]", Tensor.of(new double[3], 3, 1).toString());
        assertEquals("int64[]", Tensor.of(new long[1]).reshape().toString());
        assertEquals("int32[0,7]", Tensor.of(new int[0], 0, 7).toString());
        assertEquals("int16[1]", Tensor.of(new short[1]).toString());
        assertEquals("int8[2]", Tensor.of(new byte[2]).toString());
        assertEquals("bool[2]", Tensor.of(new boolean[2]).toString());
        assertEquals("uint8[2,2]", Tensor.of(DType.UINT8, ByteBuffer.allocate(4), 2, 2).toString());
        assertEquals("float32[]", Tensor.allocate(DType.FLOAT32).toString());
        assertEquals(1, Tensor.allocate(DType.FLOAT32).size());
    }

    @Test
    void bytesAreLittleEndianWhateverTheBufferSays() {
        byte[] bytes = {0, 0, (byte) 0x80, 0x3f};
        Tensor one = Tensor.of(DType.FLOAT32, ByteBuffer.wrap(bytes));
        assertEquals(1f, one.asFloatBuffer().get(0));
        assertEquals(0x3f800000, one.data().getInt(0));
        assertEquals(bytes[2], Tensor.of(new float[] {1}).data().get(2));
        // what a buffer is given later is in the tensor, which is a view of it
        bytes[3] = 0x40;
        assertEquals(4f, one.asFloatBuffer().get(0));
    }

    @Test
    void whatCannotBeATensor() {
        for (Executable one : List.<Executable>of(
                () -> Tensor.of(new float[3], 2), () -> Tensor.of(new float[3], -3, -1),
                () -> Tensor.of(DType.FLOAT32, ByteBuffer.allocate(5)),
                () -> Tensor.of(DType.STRING, ByteBuffer.allocate(5)),
                () -> Tensor.of(DType.NULL, ByteBuffer.allocate(5)),
                () -> Tensor.allocate(DType.FLOAT32, 1L << 62, 4),
                () -> Tensor.allocate(DType.FLOAT32, 1 << 29),
                () -> Tensor.of(new String[] {"a"}, 2), () -> Tensor.of(new String[] {"\ud800"}),
                () -> Tensor.of(new float[4]).reshape(3),
                () -> Tensor.ofHalves(DType.FLOAT32, new float[1]))) {
            IllegalArgumentException e = assertThrows(IllegalArgumentException.class, one);
            assertTrue(e.getMessage().length() > 10, e.getMessage());
        }
    }

    @Test
    void viewsAreOfTheirTypeOnly() {
        Tensor floats = Tensor.of(new float[1]);
        Tensor strings = Tensor.of(new String[] {"a"});
        for (Executable one : List.<Executable>of(floats::asDoubleBuffer, floats::asIntBuffer,
                floats::asLongBuffer, floats::asShortBuffer, floats::strings,
                floats::toBooleanArray,
                strings::data, strings::asFloatBuffer, strings::toFloatArray,
                Tensor.of(new double[1])::asFloatBuffer)) {
            assertThrows(IllegalStateException.class, one);
        }
    }

    @Test
    void halvesAreRoundedToEven() {
        float[][] float16 = {{1 + 0x1p-11f, 1}, {1 + 0x3p-11f, 1 + 0x1p-9f}, {65519, 65504},
                {65520, Float.POSITIVE_INFINITY}, {0x1p-25f, 0}, {0x1.8p-25f, 0x1p-24f},
                {-0x1p-30f, -0f}, {0x1.ffep-15f, 0x1p-14f}, {1e30f, Float.POSITIVE_INFINITY}};
        float[][] bfloat16 = {{1 + 0x1p-8f, 1}, {1 + 0x3p-8f, 1 + 0x1p-6f},
                {Float.MAX_VALUE, Float.POSITIVE_INFINITY}, {3e38f, 0x1.c4p127f}, {-0f, -0f}};
        for (float[] one : float16) {
            Tensor tensor = Tensor.ofHalves(DType.FLOAT16, new float[] {one[0]});
            assertArrayEquals(new float[] {one[1]}, tensor.toFloatArray());
        }
        for (float[] one : bfloat16) {
            Tensor tensor = Tensor.ofHalves(DType.BFLOAT16, new float[] {one[0]});
            assertArrayEquals(new float[] {one[1]}, tensor.toFloatArray());
        }
        float[] nan = {Float.intBitsToFloat(0x7f800001)};
        for (DType dtype : List.of(DType.FLOAT16, DType.BFLOAT16)) {
            assertTrue(Float.isNaN(Tensor.ofHalves(dtype, nan).toFloatArray()[0]));
        }
    }
}
