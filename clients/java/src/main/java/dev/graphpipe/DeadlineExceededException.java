package dev.graphpipe;

/** The time for the call is over. */
public final class DeadlineExceededException extends GraphPipeException {
    private static final long serialVersionUID = 1;

    DeadlineExceededException(String message, long code) {
        super(message, code);
    }
}
