package dev.graphpipe;

import java.util.Locale;

/** The types of a tensor's elements, in the protocol's order: a type's number is its ordinal. */
public enum DType {
    /** Any type. Only in metadata; a tensor has another one. */
    NULL(0),
    /** 8 bits, unsigned: {@code Byte.toUnsignedInt} gives the value. */
    UINT8(1),
    /** 8 bits, signed. */
    INT8(1),
    /** 16 bits, unsigned: {@code Short.toUnsignedInt} gives the value. */
    UINT16(2),
    /** 16 bits, signed. */
    INT16(2),
    /** 32 bits, unsigned: {@code Integer.toUnsignedLong} gives the value. */
    UINT32(4),
    /** 32 bits, signed. */
    INT32(4),
    /** 64 bits, unsigned: {@code Long.toUnsignedString} shows the value. */
    UINT64(8),
    /** 64 bits, signed. */
    INT64(8),
    /** IEEE 754 half precision: 5 bits of exponent, 10 of fraction. */
    FLOAT16(2),
    /** IEEE 754 single precision. */
    FLOAT32(4),
    /** IEEE 754 double precision. */
    FLOAT64(8),
    /** Strings of any bytes, mostly UTF-8. */
    STRING(0),
    /** One byte, 0 or 1. */
    BOOL(1),
    /** The upper half of a {@link #FLOAT32}. */
    BFLOAT16(2);

    private static final DType[] ALL = values();

    private final int sizeBytes;

    DType(int sizeBytes) {
        this.sizeBytes = sizeBytes;
    }

    /** The type with this number, or null. */
    static DType ofNumber(int number) {
        return number < ALL.length ? ALL[number] : null;
    }

    /**
     * The size of an element.
     *
     * @return bytes; 0 for {@link #STRING} and {@link #NULL}
     */
    public int sizeBytes() {
        return sizeBytes;
    }

    /**
     * The protocol's name of the type.
     *
     * @return for instance "float32"
     */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
