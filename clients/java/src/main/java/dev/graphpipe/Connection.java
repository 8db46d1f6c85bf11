package dev.graphpipe;

import java.io.Closeable;
import java.io.IOException;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;

/**
 * One request at a time over HTTP/1.1, on a connection that is kept for the next.
 *
 * <p>The socket never blocks: a selector of its own waits for it, so that waiting has a limit, ends
 * when the thread is interrupted, and hears a refusal while a request is still sent. Parts outside
 * of the heap are sent from where they lie, and an answer's body is received into the memory that
 * tensors get.
 */
final class Connection implements Closeable {
    private static final int MAX_HEAD_BYTES = 65536;
    private static final int MAX_LINE_BYTES = 4096;
    private static final int MAX_INTERIM = 32;
    private static final int MAX_REASON_BYTES = 1 << 20;
    private static final int READ_BYTES = 16384;
    private static final int STAGED_BYTES = 65536;
    // An answer of this size gets its memory at once; a larger one 16 times what came.
    private static final int TRUSTED_BYTES = 8 << 20;
    private static final int TRUSTED_TIMES = 16;

    /** The connection ended before a byte of an answer came. */
    static final class Lost extends UnavailableException {
        private static final long serialVersionUID = 1;

        Lost(String message) {
            super(message, NO_CODE);
        }
    }

    private final Address address;
    private final SocketChannel channel;
    private final Selector selector;
    private SelectionKey key;
    // What was received and not taken yet, from position to limit; what is to be sent next.
    private final ByteBuffer received = ByteBuffer.allocateDirect(MAX_HEAD_BYTES).limit(0);
    private final ByteBuffer staged = ByteBuffer.allocateDirect(STAGED_BYTES);
    private boolean isSent;
    private boolean hasAnswered;
    private boolean wasReset;
    private int nInterim;

    /** Connects to one of the host's addresses. */
    Connection(Address address, SocketAddress target, Deadline deadline) throws Exception {
        this.address = address;
        channel = address.open();
        try {
            channel.configureBlocking(false);
            if (!address.isUnix()) {
                channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
            }
            selector = Selector.open();
        } catch (Exception e) {
            channel.close();
            throw e;
        }
        try {
            boolean isConnected = channel.connect(target);
            key = channel.register(selector, SelectionKey.OP_READ);
            while (!isConnected) {
                if (awaitReady(SelectionKey.OP_CONNECT, deadline) == 0) {
                    throw new SocketTimeoutException("no answer in time");
                }
                isConnected = channel.finishConnect();
            }
        } catch (Exception e) {
            close();
            throw e;
        }
    }

    @Override
    public void close() {
        for (Closeable end : new Closeable[] {selector, channel}) {
            try {
                end.close();
            } catch (IOException e) {
                continue; // nobody can do more about it
            }
        }
    }

    /** False once the server has closed it, or said something unasked. */
    boolean isFresh() {
        try {
            return !received.hasRemaining() && channel.read(staged.clear().limit(1)) == 0;
        } catch (IOException e) {
            return false;
        }
    }

    /**
     * True if the server has certainly not received the whole request: not all was sent, or a unix
     * socket says that bytes were unread when it was closed. Of TCP Java does not tell what the
     * other side acknowledged.
     */
    boolean cannotHaveRun() {
        return !isSent || address.isUnix() && wasReset;
    }

    /** Sends a request and receives its answer. */
    Reply ask(List<ByteBuffer> parts, long limit, Deadline deadline) {
        isSent = false;
        hasAnswered = false;
        wasReset = false;
        nInterim = 0;
        Head head = send(parts, deadline);
        while (head == null) {
            fill(deadline);
            head = takeHead();
        }
        try {
            ByteBuffer body = body(head, head.status == 200 ? limit : MAX_REASON_BYTES, deadline);
            return new Reply(head, body, head.keeps && isSent);
        } catch (ProtocolException | UnavailableException e) {
            if (head.status == 200) {
                throw e;
            }
            // the status says more than half a reason
            return new Reply(head, ByteBuffer.allocate(0), false);
        }
    }

    // --- waiting ---

    /** The operations that are possible now; 0 at the deadline. */
    private int awaitReady(int operations, Deadline deadline) throws IOException {
        if (key.interestOps() != operations) {
            key.interestOps(operations);
        }
        while (!deadline.isOver()) {
            int nReady = selector.select(deadline.isNever() ? 0 : deadline.leftMillis());
            if (Thread.currentThread().isInterrupted()) {
                throw Errors.interrupted(address.label);
            }
            selector.selectedKeys().clear();
            if (nReady > 0) { // else the key still says what it was ready for before
                return key.readyOps();
            }
        }
        return 0;
    }

    private int await(int operations, Deadline deadline, String doing) {
        try {
            int ready = awaitReady(operations, deadline);
            if (ready == 0) {
                throw Errors.late(address.label + ": the time is up while " + doing);
            }
            return ready;
        } catch (IOException e) {
            throw lost(e);
        }
    }

    private UnavailableException lost(IOException error) {
        if (hasAnswered) {
            return Errors.unavailable(address.label
                    + ": the connection ended in the middle of the answer");
        }
        wasReset = error != null && String.valueOf(error.getMessage()).contains("reset");
        return new Lost(address.label + ": the server closed the connection without an answer");
    }

    // --- sending ---

    /**
     * Sends until all is sent or an answer has come, whose head it returns: a server may refuse a
     * request before it has read all of it, and its words matter more than a broken pipe.
     */
    private Head send(List<ByteBuffer> parts, Deadline deadline) {
        Deque<ByteBuffer> rest = new ArrayDeque<>();
        parts.forEach(part -> rest.add(part.duplicate()));
        staged.clear().limit(0);
        while (stage(rest)) {
            try {
                if (write(rest.peek()) > 0) {
                    continue;
                }
            } catch (IOException e) {
                return null; // the server may have said why
            }
            int ready = await(SelectionKey.OP_READ | SelectionKey.OP_WRITE, deadline,
                    "sending the request");
            if ((ready & SelectionKey.OP_READ) != 0) {
                fill(deadline);
                Head head = takeHead();
                if (head != null) {
                    return head;
                }
            }
        }
        isSent = true;
        return null;
    }

    /**
     * Copies what comes next to the staged bytes, once those are sent, up to the next part that is
     * sent from where it lies. False: all is sent.
     */
    private boolean stage(Deque<ByteBuffer> rest) {
        if (staged.hasRemaining()) {
            return true;
        }
        staged.clear();
        while (!rest.isEmpty() && !liesApart(rest.peek())) {
            ByteBuffer next = rest.peek();
            int n = Math.min(next.remaining(), staged.remaining());
            staged.put(Buffers.slice(next, next.position(), next.position() + n));
            next.position(next.position() + n);
            if (next.hasRemaining()) {
                break;
            }
            rest.remove();
        }
        staged.flip();
        return staged.hasRemaining() || !rest.isEmpty();
    }

    private static boolean liesApart(ByteBuffer part) {
        return part.isDirect() && part.remaining() >= READ_BYTES;
    }

    private long write(ByteBuffer next) throws IOException {
        if (next == null || !liesApart(next)) {
            return channel.write(staged);
        }
        return staged.hasRemaining() ? channel.write(new ByteBuffer[] {staged, next})
                : channel.write(next);
    }

    // --- receiving ---

    /** Some bytes, at least one. */
    private void receive(ByteBuffer target, Deadline deadline) {
        try {
            int n = channel.read(target);
            while (n == 0) {
                await(SelectionKey.OP_READ, deadline, "waiting for the answer");
                n = channel.read(target);
            }
            if (n < 0) {
                throw lost(null);
            }
            hasAnswered = true;
        } catch (IOException e) {
            throw lost(e);
        }
    }

    /** Some more bytes to what was received; they are not there yet as a rule. */
    private void fill(Deadline deadline) {
        await(SelectionKey.OP_READ, deadline, "waiting for the answer");
        received.compact();
        received.limit(Math.min(received.capacity(), received.position() + READ_BYTES));
        receive(received, deadline);
        received.flip();
    }

    /** What was received before the marker, which is dropped; null while it has not come. */
    private byte[] takeUntil(String marker) {
        int end = received.position();
        for (int matched = 0; end < received.limit(); end++) {
            matched = received.get(end) == marker.charAt(matched) ? matched + 1
                    : received.get(end) == '\r' ? 1 : 0;
            if (matched == marker.length()) {
                byte[] taken = new byte[end + 1 - marker.length() - received.position()];
                received.get(taken).position(end + 1);
                return taken;
            }
        }
        return null;
    }

    /** The head of the final answer, once all of it has come. Interim ones are dropped. */
    private Head takeHead() {
        for (byte[] bytes = takeUntil("\r\n\r\n"); bytes != null; bytes = takeUntil("\r\n\r\n")) {
            Head head = new Head(bytes);
            nInterim++;
            if (head.status >= 200) {
                return head;
            }
            if (head.status == 101 || nInterim > MAX_INTERIM) {
                throw Errors.broken("no final answer came");
            }
        }
        if (received.remaining() == MAX_HEAD_BYTES) {
            throw Errors.broken("a head of over " + MAX_HEAD_BYTES + " bytes");
        }
        return null;
    }

    /** The line of a chunk's size, or of a trailer. */
    private String takeLine(Deadline deadline) {
        byte[] line = takeUntil("\r\n");
        while (line == null) {
            if (received.remaining() > MAX_LINE_BYTES) {
                throw Errors.broken("a line of over " + MAX_LINE_BYTES + " bytes in its chunks");
            }
            fill(deadline);
            line = takeUntil("\r\n");
        }
        return new String(line, StandardCharsets.ISO_8859_1);
    }

    /** Fills the buffer up to its limit. */
    private void take(ByteBuffer target, Deadline deadline) {
        int n = Math.min(target.remaining(), received.remaining());
        target.put(Buffers.slice(received, received.position(), received.position() + n));
        received.position(received.position() + n);
        while (target.hasRemaining()) {
            receive(target, deadline);
        }
    }

    private ByteBuffer body(Head head, long limit, Deadline deadline) {
        if (head.isChunked) {
            return chunks((int) limit, deadline);
        }
        if (head.length > limit) {
            throw Errors.broken(head.length + " bytes, over the limit of " + limit);
        }
        ByteBuffer body = memoryFor((int) Math.min(head.length, TRUSTED_BYTES));
        take(body, deadline);
        while (body.capacity() < head.length) {
            long larger = Math.min(head.length, (long) TRUSTED_TIMES * body.capacity());
            body = memoryFor((int) larger).put(body.flip());
            take(body, deadline);
        }
        return body.flip();
    }

    /** A body without a known length: its memory grows with it. */
    private ByteBuffer chunks(int limit, Deadline deadline) {
        ByteBuffer body = memoryFor(READ_BYTES);
        for (int n = chunkSize(limit, deadline); n > 0;
                n = chunkSize(limit - body.position(), deadline)) {
            while (n > 0) {
                int used = body.position();
                int piece = Math.min(n, Math.max(used, READ_BYTES));
                if (piece > body.capacity() - used) {
                    long larger = Math.min(limit, 2L * (used + piece));
                    body = memoryFor((int) larger).put(body.flip());
                }
                take(body.limit(used + piece), deadline);
                n -= piece;
            }
            if (!takeLine(deadline).isEmpty()) {
                throw Errors.broken("a chunk is longer than its size");
            }
        }
        for (int i = 0; i < MAX_INTERIM; i++) {
            if (takeLine(deadline).isEmpty()) {
                return body.flip();
            }
        }
        throw Errors.broken("too many trailers");
    }

    private int chunkSize(int most, Deadline deadline) {
        String size = takeLine(deadline).split(";", 2)[0].strip();
        if (!size.matches("[0-9a-fA-F]{1,8}")) {
            throw Errors.broken("a chunk without a size");
        }
        long n = Long.parseLong(size, 16);
        if (n > most) {
            throw Errors.broken("over the limit of bytes, by a chunk of " + n);
        }
        return (int) n;
    }

    private ByteBuffer memoryFor(int size) {
        try {
            return Buffers.allocate(size);
        } catch (OutOfMemoryError e) {
            throw new GraphPipeException(address.label + ": no memory for an answer of " + size
                    + " bytes; java's -XX:MaxDirectMemorySize and -Xmx say how much there is",
                    GraphPipeException.NO_CODE);
        }
    }
}
