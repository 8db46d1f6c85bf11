package dev.graphpipe;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Answers: those of other libraries, and hostile ones. */
class MessageReaderTest {
    @TempDir
    Path folder;

    // --- golden bytes ---

    static Stream<String> answers() {
        return Golden.ofKind("InferResponse");
    }

    static Stream<String> metadata() {
        return Golden.ofKind("MetadataResponse");
    }

    @ParameterizedTest
    @MethodSource("answers")
    void answersAreRead(String name) {
        Map<String, Object> wanted = new LinkedHashMap<>(Golden.CASES.get(name));
        wanted.keySet().removeAll(List.of("file", "encoder"));
        List<Map<String, Object>> errors = Golden.list(wanted.get("errors"));
        for (Map<String, Object> tensor : Golden.<Map<String, Object>>list(
                wanted.get("output_tensors"))) {
            if (tensor.containsKey("strings")) {
                tensor.put("strings_hex", Golden.<String>list(tensor.remove("strings")).stream()
                        .map(text -> Golden.hex(text.getBytes(UTF_8)))
                        .collect(Collectors.toList()));
            }
        }
        assertTrue(errors.size() <= 1);
        assertEquals(wanted, shown("response", Golden.read(name)));
    }

    @ParameterizedTest
    @MethodSource("metadata")
    void metadataIsRead(String name) {
        Map<String, Object> wanted = new LinkedHashMap<>(Golden.CASES.get(name));
        wanted.keySet().removeAll(List.of("file", "encoder"));
        for (String ios : List.of("inputs", "outputs")) { // the list leaves out what is empty
            Golden.<Map<String, Object>>list(wanted.get(ios))
                    .forEach(io -> io.putIfAbsent("description", ""));
        }
        assertEquals(wanted, shown("metadata", Golden.read(name)));
    }

    // --- hostile bytes ---

    /** What is read in a message, as golden_codec shows it; null if it is refused. */
    private static Map<String, Object> shown(String kind, byte[] message) {
        Map<String, Object> shown = new LinkedHashMap<>();
        try {
            if (kind.equals("metadata")) {
                Metadata found = MessageReader.metadata(ByteBuffer.wrap(message));
                shown.put("message", "MetadataResponse");
                shown.put("name", found.name());
                shown.put("version", found.version());
                shown.put("server", found.server());
                shown.put("description", found.description());
                shown.put("inputs", shown(found.inputs()));
                shown.put("outputs", shown(found.outputs()));
                return shown;
            }
            Answer found = MessageReader.answer(ByteBuffer.wrap(message));
            shown.put("message", "InferResponse");
            shown.put("output_tensors", found.tensors.stream().map(MessageReaderTest::shown)
                    .collect(Collectors.toList()));
            shown.put("errors", found.isError
                    ? List.of(Map.of("code", found.code, "message", found.message)) : List.of());
            return shown;
        } catch (ProtocolException e) {
            assertFalse(e.getMessage().contains("\n"), e.getMessage());
            return null;
        }
    }

    private static List<Map<String, Object>> shown(List<Metadata.Io> ios) {
        return ios.stream().map(io -> Map.<String, Object>of("name", io.name(), "description",
                io.description(), "type", io.dtype().toString(), "shape", boxed(io.shape())))
                .collect(Collectors.toList());
    }

    private static Map<String, Object> shown(Tensor tensor) {
        boolean isText = tensor.dtype() == DType.STRING;
        Object elements = isText ? Arrays.stream(tensor.stringBytes()).map(Golden::hex)
                .collect(Collectors.toList()) : Golden.hex(Golden.bytesOf(tensor));
        return Map.of("type", tensor.dtype().toString(), "shape", boxed(tensor.shape()),
                isText ? "strings_hex" : "data_hex", elements);
    }

    private static List<Long> boxed(long[] shape) {
        return Arrays.stream(shape).boxed().collect(Collectors.toList());
    }

    private static byte[] withWord(byte[] message, int at, int word) {
        byte[] changed = message.clone();
        ByteBuffer.wrap(changed).order(ByteOrder.LITTLE_ENDIAN).putInt(at, word);
        return changed;
    }

    @ParameterizedTest
    @ValueSource(strings = {"resp_two", "resp_strings", "resp_error", "resp_metadata"})
    void whatIsDamagedIsReadAndRefusedAsByTheCLibrary(String name) throws Exception {
        String kind = name.contains("metadata") ? "metadata" : "response";
        byte[] message = Golden.read(name + ".bin");
        List<byte[]> damaged = new ArrayList<>();
        for (int n = 0; n < message.length; n++) {
            damaged.add(Arrays.copyOf(message, n));
        }
        for (int at = 0; at + 4 <= message.length; at += 4) {
            int now = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN).getInt(at);
            for (int word : new int[] {0, 1, 2, 12, 0x7fffffff, 0x80000000, -1,
                    message.length - at - 4}) {
                damaged.add(withWord(message, at, word));
            }
            for (int bit : new int[] {0, 1, 2, 3, 4, 5, 6, 15, 16, 31}) {
                damaged.add(withWord(message, at, now ^ 1 << bit));
            }
        }
        List<Map<String, Object>> theirs = Golden.readByC(folder, kind, damaged);
        int nRead = 0;
        for (int i = 0; i < damaged.size(); i++) {
            Map<String, Object> ours = shown(kind, damaged.get(i));
            Map<String, Object> wanted = theirs.get(i);
            nRead += ours == null ? 0 : 1;
            // C has to mind a NUL in a name, and this reader bools that are neither 0 nor 1
            if (!String.valueOf(wanted.get("error")).contains("has a NUL")
                    && !(ours == null && wanted.toString().contains("type=bool"))) {
                assertEquals(wanted.containsKey("status") ? null : wanted, ours);
            }
        }
        assertTrue(nRead > 0 && nRead < damaged.size());
    }

    @ParameterizedTest
    @ValueSource(strings = {"resp_two", "resp_strings", "resp_error", "resp_metadata"})
    void anyFlippedBitIsReadOrRefused(String name) {
        byte[] message = Golden.read(name + ".bin");
        for (int i = 0; i < 8 * message.length; i++) {
            byte[] changed = message.clone();
            changed[i / 8] ^= (byte) (1 << i % 8);
            shown("response", changed);
            shown("metadata", changed);
        }
    }

    @Test
    void earlierFindingsAndRandomBytes() {
        List<byte[]> messages = Golden.filesIn("tests/golden/reject").stream()
                .map(Golden::bytesOf).collect(Collectors.toList());
        assertTrue(messages.size() > 5);
        Random draw = new Random(1);
        for (int i = 0; i < 500; i++) {
            byte[] bytes = new byte[draw.nextInt(200)];
            draw.nextBytes(bytes);
            messages.add(bytes);
        }
        messages.forEach(message -> shown("response", message));
        messages.forEach(message -> shown("metadata", message));
    }

    /**
     * An answer with a tensor, nTensors times; all its strings are the same bytes, which are data.
     */
    private static byte[] answerOf(int type, long[] shape, byte[] data, int nStrings,
                                   int nTensors) {
        int table = 24 + 4 + 4 * nTensors + 12;
        int shapeAt = table + 20;
        int dataAt = shapeAt + 4 + 8 * shape.length;
        int stringsAt = dataAt + 4 + data.length + (-data.length & 3);
        int textAt = stringsAt + 4 + 4 * nStrings;
        ByteBuffer out = ByteBuffer.allocate(textAt + 4 + data.length + 1)
                .order(ByteOrder.LITTLE_ENDIAN);
        out.putInt(12);
        for (int entry : new int[] {8, 8, 4, 0}) {
            out.putShort((short) entry);
        }
        out.putInt(8).putInt(8).putInt(0).putInt(nTensors); // the vector begins at 24
        ByteBuffer tables = out.duplicate().order(ByteOrder.LITTLE_ENDIAN).position(28);
        for (int i = 0; i < nTensors; i++) {
            tables.putInt(table - tables.position());
        }
        for (int entry : new int[] {12, 20, 16, 4, 8, 12}) {
            tables.putShort((short) entry);
        }
        out.position(table);
        out.putInt(12).putInt(shapeAt - table - 4).putInt(dataAt - table - 8)
                .putInt(stringsAt - table - 12).putInt(type);
        out.putInt(shape.length);
        for (long size : shape) {
            out.putLong(size);
        }
        out.putInt(data.length).put(data).position(stringsAt);
        out.putInt(nStrings);
        for (int i = 0; i < nStrings; i++) {
            out.putInt(textAt - out.position());
        }
        out.putInt(data.length).put(data);
        return out.array();
    }

    private static byte[] answerOf(int type, long[] shape, int nBytes) {
        byte[] data = new byte[nBytes];
        Arrays.fill(data, (byte) 2);
        return answerOf(type, shape, data, 0, 1);
    }

    @Test
    void theAnswerThatIsMadeHereIsOne() {
        Tensor floats = MessageReader.answer(ByteBuffer.wrap(answerOf(10, new long[] {2}, 8)))
                .tensors.get(0);
        assertEquals("float32[2]", floats.toString());
        byte[] strings = answerOf(12, new long[] {2}, "ab".getBytes(), 2, 1);
        assertArrayEquals(new String[] {"ab", "ab"},
                MessageReader.answer(ByteBuffer.wrap(strings)).tensors.get(0).strings());
    }

    static Stream<byte[]> refused() {
        long[] ones = new long[33];
        Arrays.fill(ones, 1);
        return Stream.of(
                answerOf(15, new long[] {1}, 1), // a type that is not known
                answerOf(255, new long[] {1}, 1),
                answerOf(0, new long[] {1}, 1), // none
                answerOf(10, new long[] {2}, 4), // too few bytes, and too many
                answerOf(1, new long[] {2}, 3),
                answerOf(1, new long[] {1L << 32, 1L << 32}, 0), // shapes that overflow
                answerOf(8, new long[] {1L << 61}, 0),
                answerOf(1, new long[] {1L << 62, 1L << 62, 0}, 0),
                answerOf(1, new long[] {-1, -1}, 1),
                answerOf(1, ones, 1), // of too high a rank
                answerOf(13, new long[] {1}, 1), // a bool of 2
                answerOf(12, new long[] {3}, new byte[0], 2, 1), // too few strings
                answerOf(1, new long[] {1}, new byte[1], 0, 4097)); // too many tensors
    }

    @ParameterizedTest
    @MethodSource("refused")
    void whatIsRefused(byte[] message) {
        assertSame(null, shown("response", message));
    }

    @Test
    void whatIsSaidAgainAndAgainTakesNoMemory() {
        for (byte[] message : List.of(answerOf(12, new long[] {5000}, new byte[5000], 5000, 1),
                answerOf(12, new long[] {500000}, new byte[500], 500000, 1),
                answerOf(12, new long[] {500}, new byte[0], 500, 4096))) {
            ProtocolException e = assertThrows(ProtocolException.class,
                    () -> MessageReader.answer(ByteBuffer.wrap(message)));
            assertTrue(e.getMessage().contains("so often"), e.getMessage());
        }
    }

    @Test
    void metadataIsShownWithEveryCharacterVisible() {
        Metadata.Io io = new Metadata.Io("x\u001b[2J", "", DType.FLOAT32, new long[] {-1});
        String shown = new Metadata("two\nlines", "", "\u009b31m", "", List.of(io), List.of())
                .toString();
        assertEquals(List.of("name         two lines", "server       \\x9b31m", "inputs",
                "  x\\x1b[2J float32[-1]", "outputs"),
                shown.lines().collect(Collectors.toList()));
    }
}
