package dev.graphpipe;

/** The answer is not GraphPipe's, or is broken. */
public final class ProtocolException extends GraphPipeException {
    private static final long serialVersionUID = 1;

    ProtocolException(String message, long code) {
        super(message, code);
    }
}
