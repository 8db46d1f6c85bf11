package dev.graphpipe;

import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ProtocolFamily;
import java.net.StandardProtocolFamily;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A server that does what a test says, byte by byte: it runs a script for each connection, one
 * after the other, and closes it then.
 */
final class Scripted implements AutoCloseable {
    private static final Pattern LENGTH = Pattern.compile("Content-Length: (\\d+)");

    /** What is done with a connection. */
    interface Script {
        void run(Peer peer) throws Exception;
    }

    final String url;
    final List<String> heads = new CopyOnWriteArrayList<>();
    final AtomicInteger nRequests = new AtomicInteger();
    final CountDownLatch[] closed;
    private final ServerSocketChannel listener;
    private final Thread thread;
    private volatile Throwable error;

    /** where: "tcp", or the path of a unix socket. */
    Scripted(String where, Script... scripts) throws Exception {
        if (where.equals("tcp")) {
            listener = ServerSocketChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
            url = "http://127.0.0.1:" + listener.socket().getLocalPort();
        } else {
            ProtocolFamily unix = StandardProtocolFamily.valueOf("UNIX");
            listener = (ServerSocketChannel) ServerSocketChannel.class
                    .getMethod("open", ProtocolFamily.class).invoke(null, unix);
            url = "unix:" + where;
            listener.bind(new Address(url).resolve(Deadline.after(null))[0]);
        }
        closed = new CountDownLatch[scripts.length];
        for (int i = 0; i < scripts.length; i++) {
            closed[i] = new CountDownLatch(1);
        }
        thread = Threads.daemon(() -> serve(scripts));
        thread.start();
    }

    private void serve(Script[] scripts) {
        try {
            for (int i = 0; i < scripts.length; i++) {
                try (SocketChannel channel = listener.accept()) {
                    scripts[i].run(new Peer(this, channel));
                }
                closed[i].countDown();
            }
        } catch (Throwable e) {
            error = e;
        }
    }

    void awaitClosed(int i) throws InterruptedException {
        assertTrue(closed[i].await(60, TimeUnit.SECONDS));
    }

    /** Waits for the scripts to end. */
    void finish() throws InterruptedException {
        thread.join(60_000);
        assertTrue(error == null && !thread.isAlive(), () -> "the script: " + error);
        assertNull(error);
    }

    @Override
    public void close() throws IOException {
        listener.close();
    }

    /** Whatever is asked is answered by these bytes. */
    static Script answers(byte[]... pieces) {
        return peer -> {
            while (peer.request()) {
                peer.send(pieces);
            }
        };
    }

    static Script askedOnce(byte[]... pieces) {
        return peer -> {
            peer.request();
            peer.sendIfHeard(pieces);
        };
    }

    static byte[] answer(byte[] body) {
        return answer(body, "200 OK", "application/x-graphpipe");
    }

    static byte[] answer(byte[] body, String status, String kind) {
        return join(bytes("HTTP/1.1 " + status + "\r\nContent-Type: " + kind
                + "\r\nContent-Length: " + body.length + "\r\n\r\n"), body);
    }

    static byte[] bytes(String latin1) {
        return latin1.getBytes(StandardCharsets.ISO_8859_1);
    }

    static byte[] join(byte[]... pieces) {
        ByteArrayOutputStream whole = new ByteArrayOutputStream();
        for (byte[] piece : pieces) {
            whole.writeBytes(piece);
        }
        return whole.toByteArray();
    }

    /** An accepted connection, as a script sees it. */
    static final class Peer {
        final SocketChannel channel;
        private final Scripted server;
        private byte[] received = {};
        private long nLeft;

        Peer(Scripted server, SocketChannel channel) {
            this.server = server;
            this.channel = channel;
        }

        /** Some bytes; false at the end of the connection. */
        private boolean receive() throws IOException {
            ByteBuffer piece = ByteBuffer.allocate(1 << 16);
            int n = channel.read(piece);
            received = join(received, Arrays.copyOf(piece.array(), Math.max(n, 0)));
            return n > 0;
        }

        /** Reads a request's head; false at the end of the connection. */
        boolean head() throws IOException {
            String text = new String(received, StandardCharsets.ISO_8859_1);
            while (!text.contains("\r\n\r\n")) {
                if (!receive()) {
                    return false;
                }
                text = new String(received, StandardCharsets.ISO_8859_1);
            }
            int end = text.indexOf("\r\n\r\n") + 4;
            Matcher length = LENGTH.matcher(text);
            assertTrue(length.find());
            nLeft = Long.parseLong(length.group(1)) - (received.length - end);
            received = new byte[0];
            server.heads.add(text.substring(0, end));
            return true;
        }

        /** Reads a whole request; false at the end of the connection. */
        boolean request() throws IOException {
            if (!head()) {
                return false;
            }
            while (nLeft > 0) {
                if (!receive()) {
                    return false;
                }
                nLeft -= received.length;
                received = new byte[0];
            }
            server.nRequests.incrementAndGet();
            return true;
        }

        void send(byte[]... pieces) throws IOException {
            for (byte[] piece : pieces) {
                ByteBuffer rest = ByteBuffer.wrap(piece);
                while (rest.hasRemaining()) {
                    channel.write(rest);
                }
            }
        }

        /** Sends what the client, which may have seen enough, listens to. */
        void sendIfHeard(byte[]... pieces) {
            try {
                send(pieces);
            } catch (IOException e) {
                received = new byte[0]; // it has gone
            }
        }

        void untilClosed() {
            try {
                while (receive()) {
                    received = new byte[0];
                }
            } catch (IOException e) {
                received = new byte[0]; // a reset is an end too
            }
        }
    }
}
