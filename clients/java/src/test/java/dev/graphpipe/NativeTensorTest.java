package dev.graphpipe;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Tensors of Java's nested arrays, and back. */
class NativeTensorTest {
    @Test
    void whatCannotBeATensor() {
        for (Executable one : List.<Executable>of(
                () -> NativeTensor.fromArray(new int[][] {{1}, {2, 3}}),
                () -> NativeTensor.fromArray(new int[][][] {{{1, 2}, {3, 4}, {6, 7}}, {{1, 2, 3}}}),
                () -> NativeTensor.fromArray(new int[][] {{1}, null}),
                () -> NativeTensor.fromArray(new StringBuilder[1]),
                () -> NativeTensor.fromArray(new Object()),
                () -> NativeTensor.fromArray(new Float[] {1f}),
                () -> NativeTensor.fromFlatArray(new int[3], new long[] {2}))) {
            IllegalArgumentException e = assertThrows(IllegalArgumentException.class, one);
            assertTrue(e.getMessage().length() > 10, e.getMessage());
        }
    }

    @Test
    void nestedArraysAndBack() {
        for (Object array : new Object[] {new float[][] {{1, 2, 3}, {4, 5, 6}}, new double[] {1.5},
                new long[][][] {{{1, 2, 7}, {3, 4, 8}}, {{5, 6, 9}, {7, 8, 10}}},
                new int[][] {{1}, {2}}, new short[] {1, 2}, new byte[][] {{1, -2}, {3, 4}},
                new boolean[][] {{true, false}}, new String[][] {{"a", "bc"}, {"", "ü"}},
                new float[2][0], new float[0][2], new int[0]}) {
            NativeTensor tensor = NativeTensor.fromArray(array);
            Object[] found = {tensor.toNDArray()};
            if (tensor.tensor().size() > 0 || array instanceof int[]) {
                assertArrayEquals(new Object[] {array}, found);
            } else {
                assertEquals(array.getClass(), found[0].getClass());
            }
        }
        assertEquals(2.5, NativeTensor.fromArray(2.5).toNDArray());
        assertEquals("x", NativeTensor.fromArray("x").toNDArray());
        assertEquals("float32[2,0]", NativeTensor.fromArray(new float[2][0]).tensor().toString());
    }

    @Test
    void whatHasNoJavaTypeComesAsTheNearest() {
        Tensor half = Tensor.ofHalves(DType.BFLOAT16, new float[] {1, 2}, 2, 1);
        assertArrayEquals(new float[][] {{1}, {2}}, (float[][]) new NativeTensor(half).toNDArray());
        Tensor unsigned = Tensor.of(DType.UINT8, ByteBuffer.wrap(new byte[] {-1, 2}));
        assertArrayEquals(new byte[] {-1, 2}, (byte[]) new NativeTensor(unsigned).toNDArray());
    }

    @Test
    void aShapeWithoutElementsMakesNoMillionArrays() {
        assertThrows(IllegalStateException.class, new NativeTensor(
                Tensor.of(new int[0], 1 << 30, 1 << 30, 0))::toNDArray);
        assertEquals(0, ((int[][]) new NativeTensor(Tensor.of(new int[0], 0, 1L << 40))
                .toNDArray()).length);
    }
}
