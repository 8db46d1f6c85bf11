package dev.graphpipe;

import java.io.IOException;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.channels.UnresolvedAddressException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.TimeoutException;

/**
 * The connections to a server: one for each call at a time, kept for the next. Any thread may call
 * it.
 */
final class Pool {
    static final String MEDIA_TYPE = "application/x-graphpipe";

    private static final Duration CONNECT_TIME = Duration.ofSeconds(5);
    private static final long MAX_TIMEOUT_MS = 0xffffffffL; // of X-GraphPipe-Timeout-Ms

    final Address address;
    private final String fields;
    private final long limit;
    private final Deque<Connection> idle = new ConcurrentLinkedDeque<>();
    private volatile boolean isClosed;

    Pool(Address address, ClientOptions options) {
        this.address = address;
        this.fields = options.headerLines();
        this.limit = options.maxAnswerBytes();
    }

    void close() {
        isClosed = true;
        closeIdle();
    }

    void closeIdle() {
        for (Connection each = idle.poll(); each != null; each = idle.poll()) {
            each.close();
        }
    }

    /**
     * One request and its answer, whatever its status. A kept connection that the server has closed
     * meanwhile is replaced, and the request sent again if it cannot have been run, or does no
     * harm.
     */
    Reply ask(String path, List<ByteBuffer> parts, Deadline deadline,
                         boolean isHarmless) {
        boolean mayBeKept = true;
        while (true) {
            if (isClosed) {
                throw new IllegalStateException("the client is closed");
            }
            if (deadline.isOver()) {
                throw Errors.late(address.label + ": the time was up before the request was sent");
            }
            Connection kept = mayBeKept ? takeIdle() : null;
            Connection connection = kept != null ? kept : connect(deadline);
            boolean keeps = false;
            try {
                Reply reply = connection.ask(whole(path, parts, deadline), limit,
                        deadline);
                keeps = reply.keeps;
                return reply;
            } catch (Connection.Lost e) {
                if (kept == null || !isHarmless && !connection.cannotHaveRun()) {
                    throw Errors.unavailable(e.getMessage());
                }
                mayBeKept = false;
            } finally {
                if (keeps) {
                    giveBack(connection);
                } else {
                    connection.close();
                }
            }
        }
    }

    private Connection takeIdle() {
        Connection connection = idle.poll();
        while (connection != null && !connection.isFresh()) {
            connection.close();
            connection = idle.poll();
        }
        return connection;
    }

    private void giveBack(Connection connection) {
        idle.push(connection); // the last one used is the first to be used again
        if (isClosed) {
            closeIdle();
        }
    }

    private List<ByteBuffer> whole(String path, List<ByteBuffer> parts, Deadline deadline) {
        long size = parts.stream().mapToLong(ByteBuffer::remaining).sum();
        String head = "POST " + path + " HTTP/1.1\r\nHost: " + address.hostField + "\r\nAccept: "
                + MEDIA_TYPE + "\r\nContent-Type: " + MEDIA_TYPE + "\r\nContent-Length: " + size
                + "\r\n" + fields;
        if (!deadline.isNever()) {
            long left = Math.min(deadline.leftMillis(), MAX_TIMEOUT_MS);
            head += "X-GraphPipe-Timeout-Ms: " + left + "\r\n";
        }
        List<ByteBuffer> whole = new ArrayList<>(parts.size() + 1);
        whole.add(ByteBuffer.wrap((head + "\r\n").getBytes(StandardCharsets.ISO_8859_1)));
        whole.addAll(parts);
        return whole;
    }

    /** A new connection, to the first of the host's addresses that takes it. */
    private Connection connect(Deadline deadline) {
        Deadline near = deadline.atMost(CONNECT_TIME);
        Exception why = new UnknownHostException("the name has no address");
        try {
            for (SocketAddress target : address.resolve(near)) {
                try {
                    return new Connection(address, target, near);
                } catch (IOException | UnresolvedAddressException e) {
                    why = e;
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw Errors.interrupted(address.label);
        } catch (GraphPipeException e) {
            throw e;
        } catch (Exception e) { // what the resolver and reflection throw
            why = e;
        }
        boolean isLate = why instanceof TimeoutException || why instanceof SocketTimeoutException;
        if (isLate && deadline.isOver()) {
            throw Errors.late(address.label + ": the time is up while connecting");
        }
        String words = why instanceof UnknownHostException ? "no such host: " + why.getMessage()
                : isLate ? "no answer in time" : String.valueOf(why.getMessage());
        throw Errors.unavailable("cannot connect to " + address.label + ": "
                + Errors.oneLine(words));
    }
}
