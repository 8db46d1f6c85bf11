package dev.graphpipe;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Messages that other libraries wrote (tests/golden), and what the C library makes of messages. */
final class Golden {
    static final Path SOURCE = Path.of(environment("GP_SOURCE_DIR", "../.."));
    static final Path BUILD = Path.of(environment("GP_BUILD_DIR", "../../build/release"));
    static final Map<String, Map<String, Object>> CASES = new LinkedHashMap<>();

    static {
        for (String list : new String[] {"manifest.json", "manifest-go.json"}) {
            for (Object one : (List<?>) Json.read(new String(read(list), UTF_8))) {
                Map<String, Object> found = map(one);
                CASES.put((String) found.get("file"), found);
            }
        }
    }

    private Golden() {
    }

    private static String environment(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> map(Object json) {
        return (Map<String, Object>) json;
    }

    @SuppressWarnings("unchecked")
    static <T> List<T> list(Object json) {
        return (List<T>) json;
    }

    static Stream<String> ofKind(String message) {
        return CASES.values().stream().filter(one -> one.get("message").equals(message))
                .map(one -> (String) one.get("file"));
    }

    static byte[] read(String name) {
        return bytesOf(SOURCE.resolve("tests/golden/vectors").resolve(name));
    }

    static byte[] bytesOf(Path path) {
        try {
            return Files.readAllBytes(path);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static List<Path> filesIn(String folder) {
        try (Stream<Path> files = Files.list(SOURCE.resolve(folder))) {
            return files.sorted().collect(Collectors.toList());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The message as the C library writes it. */
    static byte[] writtenByC(Path folder, String kind, byte[] message) throws Exception {
        Path read = Files.write(folder.resolve("read"), message);
        Path written = folder.resolve("written");
        codec("recode", kind, read.toString(), written.toString());
        return Files.readAllBytes(written);
    }

    /** What the C library reads in each message. */
    static List<Map<String, Object>> readByC(Path folder, String kind, List<byte[]> messages)
            throws Exception {
        List<String> arguments = new ArrayList<>(List.of("decode", kind));
        for (int i = 0; i < messages.size(); i++) {
            Path path = folder.resolve(Integer.toString(i));
            arguments.add(Files.write(path, messages.get(i)).toString());
        }
        return codec(arguments.toArray(new String[0])).lines().map(line -> map(Json.read(line)))
                .collect(Collectors.toList());
    }

    private static String codec(String... arguments) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(BUILD.resolve("tests/golden_codec").toString());
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), UTF_8);
        assertEquals(0, process.waitFor(), output);
        return output;
    }

    /** The parts of a message, one after the other. */
    static byte[] whole(List<ByteBuffer> parts) {
        int size = parts.stream().mapToInt(ByteBuffer::remaining).sum();
        ByteBuffer whole = ByteBuffer.allocate(size);
        parts.forEach(part -> whole.put(part.duplicate()));
        return whole.array();
    }

    static byte[] unhex(String hex) {
        byte[] bytes = new byte[hex.length() / 2];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
        }
        return bytes;
    }

    static String hex(byte[] bytes) {
        StringBuilder hex = new StringBuilder();
        for (byte b : bytes) {
            hex.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
        }
        return hex.toString();
    }

    static byte[] bytesOf(Tensor tensor) {
        ByteBuffer data = tensor.data();
        byte[] bytes = new byte[data.remaining()];
        data.get(bytes);
        return bytes;
    }
}
