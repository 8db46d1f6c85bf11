package dev.graphpipe;

import java.time.Duration;
import java.util.concurrent.Executor;

/**
 * What a client may be told besides its server's address. Set what differs, then connect: {@code
 * Client.connect(address, new ClientOptions().timeout(Duration.ofSeconds(5)))}. Not for several
 * threads; a client takes no notice of later changes.
 */
public final class ClientOptions {
    private Duration timeout = Duration.ofSeconds(60);
    private long maxAnswerBytes = Buffers.MAX_BYTES;
    private Executor executor;
    private final StringBuilder headers = new StringBuilder();

    /**
     * The time for a whole call, which the server is told too; 60 s by default.
     *
     * @param timeout over 0; null: no limit
     * @throws IllegalArgumentException if it is 0 or negative
     */
    public ClientOptions timeout(Duration timeout) {
        this.timeout = checked(timeout);
        return this;
    }

    /**
     * A larger answer is refused with a {@link ProtocolException}; 2 GiB - 1 by default.
     *
     * @param bytes of the answer's message, from 0 to 2 GiB - 1
     * @throws IllegalArgumentException if it is beyond
     */
    public ClientOptions maxAnswerBytes(long bytes) {
        if (bytes < 0 || bytes > Buffers.MAX_BYTES) {
            throw new IllegalArgumentException("maxAnswerBytes is " + bytes
                    + "; messages have 0 to " + Buffers.MAX_BYTES);
        }
        this.maxAnswerBytes = bytes;
        return this;
    }

    /** A further field of each request, for instance a proxy's token. */
    public ClientOptions header(String name, String value) {
        if (!name.matches("[!-9;-~]+") || !value.matches("[ -~]*")) {
            throw new IllegalArgumentException("header \"" + Errors.oneLine(name)
                    + "\" has characters that are not printable ASCII");
        }
        headers.append(name).append(": ").append(value).append("\r\n");
        return this;
    }

    /**
     * What runs the calls of {@link Client#inferAsync}, each in one thread until its answer is
     * there. By default each call in flight has a thread of the client's, made as needed and kept
     * for a minute.
     */
    public ClientOptions executor(Executor executor) {
        this.executor = executor;
        return this;
    }

    static Duration checked(Duration timeout) {
        if (timeout != null && (timeout.isNegative() || timeout.isZero())) {
            throw new IllegalArgumentException("timeout is " + timeout + "; it has to be over 0");
        }
        return timeout;
    }

    Duration timeout() {
        return timeout;
    }

    long maxAnswerBytes() {
        return maxAnswerBytes;
    }

    Executor executor() {
        return executor;
    }

    String headerLines() {
        return headers.toString();
    }
}
