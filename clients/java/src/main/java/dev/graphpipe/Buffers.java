package dev.graphpipe;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Memory for elements. Large blocks lie outside of the heap, where the kernel reads and writes them
 * without a copy; small ones in it, since one outside takes longer to make and to be freed than a
 * copy of it takes.
 */
final class Buffers {
    /** Where messages end, by the format. */
    static final int MAX_BYTES = Integer.MAX_VALUE;
    /** From here on a block lies outside of the heap. */
    static final int DIRECT_BYTES = 32 << 10;

    private Buffers() {
    }

    /** A block of zeros, little-endian. */
    static ByteBuffer allocate(int size) {
        ByteBuffer block = size < DIRECT_BYTES ? ByteBuffer.allocate(size)
                : ByteBuffer.allocateDirect(size);
        return block.order(ByteOrder.LITTLE_ENDIAN);
    }

    /** The bytes from begin to end, as a block of their own in the same memory. */
    static ByteBuffer slice(ByteBuffer block, int begin, int end) {
        ByteBuffer part = block.duplicate();
        part.position(begin).limit(end);
        return part.slice().order(ByteOrder.LITTLE_ENDIAN);
    }
}
