package dev.graphpipe;

/** The request does not fit the model, or cannot be sent: a name, type, shape or size. */
public final class InvalidInputException extends GraphPipeException {
    private static final long serialVersionUID = 1;

    InvalidInputException(String message, long code) {
        super(message, code);
    }
}
