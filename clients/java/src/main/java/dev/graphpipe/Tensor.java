package dev.graphpipe;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.CharBuffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * An array of numbers, booleans or strings with any number of dimensions, row-major.
 *
 * <p>A tensor of numbers is a view of bytes, which are little-endian whatever the machine is. What
 * {@link #of(DType, ByteBuffer, long...)} is given is neither copied nor, where it is direct,
 * copied as it is sent; {@code of} a Java array copies. The tensors of one answer stand in one
 * block of memory, each apart, and may be written to.
 *
 * <p>Type, shape and strings do not change. Threads may share a tensor as they may share its bytes.
 */
public final class Tensor {
    private final DType dtype;
    private final long[] shape;
    private final ByteBuffer data; // null for strings
    private final byte[][] strings; // null for others

    private Tensor(DType dtype, long[] shape, ByteBuffer data, byte[][] strings) {
        this.dtype = dtype;
        this.shape = shape;
        this.data = data;
        this.strings = strings;
    }

    // --- making ---

    /**
     * A tensor in the memory of a buffer.
     *
     * @param dtype the type of the elements, not {@code NULL} or {@code STRING}
     * @param data from its position to its limit the elements, little-endian whatever the buffer's
     *     order is; direct is best. It has to stay as it is until a call with it has returned
     * @param shape the sizes; without any, one dimension with all the elements
     * @throws IllegalArgumentException if data does not have the bytes that type and shape need
     */
    public static Tensor of(DType dtype, ByteBuffer data, long... shape) {
        if (dtype.sizeBytes() == 0) {
            throw new IllegalArgumentException("a buffer cannot be a tensor of " + dtype);
        }
        ByteBuffer view = Buffers.slice(data, data.position(), data.limit());
        long[] sizes = sizesOf(view.capacity() / dtype.sizeBytes(), shape);
        long wanted = bytesOf(dtype, sizes);
        if (wanted != view.capacity()) {
            throw new IllegalArgumentException("data has " + view.capacity() + " bytes, but "
                    + describe(dtype, sizes) + " needs " + wanted);
        }
        return new Tensor(dtype, sizes, view, null);
    }

    /**
     * A tensor of zeros outside of the Java heap, to be written to through {@link #asFloatBuffer()}
     * and its kin and sent without a copy.
     *
     * @param dtype the type of the elements, not {@code NULL} or {@code STRING}
     * @param shape the sizes; none: a scalar
     * @throws IllegalArgumentException if a size is negative, or the whole over 2 GiB - 1
     */
    public static Tensor allocate(DType dtype, long... shape) {
        int size = (int) bytesOf(dtype, shape);
        return of(dtype, ByteBuffer.allocateDirect(size), shape).reshape(shape);
    }

    /** A copy of the values as {@code FLOAT32}; without a shape, in one dimension. */
    public static Tensor of(float[] values, long... shape) {
        ByteBuffer data = memoryFor(values.length, DType.FLOAT32);
        data.asFloatBuffer().put(values);
        return of(DType.FLOAT32, data, shape);
    }

    /** A copy of the values as {@code FLOAT64}; without a shape, in one dimension. */
    public static Tensor of(double[] values, long... shape) {
        ByteBuffer data = memoryFor(values.length, DType.FLOAT64);
        data.asDoubleBuffer().put(values);
        return of(DType.FLOAT64, data, shape);
    }

    /** A copy of the values as {@code INT64}; without a shape, in one dimension. */
    public static Tensor of(long[] values, long... shape) {
        ByteBuffer data = memoryFor(values.length, DType.INT64);
        data.asLongBuffer().put(values);
        return of(DType.INT64, data, shape);
    }

    /** A copy of the values as {@code INT32}; without a shape, in one dimension. */
    public static Tensor of(int[] values, long... shape) {
        ByteBuffer data = memoryFor(values.length, DType.INT32);
        data.asIntBuffer().put(values);
        return of(DType.INT32, data, shape);
    }

    /** A copy of the values as {@code INT16}; without a shape, in one dimension. */
    public static Tensor of(short[] values, long... shape) {
        ByteBuffer data = memoryFor(values.length, DType.INT16);
        data.asShortBuffer().put(values);
        return of(DType.INT16, data, shape);
    }

    /**
     * A copy of the values as {@code INT8}; without a shape, in one dimension. For {@code UINT8}
     * take {@code of(DType.UINT8, ByteBuffer.wrap(values), shape)}.
     */
    public static Tensor of(byte[] values, long... shape) {
        return of(DType.INT8, ByteBuffer.wrap(values.clone()), shape);
    }

    /** A copy of the values as {@code BOOL}; without a shape, in one dimension. */
    public static Tensor of(boolean[] values, long... shape) {
        ByteBuffer data = memoryFor(values.length, DType.BOOL);
        for (int i = 0; i < values.length; i++) {
            data.put(i, (byte) (values[i] ? 1 : 0));
        }
        return of(DType.BOOL, data, shape);
    }

    /**
     * The values rounded to 16 bits; without a shape, in one dimension.
     *
     * @param dtype {@code FLOAT16} or {@code BFLOAT16}
     */
    public static Tensor ofHalves(DType dtype, float[] values, long... shape) {
        checkKind(dtype, "16-bit floats", DType.FLOAT16, DType.BFLOAT16);
        ByteBuffer data = memoryFor(values.length, dtype);
        for (int i = 0; i < values.length; i++) {
            data.putShort(2 * i, dtype == DType.FLOAT16 ? Halves.toFloat16(values[i])
                    : Halves.toBfloat16(values[i]));
        }
        return of(dtype, data, shape);
    }

    /**
     * Strings, which are sent as UTF-8; without a shape, in one dimension.
     *
     * @throws IllegalArgumentException if one has half of a surrogate pair, which UTF-8 cannot say
     */
    public static Tensor of(String[] values, long... shape) {
        byte[][] strings = new byte[values.length][];
        for (int i = 0; i < values.length; i++) {
            strings[i] = utf8(values[i], "string " + i);
        }
        return of(strings, shape);
    }

    /** Strings of any bytes, which are not copied; without a shape, in one dimension. */
    public static Tensor of(byte[][] strings, long... shape) {
        long[] sizes = sizesOf(strings.length, shape);
        if (count(sizes) != strings.length) {
            throw new IllegalArgumentException(strings.length + " strings came, but "
                    + describe(DType.STRING, sizes) + " needs " + count(sizes));
        }
        return new Tensor(DType.STRING, sizes, null, strings.clone());
    }

    /** One of an answer, whose reader has checked it. */
    static Tensor ofChecked(DType dtype, long[] shape, ByteBuffer data, byte[][] strings) {
        return new Tensor(dtype, shape, data, strings);
    }

    /**
     * The same elements in the same memory under another shape; without any size, a scalar.
     *
     * @throws IllegalArgumentException if the shape has another number of elements
     */
    public Tensor reshape(long... shape) {
        if (count(shape) != size()) {
            throw new IllegalArgumentException("a tensor of " + size() + " elements cannot be "
                    + describe(dtype, shape));
        }
        return new Tensor(dtype, shape.clone(), data, strings);
    }

    // --- what it is ---

    /** The type of the elements. */
    public DType dtype() {
        return dtype;
    }

    /** A copy of the sizes of the dimensions; empty for a scalar. */
    public long[] shape() {
        return shape.clone();
    }

    /** The number of elements: 1 for a scalar. */
    public long size() {
        return data == null ? strings.length : data.capacity() / dtype.sizeBytes();
    }

    /** Type and shape, as {@code float32[1,3,224,224]}. */
    @Override
    public String toString() {
        return describe(dtype, shape);
    }

    // --- the elements ---

    /**
     * The elements' bytes, as a view.
     *
     * @return from 0 to its limit, little-endian; direct or not
     * @throws IllegalStateException for strings
     */
    public ByteBuffer data() {
        if (data == null) {
            throw new IllegalStateException(this + " has strings(), not data()");
        }
        return data.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    }

    /**
     * A view of {@code FLOAT32}.
     *
     * @throws IllegalStateException for any other type
     */
    public FloatBuffer asFloatBuffer() {
        return viewed("floats", DType.FLOAT32).asFloatBuffer();
    }

    /**
     * A view of {@code FLOAT64}.
     *
     * @throws IllegalStateException for any other type
     */
    public DoubleBuffer asDoubleBuffer() {
        return viewed("doubles", DType.FLOAT64).asDoubleBuffer();
    }

    /**
     * A view of {@code INT64}, or of the bits of {@code UINT64}.
     *
     * @throws IllegalStateException for any other type
     */
    public LongBuffer asLongBuffer() {
        return viewed("longs", DType.INT64, DType.UINT64).asLongBuffer();
    }

    /**
     * A view of {@code INT32}, or of the bits of {@code UINT32}.
     *
     * @throws IllegalStateException for any other type
     */
    public IntBuffer asIntBuffer() {
        return viewed("ints", DType.INT32, DType.UINT32).asIntBuffer();
    }

    /**
     * A view of {@code INT16}, or of the bits of {@code UINT16}, {@code FLOAT16} or {@code
     * BFLOAT16}.
     *
     * @throws IllegalStateException for any other type
     */
    public ShortBuffer asShortBuffer() {
        return viewed("shorts", DType.INT16, DType.UINT16, DType.FLOAT16, DType.BFLOAT16)
                .asShortBuffer();
    }

    /**
     * The values of {@code FLOAT32}, {@code FLOAT16} or {@code BFLOAT16} in a new array.
     *
     * @throws IllegalStateException for any other type
     */
    public float[] toFloatArray() {
        ByteBuffer bytes = viewed("floats", DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16);
        float[] values = new float[(int) size()];
        if (dtype == DType.FLOAT32) {
            bytes.asFloatBuffer().get(values);
            return values;
        }
        for (int i = 0; i < values.length; i++) {
            short bits = bytes.getShort(2 * i);
            values[i] = dtype == DType.FLOAT16 ? Halves.fromFloat16(bits)
                    : Halves.fromBfloat16(bits);
        }
        return values;
    }

    /**
     * The values of {@code BOOL} in a new array.
     *
     * @throws IllegalStateException for any other type
     */
    public boolean[] toBooleanArray() {
        ByteBuffer bytes = viewed("booleans", DType.BOOL);
        boolean[] values = new boolean[bytes.capacity()];
        for (int i = 0; i < values.length; i++) {
            values[i] = bytes.get(i) != 0;
        }
        return values;
    }

    /**
     * The strings, row-major; what is not UTF-8 in them is U+FFFD.
     *
     * @throws IllegalStateException for any other type
     */
    public String[] strings() {
        String[] texts = new String[stringBytes().length];
        for (int i = 0; i < texts.length; i++) {
            texts[i] = new String(strings[i], StandardCharsets.UTF_8);
        }
        return texts;
    }

    /**
     * The strings as the bytes that were sent, row-major.
     *
     * @throws IllegalStateException for any other type
     */
    public byte[][] stringBytes() {
        if (strings == null) {
            throw new IllegalStateException(this + " has data(), not strings()");
        }
        return strings.clone();
    }

    private ByteBuffer viewed(String what, DType... of) {
        if (!Arrays.asList(of).contains(dtype)) {
            throw new IllegalStateException(this + " has no " + what);
        }
        return data();
    }

    // --- sizes, which callers and messages give ---

    static String describe(DType dtype, long[] shape) {
        return dtype + Arrays.toString(shape).replace(" ", "");
    }

    /**
     * How many elements a shape has; -1 for a negative size, or if the others' product overflows.
     */
    static long countOrFail(long[] shape) {
        long n = 1;
        boolean isEmpty = false;
        for (long size : shape) {
            if (size < 0 || size > 0 && n > Long.MAX_VALUE / size) {
                return -1;
            }
            isEmpty |= size == 0;
            n *= Math.max(size, 1);
        }
        return isEmpty ? 0 : n;
    }

    static byte[] utf8(String text, String what) {
        try {
            ByteBuffer bytes = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
            return Arrays.copyOf(bytes.array(), bytes.limit());
        } catch (CharacterCodingException e) {
            throw new IllegalArgumentException(what + " has half of a surrogate pair", e);
        }
    }

    private static long count(long[] shape) {
        long n = countOrFail(shape);
        if (n < 0) {
            throw new IllegalArgumentException("no tensor has the shape " + Arrays.toString(shape));
        }
        return n;
    }

    private static long bytesOf(DType dtype, long[] shape) {
        long n = count(shape);
        if (n > Buffers.MAX_BYTES / Math.max(dtype.sizeBytes(), 1)) {
            throw new IllegalArgumentException(describe(dtype, shape) + " is over the "
                    + Buffers.MAX_BYTES + " bytes at which messages end");
        }
        return n * dtype.sizeBytes();
    }

    private static ByteBuffer memoryFor(int n, DType dtype) {
        return Buffers.allocate((int) bytesOf(dtype, new long[] {n}));
    }

    private static long[] sizesOf(long n, long[] shape) {
        return shape.length == 0 ? new long[] {n} : shape.clone();
    }

    private static void checkKind(DType dtype, String what, DType... of) {
        if (!Arrays.asList(of).contains(dtype)) {
            throw new IllegalArgumentException(dtype + " are no " + what);
        }
    }
}
