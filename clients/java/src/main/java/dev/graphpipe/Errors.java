package dev.graphpipe;

/** Makes exceptions: of a kind, with text that anybody may have written shown on one line. */
final class Errors {
    private static final int MAX_CHARACTERS = 500;

    private Errors() {
    }

    static ProtocolException broken(String what) {
        return new ProtocolException("answer: " + what, GraphPipeException.NO_CODE);
    }

    static InvalidInputException invalid(String what) {
        return new InvalidInputException(what, GraphPipeException.NO_CODE);
    }

    static UnavailableException unavailable(String what) {
        return new UnavailableException(what, GraphPipeException.NO_CODE);
    }

    static DeadlineExceededException late(String what) {
        return new DeadlineExceededException(what, GraphPipeException.NO_CODE);
    }

    static GraphPipeException interrupted(String label) {
        return new GraphPipeException(label + ": the call was interrupted",
                GraphPipeException.NO_CODE);
    }

    /** The exception for an answer with this HTTP status, and the code and words of its body. */
    static GraphPipeException refusal(int status, long code, String text) {
        String line = oneLine(text);
        String words = line.isEmpty() ? "HTTP " + status + ", without a reason" : line;
        int known = code > 0 && code < 20 ? (int) code : 0;
        GraphPipeException refusal = ofCode(known, words, code);
        return refusal != null ? refusal : ofStatus(status, words, code);
    }

    /** The numbers are those of docs/protocol.md ("Errors"). */
    private static GraphPipeException ofCode(int known, String words, long code) {
        switch (known) {
            case 1:
            case 2:
            case 7:
            case 8:
                return new InvalidInputException(words, code);
            case 4:
                return new NotFoundException(words, code);
            case 6:
            case 16:
                return new DeadlineExceededException(words, code);
            case 9:
            case 10:
            case 11:
                return new ModelException(words, code);
            case 13:
            case 14:
                return new BusyException(words, code);
            case 12:
            case 15:
                return new UnavailableException(words, code);
            default:
                return null;
        }
    }

    private static GraphPipeException ofStatus(int status, String words, long code) {
        switch (status) {
            case 400:
            case 413:
            case 431:
                return new InvalidInputException(words, code);
            case 404:
                return new NotFoundException(words, code);
            case 408:
            case 504:
                return new DeadlineExceededException(words, code);
            case 500:
            case 501:
                return new ModelException(words, code);
            case 429:
                return new BusyException(words, code);
            case 502:
            case 503:
                return new UnavailableException(words, code);
            default:
                return new GraphPipeException(words, code);
        }
    }

    /** Somebody else's text as one line of visible characters. */
    static String oneLine(String text) {
        StringBuilder line = new StringBuilder();
        String trimmed = text.strip();
        trimmed.codePoints().limit(MAX_CHARACTERS).forEach(c -> {
            if (Character.isWhitespace(c)) {
                line.append(' ');
            } else if (isVisible(c)) {
                line.appendCodePoint(c);
            } else {
                line.append(String.format(c < 0x100 ? "\\x%02x" : "\\u%04x", c));
            }
        });
        return line.toString();
    }

    private static boolean isVisible(int c) {
        switch (Character.getType(c)) {
            case Character.CONTROL:
            case Character.FORMAT:
            case Character.SURROGATE:
            case Character.PRIVATE_USE:
            case Character.UNASSIGNED:
            case Character.LINE_SEPARATOR:
            case Character.PARAGRAPH_SEPARATOR:
                return false;
            default:
                return true;
        }
    }
}
