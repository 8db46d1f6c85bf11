package dev.graphpipe;

/** The server has no room now; the request was not run and may be sent again later. */
public final class BusyException extends UnavailableException {
    private static final long serialVersionUID = 1;

    BusyException(String message, long code) {
        super(message, code);
    }
}
