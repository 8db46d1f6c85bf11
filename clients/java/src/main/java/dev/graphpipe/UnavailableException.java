package dev.graphpipe;

/** No connection, a connection that was lost, or a server that is shutting down. */
public class UnavailableException extends GraphPipeException {
    private static final long serialVersionUID = 1;

    UnavailableException(String message, long code) {
        super(message, code);
    }
}
