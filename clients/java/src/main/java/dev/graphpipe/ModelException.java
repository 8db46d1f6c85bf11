package dev.graphpipe;

/** The model or the server failed on a valid request. */
public final class ModelException extends GraphPipeException {
    private static final long serialVersionUID = 1;

    ModelException(String message, long code) {
        super(message, code);
    }
}
