package dev.graphpipe;

import java.lang.reflect.Method;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ProtocolFamily;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where a server is: http://HOST[:PORT][/PATH] or unix:/path/of/socket[:/PATH]. The port is 9000 by
 * default; an IPv6 host is in brackets. PATH is that of the model that calls are for.
 */
final class Address {
    private static final Pattern HTTP = Pattern.compile(
            "(?:http://)?(\\[[\\w:.%]+\\]|[\\w.~-]+)(?::(\\d{1,5}))?(?:/([^#]*))?");
    private static final int DEFAULT_PORT = 9000;
    private static final int MAX_PORT = 65535;

    final String text;
    final String label; // without the path, for messages
    final String hostField;
    final String path;
    private final String host;
    private final int port;
    private final SocketAddress socket; // a unix socket, or null

    Address(String text) {
        this.text = text;
        String shown = "address \"" + Errors.oneLine(text) + "\"";
        if (text.codePoints().anyMatch(c -> c < ' ' || c == 0x7f)) {
            throw new IllegalArgumentException(shown + " has control characters");
        }
        if (text.startsWith("https:")) {
            throw new IllegalArgumentException(shown
                    + ": there is no TLS yet; put a proxy beside you");
        }
        if (text.startsWith("unix:")) {
            int colon = text.indexOf(":/", 5);
            String file = text.substring(5, colon < 0 ? text.length() : colon)
                    .replaceFirst("^//+", "/");
            if (file.isEmpty()) {
                throw new IllegalArgumentException(shown + " has no path after unix:");
            }
            socket = unixSocket(file, shown);
            host = "";
            port = 0;
            hostField = "localhost";
            label = "unix:" + file;
            path = quotedPath(colon < 0 ? "" : text.substring(colon + 2));
            return;
        }
        Matcher found = HTTP.matcher(text);
        int number = found.matches() && found.group(2) != null
                ? Integer.parseInt(found.group(2)) : DEFAULT_PORT;
        if (!found.matches() || number == 0 || number > MAX_PORT) {
            throw new IllegalArgumentException(shown + " is neither http://HOST[:PORT][/PATH] nor"
                    + " unix:/path/of/socket[:/PATH]");
        }
        socket = null;
        host = found.group(1).replaceAll("[\\[\\]]", "");
        port = number;
        hostField = found.group(1).replaceFirst("%.*]", "]") + ":" + port;
        label = "http://" + hostField;
        path = quotedPath(found.group(3) == null ? "" : found.group(3));
    }

    private static String quotedPath(String path) {
        return "/" + quote(path.replaceFirst("^/+", ""), "/?=&%:@+,;!$'()*");
    }

    /** With all but letters, digits, "_.-~" and what is safe as %XX. */
    static String quote(String text, String safe) {
        StringBuilder quoted = new StringBuilder();
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            char c = (char) (b & 0xff);
            boolean isPlain = c < 0x80 && (Character.isLetterOrDigit(c)
                    || "_.-~".indexOf(c) >= 0 || safe.indexOf(c) >= 0);
            quoted.append(isPlain ? String.valueOf(c) : String.format("%%%02X", (int) c));
        }
        return quoted.toString();
    }

    boolean isUnix() {
        return socket != null;
    }

    /**
     * The addresses of the host, in a thread of its own since the resolver knows no limit of time.
     */
    SocketAddress[] resolve(Deadline deadline) throws Exception {
        if (isUnix()) {
            return new SocketAddress[] {socket};
        }
        InetAddress[] found = host.matches("[0-9.]+|.*:.*") ? InetAddress.getAllByName(host)
                : Threads.within(deadline, () -> InetAddress.getAllByName(host));
        SocketAddress[] addresses = new SocketAddress[found.length];
        for (int i = 0; i < found.length; i++) {
            addresses[i] = new InetSocketAddress(found[i], port);
        }
        return addresses;
    }

    // --- unix sockets, of which Java 11 does not know, so that they are reached by name ---

    private static SocketAddress unixSocket(String file, String shown) {
        try {
            Method of = Class.forName("java.net.UnixDomainSocketAddress")
                    .getMethod("of", String.class);
            return (SocketAddress) of.invoke(null, file);
        } catch (ReflectiveOperationException e) {
            boolean isOld = e instanceof ClassNotFoundException;
            throw new IllegalArgumentException(shown + (isOld
                    ? ": unix sockets need Java 16 or newer" : " has no path of a file"), e);
        }
    }

    SocketChannel open() throws Exception {
        if (!isUnix()) {
            return SocketChannel.open();
        }
        ProtocolFamily unix = StandardProtocolFamily.valueOf("UNIX");
        return (SocketChannel) SocketChannel.class.getMethod("open", ProtocolFamily.class)
                .invoke(null, unix);
    }
}
