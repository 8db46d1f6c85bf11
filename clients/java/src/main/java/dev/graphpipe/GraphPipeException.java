package dev.graphpipe;

/**
 * A call that failed. The message is one line of visible characters, with the server's own words if
 * it said any. Each kind has a class of its own; what is none of them is this one itself.
 */
public class GraphPipeException extends RuntimeException {
    /** The code of failures on this side, and of servers that did not give one. */
    public static final long NO_CODE = -1;

    private static final long serialVersionUID = 1;

    /** The error's number in docs/protocol.md ("Errors"), as the server gave it. */
    private final long code;

    GraphPipeException(String message, long code) {
        super(message);
        this.code = code;
    }

    /**
     * The number of the error in the protocol.
     *
     * @return as in docs/protocol.md ("Errors"), or {@link #NO_CODE}
     */
    public long code() {
        return code;
    }
}
