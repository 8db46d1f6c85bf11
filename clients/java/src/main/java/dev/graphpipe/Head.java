package dev.graphpipe;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What matters of the head of an answer. */
final class Head {
    private static final Pattern STATUS = Pattern.compile("HTTP/1\\.([01]) ([0-9]{3})(?: .*)?");
    private static final int MAX_SHOWN = 40;
    private static final int MAX_DIGITS = 15; // of a length, so that it is a long

    final int status;
    final boolean isChunked;
    final long length;
    final String contentType; // in lower case, without parameters
    final boolean keeps; // whether the connection may be used again

    /** The head without its last empty line. */
    Head(byte[] bytes) {
        String[] lines = new String(bytes, StandardCharsets.ISO_8859_1).split("\r\n", -1);
        Matcher first = STATUS.matcher(lines[0]);
        if (!first.matches()) {
            throw Errors.broken("it begins with \"" + shown(lines[0])
                    + "\", which is not HTTP/1.1");
        }
        status = Integer.parseInt(first.group(2));
        Map<String, String> fields = fieldsOf(lines);
        String coding = fields.get("transfer-encoding");
        String size = fields.get("content-length");
        isChunked = "chunked".equalsIgnoreCase(coding);
        if (coding != null && (!isChunked || size != null)) {
            throw Errors.broken("its transfer-encoding is \"" + shown(coding) + "\"");
        }
        length = isChunked || size == null && status != 200 ? 0 : lengthOf(size);
        contentType = fields.getOrDefault("content-type", "").split(";", 2)[0].strip()
                .toLowerCase(Locale.ROOT);
        String options = fields.getOrDefault("connection", "").toLowerCase(Locale.ROOT);
        keeps = !options.contains("close")
                && (first.group(1).equals("1") || options.contains("keep-alive"))
                && (isChunked || size != null);
    }

    private static Map<String, String> fieldsOf(String[] lines) {
        Map<String, String> fields = new HashMap<>();
        for (int i = 1; i < lines.length; i++) {
            int colon = lines[i].indexOf(':');
            String name = lines[i].substring(0, Math.max(colon, 0)).toLowerCase(Locale.ROOT);
            if (name.isEmpty() || name.chars().anyMatch(c -> c <= ' ' || c > '~')) {
                throw Errors.broken("\"" + shown(lines[i]) + "\" is no field of a head");
            }
            String value = lines[i].substring(colon + 1).replaceAll("^[ \t]+|[ \t]+$", "");
            boolean isNew = fields.put(name, value) == null;
            if (!isNew && (name.equals("content-length") || name.equals("transfer-encoding"))) {
                throw Errors.broken(name + " came twice");
            }
        }
        return fields;
    }

    private static long lengthOf(String size) {
        if (size == null || size.isEmpty() || size.length() > MAX_DIGITS
                || size.chars().anyMatch(c -> c < '0' || c > '9')) {
            throw Errors.broken("it has neither a length nor chunks");
        }
        return Long.parseLong(size);
    }

    private static String shown(String text) {
        return Errors.oneLine(text.substring(0, Math.min(text.length(), MAX_SHOWN)));
    }
}
