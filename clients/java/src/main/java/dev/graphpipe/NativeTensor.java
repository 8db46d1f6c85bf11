package dev.graphpipe;

import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A tensor of nested Java arrays, by the name and the methods of the client of 2018. New programs
 * take it for {@code float[2][3]} and the like: {@code
 * client.infer(NativeTensor.fromArray(x).tensor())}.
 *
 * <p>{@code boolean}, {@code byte}, {@code short}, {@code int}, {@code long}, {@code float},
 * {@code double} and {@code String} become {@code BOOL}, {@code INT8} to {@code INT64},
 * {@code FLOAT32}, {@code FLOAT64} and {@code STRING}. On the way back unsigned types come as the
 * signed ones of their size, and 16-bit floats as {@code float}.
 */
public final class NativeTensor {
    /** More arrays than this are not made of a shape that has no elements at all. */
    private static final long MAX_EMPTY_ARRAYS = 1 << 20;

    private final Tensor tensor;

    /** The same tensor by the name of 2018. */
    public NativeTensor(Tensor tensor) {
        this.tensor = tensor;
    }

    /** The tensor, for {@link Client}. */
    public Tensor tensor() {
        return tensor;
    }

    /**
     * A tensor of nested arrays.
     *
     * @param array for instance a {@code float[][]}, all of whose rows are of one length, or a
     *     boxed number or a string, which becomes a scalar
     * @throws IllegalArgumentException if rows differ in length, one is null, or the elements have
     *     none of the types above
     */
    public static NativeTensor fromArray(Object array) {
        if (!array.getClass().isArray()) {
            Object one = Array.newInstance(primitiveOf(array), 1);
            Array.set(one, 0, array);
            return new NativeTensor(ofFlat(one).reshape());
        }
        List<Long> sizes = new ArrayList<>();
        Class<?> element = array.getClass();
        for (Object level = array; element.isArray(); element = element.getComponentType()) {
            int n = level == null ? 0 : Array.getLength(level);
            sizes.add((long) n);
            level = n == 0 ? null : Array.get(level, 0);
        }
        long[] shape = sizes.stream().mapToLong(Long::longValue).toArray();
        long n = Tensor.countOrFail(shape);
        if (n < 0 || n > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("an array of " + Arrays.toString(shape)
                    + " is too large for a message");
        }
        Object flat = Array.newInstance(element, (int) n);
        copyLevel(array, flat, 0, shape, 0, true);
        return fromFlatArray(flat, shape);
    }

    /**
     * A tensor of the elements of an array of one dimension.
     *
     * @param array for instance a {@code float[]}
     * @param shape the sizes; their product is the array's length
     * @throws IllegalArgumentException if it is not, or the elements have none of the types above
     */
    public static NativeTensor fromFlatArray(Object array, long[] shape) {
        return new NativeTensor(ofFlat(array).reshape(shape));
    }

    /** The elements in an array of one dimension, for instance a {@code float[]}. */
    public Object toFlatArray() {
        int n = (int) tensor.size();
        switch (tensor.dtype()) {
            case STRING:
                return tensor.strings();
            case BOOL:
                return tensor.toBooleanArray();
            case FLOAT16:
            case BFLOAT16:
            case FLOAT32:
                return tensor.toFloatArray();
            case FLOAT64:
                double[] doubles = new double[n];
                tensor.asDoubleBuffer().get(doubles);
                return doubles;
            case INT64:
            case UINT64:
                long[] longs = new long[n];
                tensor.asLongBuffer().get(longs);
                return longs;
            case INT32:
            case UINT32:
                int[] ints = new int[n];
                tensor.asIntBuffer().get(ints);
                return ints;
            case INT16:
            case UINT16:
                short[] shorts = new short[n];
                tensor.asShortBuffer().get(shorts);
                return shorts;
            default:
                byte[] bytes = new byte[n];
                tensor.data().get(bytes);
                return bytes;
        }
    }

    /**
     * The elements in nested arrays, for instance a {@code float[][]}; of a scalar the boxed
     * element.
     *
     * @throws IllegalStateException if the shape has no elements, but a million rows or more
     */
    public Object toNDArray() {
        Object flat = toFlatArray();
        long[] shape = tensor.shape();
        if (shape.length == 0) {
            return Array.get(flat, 0);
        }
        long nArrays = 1;
        for (int i = 0; i < shape.length && shape[i] != 0; i++) {
            nArrays *= shape[i];
            if (tensor.size() == 0 && nArrays > MAX_EMPTY_ARRAYS) {
                throw new IllegalStateException(tensor + " would be over a million empty arrays");
            }
        }
        // a size behind a 0 may be over an int's; no array is made for it
        int[] sizes = Arrays.stream(shape).mapToInt(size -> (int) Math.min(size, 1 << 30))
                .toArray();
        Object array = Array.newInstance(flat.getClass().getComponentType(), sizes);
        copyLevel(array, flat, 0, shape, 0, false);
        return array;
    }

    /**
     * Copies a level of nested arrays to the flat one, or from it; returns what comes next there.
     */
    private static int copyLevel(Object nested, Object flat, int at, long[] shape, int level,
                                 boolean isToFlat) {
        int n = nested == null ? -1 : Array.getLength(nested);
        if (n != shape[level]) {
            throw new IllegalArgumentException("the array is not rectangular: in dimension " + level
                    + (n < 0 ? " one is null" : " one has " + n) + ", the first " + shape[level]);
        }
        if (level == shape.length - 1) {
            System.arraycopy(isToFlat ? nested : flat, isToFlat ? 0 : at,
                    isToFlat ? flat : nested, isToFlat ? at : 0, n);
            return at + n;
        }
        int next = at;
        for (int i = 0; i < n; i++) {
            next = copyLevel(Array.get(nested, i), flat, next, shape, level + 1, isToFlat);
        }
        return next;
    }

    private static Class<?> primitiveOf(Object element) {
        if (element instanceof String) {
            return String.class;
        }
        try {
            return (Class<?>) element.getClass().getField("TYPE").get(null);
        } catch (ReflectiveOperationException e) {
            throw new IllegalArgumentException("no tensor can be made of "
                    + element.getClass().getName(), e);
        }
    }

    private static Tensor ofFlat(Object array) {
        if (array instanceof float[]) {
            return Tensor.of((float[]) array);
        } else if (array instanceof double[]) {
            return Tensor.of((double[]) array);
        } else if (array instanceof long[]) {
            return Tensor.of((long[]) array);
        } else if (array instanceof int[]) {
            return Tensor.of((int[]) array);
        } else if (array instanceof short[]) {
            return Tensor.of((short[]) array);
        } else if (array instanceof byte[]) {
            return Tensor.of(DType.INT8, ByteBuffer.wrap((byte[]) array));
        } else if (array instanceof boolean[]) {
            return Tensor.of((boolean[]) array);
        } else if (array instanceof String[]) {
            return Tensor.of((String[]) array);
        }
        throw new IllegalArgumentException("no tensor can be made of "
                + array.getClass().getSimpleName() + "; of numbers, booleans and strings one can");
    }
}
