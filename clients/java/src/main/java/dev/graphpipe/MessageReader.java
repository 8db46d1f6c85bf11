package dev.graphpipe;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Reads answers. Nothing of a message is believed: every place is checked before it is read. What a
 * message says several times, by offsets that lead to the same place, counts each time against a
 * budget, so that it cannot become more than a few times its size. Places are longs, since the
 * offsets are unsigned.
 */
final class MessageReader {
    private static final int MAX_TENSORS = 4096;
    private static final int MAX_RANK = 32;
    private static final int ARRAY_BYTES = 24; // of an array of bytes, besides them, and its place

    private final ByteBuffer data;
    private final int size;
    private long budget;

    private MessageReader(ByteBuffer message) {
        data = message.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        size = data.limit();
        budget = 8L * size + (1 << 20);
    }

    /**
     * An InferResponse, whose tensors are views of it but for strings.
     *
     * @throws ProtocolException if it is none
     */
    static Answer answer(ByteBuffer message) {
        MessageReader reader = new MessageReader(message);
        Table root = reader.root();
        for (Table error : root.tables(1, 1)) {
            return new Answer(error.number64(0), error.text(1, false));
        }
        List<Table> tables = root.tables(0, MAX_TENSORS);
        List<Tensor> tensors = new ArrayList<>(tables.size());
        for (Table table : tables) {
            tensors.add(reader.tensor(table, "output_tensors[" + tensors.size() + "]"));
        }
        return new Answer(tensors);
    }

    /**
     * A MetadataResponse.
     *
     * @throws ProtocolException if it is none
     */
    static Metadata metadata(ByteBuffer message) {
        Table root = new MessageReader(message).root();
        String[] texts = new String[4];
        for (int i = 0; i < texts.length; i++) {
            texts[i] = root.text(i, false);
        }
        return new Metadata(texts[0], texts[1], texts[2], texts[3], ios(root, 4), ios(root, 5));
    }

    private static List<Metadata.Io> ios(Table root, int slot) {
        List<Metadata.Io> ios = new ArrayList<>();
        for (Table table : root.tables(slot, MAX_TENSORS)) {
            long[] shape = table.shape(2, -1);
            ios.add(new Metadata.Io(table.text(0, true), table.text(1, false), table.dtype(3, 0),
                    shape));
        }
        return ios;
    }

    private Tensor tensor(Table table, String what) {
        DType dtype = table.dtype(0, 1);
        long[] shape = table.shape(1, 0);
        long n = Tensor.countOrFail(shape);
        boolean isText = dtype == DType.STRING;
        long width = isText ? 1 : dtype.sizeBytes();
        Vector held = isText ? table.vector(3, 4, Buffers.MAX_BYTES)
                : table.vector(2, 1, Buffers.MAX_BYTES);
        if (n < 0 || n > Buffers.MAX_BYTES / width || held.n != n * width) {
            throw Errors.broken(what + " holds " + held.n + (isText ? " strings" : " bytes")
                    + ", which is not what " + Tensor.describe(dtype, shape) + " needs");
        }
        if (isText) {
            return Tensor.ofChecked(dtype, shape, null, strings(held));
        }
        ByteBuffer elements = Buffers.slice(data, held.at, held.at + held.n);
        if (dtype == DType.BOOL) {
            checkBooleans(elements, what);
        }
        return Tensor.ofChecked(dtype, shape, elements, null);
    }

    private byte[][] strings(Vector places) {
        byte[][] strings = new byte[places.n][];
        for (int i = 0; i < places.n; i++) {
            strings[i] = bytes(follow(places.at + 4L * i));
        }
        return strings;
    }

    private static void checkBooleans(ByteBuffer elements, String what) {
        for (int i = 0; i < elements.capacity(); i++) {
            if ((elements.get(i) & ~1) != 0) {
                throw Errors.broken(what + " has a bool that is neither 0 nor 1");
            }
        }
    }

    // --- steps, each checked ---

    private Table root() {
        return new Table(follow(0));
    }

    /** The place as an index, once n bytes from it on are in the message. */
    private int checked(long at, int n) {
        if (at < 0 || at > size - n) {
            throw Errors.broken("byte " + at + " is outside of its " + size + " bytes");
        }
        return (int) at;
    }

    private int number16(long at) {
        return Short.toUnsignedInt(data.getShort(checked(at, 2)));
    }

    private long number32(long at) {
        return Integer.toUnsignedLong(data.getInt(checked(at, 4)));
    }

    private long follow(long at) {
        long offset = number32(at);
        if (offset == 0) {
            throw Errors.broken("the offset at byte " + at + " is 0");
        }
        return at + offset;
    }

    private void spend(long n) {
        budget -= n;
        if (budget < 0) {
            throw Errors.broken("says the same so often that it is far over its size");
        }
    }

    private Vector vector(long at, int width, int limit) {
        long n = number32(at);
        if (n > limit || n * width > size - at - 4) {
            throw Errors.broken(n + " elements at byte " + at + " of " + size + " bytes");
        }
        return new Vector((int) at + 4, (int) n);
    }

    private byte[] bytes(long at) {
        Vector text = vector(at, 1, Buffers.MAX_BYTES);
        spend(text.n + (long) ARRAY_BYTES);
        byte[] copy = new byte[text.n];
        data.duplicate().position(text.at).get(copy);
        return copy;
    }

    /** The elements of a vector: where the first one is, and how many there are. */
    private static final class Vector {
        final int at;
        final int n;

        Vector(int at, int n) {
            this.at = at;
            this.n = n;
        }
    }

    /** A table, whose vtable and end are within the message. */
    private final class Table {
        private final long at;
        private final long vtable;
        private final int vtableSize;
        private final int tableSize;

        Table(long at) {
            this.at = at;
            vtable = at - data.getInt(checked(at, 4));
            vtableSize = number16(vtable);
            tableSize = number16(vtable + 2);
            if (vtableSize < 4 || vtableSize % 2 != 0 || tableSize < 4
                    || vtable + vtableSize > size || at + tableSize > size) {
                throw Errors.broken("the table at byte " + at + " is none, or cut off");
            }
        }

        /** Where a field is; 0 if it is absent. */
        private long place(int slot, int width) {
            int entry = 4 + 2 * slot;
            int offset = entry + 2 > vtableSize ? 0 : number16(vtable + entry);
            if (offset != 0 && (offset < 4 || offset > tableSize - width)) {
                throw Errors.broken("field " + slot + " is outside of the table at byte " + at);
            }
            return offset == 0 ? 0 : at + offset;
        }

        long number64(int slot) {
            long place = place(slot, 8);
            return place == 0 ? 0 : data.getLong(checked(place, 8));
        }

        DType dtype(int slot, int smallest) {
            long place = place(slot, 1);
            int number = place == 0 ? 0 : Byte.toUnsignedInt(data.get(checked(place, 1)));
            DType dtype = DType.ofNumber(number);
            if (dtype == null || number < smallest) {
                throw Errors.broken("a type is " + number + ", which no tensor has");
            }
            return dtype;
        }

        String text(int slot, boolean isStrict) {
            long place = place(slot, 4);
            if (place == 0) {
                return "";
            }
            byte[] text = bytes(follow(place));
            CodingErrorAction action = isStrict ? CodingErrorAction.REPORT
                    : CodingErrorAction.REPLACE;
            try {
                return StandardCharsets.UTF_8.newDecoder().onMalformedInput(action)
                        .onUnmappableCharacter(action).decode(ByteBuffer.wrap(text)).toString();
            } catch (CharacterCodingException e) {
                throw Errors.broken("a name is not UTF-8");
            }
        }

        Vector vector(int slot, int width, int limit) {
            long place = place(slot, 4);
            return place == 0 ? new Vector(0, 0)
                    : MessageReader.this.vector(follow(place), width, limit);
        }

        /** The tables that a field lists, or the first of them. */
        List<Table> tables(int slot, int most) {
            Vector listed = vector(slot, 4, MAX_TENSORS);
            List<Table> tables = new ArrayList<>();
            for (int i = 0; i < Math.min(listed.n, most); i++) {
                tables.add(new Table(follow(listed.at + 4L * i)));
            }
            return tables;
        }

        long[] shape(int slot, int smallest) {
            Vector listed = vector(slot, 8, MAX_RANK);
            long[] shape = new long[listed.n];
            for (int i = 0; i < shape.length; i++) {
                shape[i] = data.getLong(listed.at + 8 * i);
            }
            if (Arrays.stream(shape).anyMatch(n -> n < smallest)) {
                throw Errors.broken("a shape is " + Arrays.toString(shape));
            }
            return shape;
        }
    }
}
