package dev.graphpipe;

/** The server has no such model, version or path. */
public final class NotFoundException extends GraphPipeException {
    private static final long serialVersionUID = 1;

    NotFoundException(String message, long code) {
        super(message, code);
    }
}
