package dev.graphpipe;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collection;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * Writes requests: FlatBuffers, as far as the protocol uses them; docs/protocol.md ("Byte by byte")
 * shows one. The bytes are those that the C library writes. Tensors of 4 KiB or more are not
 * copied: they come last, each a part of its own, and the message is the parts one after the other.
 */
final class MessageWriter {
    private static final int MAX_FRAME_BYTES = Buffers.MAX_BYTES - 64; // what a Java array can have
    private static final int LARGE_BYTES = 4096;
    private static final int DATA_ALIGN = 64;

    // Vtables as they are written: their own size in bytes, the table's, the place of each field.
    private static final int[] REQUEST = {8, 12, 8, 4}; // req_type, req
    private static final int[] METADATA = {4, 4};
    // config, input_names, input_tensors, output_names
    private static final int[] INFER = {12, 20, 4, 8, 12, 16};
    private static final int[] TENSOR = {12, 20, 16, 4, 8, 12}; // type, shape, data, string_val

    private final Map<int[], Integer> vtables = new IdentityHashMap<>();
    // Large tensors' data, and the fields that lead to them.
    private final List<Integer> largePlaces = new ArrayList<>();
    private final List<ByteBuffer> large = new ArrayList<>();
    private ByteBuffer out = ByteBuffer.allocate(1024).order(ByteOrder.LITTLE_ENDIAN).position(4);

    private MessageWriter() {
    }

    /**
     * An InferRequest.
     *
     * @throws InvalidInputException if the message would be over 2 GiB - 1
     */
    static List<ByteBuffer> inferRequest(Collection<Tensor> tensors, Collection<String> inputNames,
                                         Collection<String> outputNames, String config) {
        MessageWriter writer = new MessageWriter();
        int infer = writer.request(1, INFER);
        writer.string(infer + 4, Tensor.utf8(config, "config"));
        writer.names(infer + 8, inputNames, "the name of an input");
        int place = writer.offsets(infer + 12, tensors.size());
        for (Tensor tensor : tensors) {
            writer.tensor(place, tensor);
            place += 4;
        }
        writer.names(infer + 16, outputNames, "the name of an output");
        return writer.parts();
    }

    /** A MetadataRequest. */
    static List<ByteBuffer> metadataRequest() {
        MessageWriter writer = new MessageWriter();
        writer.request(2, METADATA);
        return writer.parts();
    }

    // --- pieces of a message ---

    private int request(int tag, int[] vtable) {
        int request = table(REQUEST);
        link(0, request);
        int table = table(vtable);
        out.put(request + 8, (byte) tag);
        link(request + 4, table);
        return table;
    }

    /** Makes room for more bytes. */
    private void reserve(long more) {
        long needed = out.position() + more;
        if (needed > MAX_FRAME_BYTES) {
            throw tooLarge(needed);
        }
        if (needed > out.capacity()) {
            long size = Math.min(MAX_FRAME_BYTES, Math.max(needed, 2L * out.capacity()));
            out = ByteBuffer.allocate((int) size).order(ByteOrder.LITTLE_ENDIAN).put(out.flip());
        }
    }

    private void zeros(int n) {
        reserve(n);
        out.position(out.position() + n); // nothing was ever written there
    }

    /** Fills up, so that what comes after `ahead` more bytes lies at a multiple of `to`. */
    private void align(int to, int ahead) {
        zeros(padding(out.position() + ahead, to));
    }

    private static int padding(long at, int to) {
        return (int) (-at & to - 1);
    }

    private void link(int at, int target) {
        out.putInt(at, target - at);
    }

    private int table(int[] vtable) {
        Integer written = vtables.get(vtable);
        align(4, written == null ? 2 * vtable.length : 0);
        if (written == null) {
            written = out.position();
            vtables.put(vtable, written);
            reserve(2 * vtable.length);
            for (int entry : vtable) {
                out.putShort((short) entry);
            }
        }
        int table = out.position();
        zeros(vtable[1]);
        out.putInt(table, table - written);
        return table;
    }

    /** The head of a vector to which the field at `at` leads; its elements follow. */
    private void vector(int at, int n, int align) {
        align(align, 4);
        link(at, out.position());
        reserve(4);
        out.putInt(n);
    }

    /** A vector of offsets that are linked later: where the first one is. */
    private int offsets(int at, int n) {
        vector(at, n, 4);
        int first = out.position();
        reserve(4L * n);
        zeros(4 * n);
        return first;
    }

    private void string(int at, byte[] text) {
        vector(at, text.length, 4);
        reserve(text.length + 1L);
        out.put(text).put((byte) 0);
    }

    private void names(int at, Collection<String> names, String what) {
        int place = offsets(at, names.size());
        for (String name : names) {
            string(place, Tensor.utf8(name, what));
            place += 4;
        }
    }

    private void tensor(int at, Tensor tensor) {
        int table = table(TENSOR);
        link(at, table);
        out.put(table + 16, (byte) tensor.dtype().ordinal());
        long[] shape = tensor.shape();
        vector(table + 4, shape.length, 8);
        reserve(8L * shape.length);
        for (long size : shape) {
            out.putLong(size);
        }
        boolean isText = tensor.dtype() == DType.STRING;
        data(table + 8, isText ? ByteBuffer.allocate(0) : tensor.data());
        byte[][] strings = isText ? tensor.stringBytes() : new byte[0][];
        int place = offsets(table + 12, strings.length);
        for (byte[] string : strings) {
            string(place, string);
            place += 4;
        }
    }

    private void data(int at, ByteBuffer bytes) {
        if (bytes.remaining() >= LARGE_BYTES) {
            largePlaces.add(at);
            large.add(bytes);
            return;
        }
        vector(at, bytes.remaining(), bytes.hasRemaining() ? DATA_ALIGN : 4);
        reserve(bytes.remaining());
        out.put(bytes);
    }

    /** The message; the data of each large tensor behind what fills up, and its size. */
    private List<ByteBuffer> parts() {
        List<ByteBuffer> parts = new ArrayList<>();
        parts.add(out);
        long at = out.position();
        for (int i = 0; i < large.size(); i++) {
            ByteBuffer bytes = large.get(i);
            int fill = padding(at + 4, DATA_ALIGN);
            long begin = at + fill;
            at = begin + 4 + bytes.remaining();
            if (at > Buffers.MAX_BYTES) {
                throw tooLarge(at);
            }
            link(largePlaces.get(i), (int) begin);
            ByteBuffer gap = ByteBuffer.allocate(fill + 4).order(ByteOrder.LITTLE_ENDIAN);
            parts.add(gap.putInt(fill, bytes.remaining()));
            parts.add(bytes);
        }
        out.flip();
        return parts;
    }

    private static InvalidInputException tooLarge(long size) {
        return Errors.invalid("the request would have " + size + " bytes or more; messages end at "
                + Buffers.MAX_BYTES + ": send fewer rows at a time");
    }
}
