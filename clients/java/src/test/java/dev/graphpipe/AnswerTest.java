package dev.graphpipe;

import static dev.graphpipe.Scripted.answer;
import static dev.graphpipe.Scripted.answers;
import static dev.graphpipe.Scripted.askedOnce;
import static dev.graphpipe.Scripted.bytes;
import static dev.graphpipe.Scripted.join;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.graphpipe.Scripted.Script;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Servers that answer whatever they like. */
class AnswerTest {
    private static final byte[] ONE = answer(Golden.read("resp_float32.bin"));
    private static final byte[] TWO = answer(Golden.read("resp_two.bin"));
    private static final byte[] METADATA = answer(Golden.read("resp_metadata.bin"));
    private static final String OK = "HTTP/1.1 200 OK\r\n";
    private static final String CHUNKED = OK + "Transfer-Encoding: chunked\r\n\r\n";
    private static final Tensor X = Tensor.of(new float[3]);

    private static GraphPipeException fails(Client client) {
        return assertThrows(GraphPipeException.class, () -> client.infer(X));
    }

    // --- answers ---

    private static byte[] chunked(int... sizes) {
        byte[] body = Golden.read("resp_float32.bin");
        byte[] text = bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n");
        int at = 0;
        int[] all = IntStream.concat(Arrays.stream(sizes), IntStream.of(body.length)).toArray();
        for (int size : all) {
            byte[] piece = Arrays.copyOfRange(body, at, Math.min(at + size, body.length));
            text = join(text, bytes(Integer.toHexString(piece.length) + ";a=b\r\n"), piece,
                    bytes("\r\n"));
            at += piece.length;
        }
        return join(text, bytes("0\r\nTrailer: x\r\n\r\n"));
    }

    private static byte[] with(String field) {
        return bytes(latin1(ONE).replace("\r\nContent-Type", "\r\n" + field + "\r\nContent-Type"));
    }

    private static String latin1(byte[] text) {
        return new String(text, StandardCharsets.ISO_8859_1);
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void goodAnswers(boolean isInPieces) throws Exception {
        byte[] interim = bytes("HTTP/1.1 100 Continue\r\n\r\n");
        List<byte[]> kept = List.of(ONE, join(interim, interim, interim, ONE), chunked(1, 7, 50),
                chunked(1));
        List<byte[]> others = List.of(bytes(latin1(ONE).replace("1.1 200", "1.0 200")),
                with("Connection: close"), join(ONE, bytes("H")));
        for (List<byte[]> texts : List.of(kept, others)) {
            for (byte[] text : texts) {
                isRead(pieces(text, isInPieces), texts == kept);
            }
        }
    }

    private static byte[][] pieces(byte[] text, boolean isInPieces) {
        return isInPieces ? IntStream.range(0, text.length)
                .mapToObj(i -> new byte[] {text[i]}).toArray(byte[][]::new) : new byte[][] {text};
    }

    private static void isRead(byte[][] pieces, boolean isKept) throws Exception {
        Script first = peer -> {
            peer.request();
            peer.sendIfHeard(pieces);
            if (isKept) {
                answers(pieces).run(peer);
            } else {
                peer.untilClosed();
            }
        };
        Script[] scripts = isKept ? new Script[] {first}
                : new Script[] {first, answers(ONE)};
        try (Scripted server = new Scripted("tcp", scripts)) {
            try (Client client = Client.connect(server.url)) {
                for (int i = 0; i < 2; i++) {
                    assertEquals(DType.FLOAT32, client.infer(X).dtype());
                }
            }
            server.finish();
        }
    }

    static Stream<byte[]> broken() {
        List<byte[]> broken = new ArrayList<>();
        for (String text : List.of("\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/2 200 OK\r\n\r\n",
                "HTTP/1.1 99 No\r\n\r\n", "HTTP/1.1 101 Switch\r\n\r\n",
                "HTTP/1.1 103 Early\r\n\r\n".repeat(50), OK + "\r\n", OK + "NoColon\r\n\r\n",
                OK + "X: " + "x".repeat(100000), OK + "Content-Length: -1\r\n\r\n",
                OK + "Content-Length: 1_0\r\n\r\n", OK + "Content-Length: \u00b2\r\n\r\n",
                OK + "Content-Length: 2147483648\r\n\r\n",
                OK + "Content-Length: 9999999999999999\r\n\r\n",
                OK + "Content-Length: 99999999999999999999999\r\n\r\n",
                OK + "Transfer-Encoding: gzip\r\n\r\n",
                CHUNKED + "-1\r\n", CHUNKED + "1\r\nab\r\n", CHUNKED + "FFFFFFFF\r\n",
                CHUNKED + "1;" + "x".repeat(9000), CHUNKED + "0\r\n" + "x: y\r\n".repeat(100),
                OK + "\u001b[31m: x\r\n\r\n", "HTTP/1.1 \u001b[31m\r\n\r\n")) {
            broken.add(bytes(text));
        }
        // good but for a length that is said twice, in one way or in two
        String length = "Content-Length: " + Golden.read("resp_float32.bin").length;
        broken.addAll(List.of(with(length), bytes(latin1(chunked(5)).replaceFirst("\r\n",
                "\r\n" + length + "\r\n"))));
        broken.addAll(List.of(answer(new byte[0]), answer(bytes("x".repeat(100))), TWO,
                answer(bytes("<html>"), "200 OK", "text/html"),
                answer(new byte[0], "200 OK", "text/\u001b[31m")));
        return broken.stream();
    }

    /** The client says what is wrong, and goes on over another connection. */
    @ParameterizedTest
    @MethodSource("broken")
    void brokenAnswers(byte[] text) throws Exception {
        try (Scripted server = new Scripted("tcp", askedOnce(text), answers(METADATA));
                Client client = Client.connect(server.url)) {
            GraphPipeException e = fails(client);
            assertTrue(Arrays.equals(text, TWO) ? e instanceof InvalidInputException
                    : e instanceof ProtocolException, e.toString());
            assertFalse(client.metadata().inputs().isEmpty());
            assertTrue(e.getMessage().chars().noneMatch(Character::isISOControl), e.getMessage());
        }
    }

    private static void isRefused(byte[] text, Class<?> kind, String words) throws Exception {
        try (Scripted server = new Scripted("tcp", askedOnce(text));
                Client client = Client.connect(server.url)) {
            GraphPipeException e = fails(client);
            assertEquals(kind, e.getClass());
            assertTrue(e.getMessage().contains(words), e.getMessage());
            assertTrue(e.getMessage().length() < 600);
        }
    }

    @Test
    void errorsByKind() throws Exception {
        byte[] none = {};
        isRefused(answer(Golden.read("resp_error.bin"), "503 x", Pool.MEDIA_TYPE),
                UnavailableException.class, "");
        isRefused(answer(none, "404 Not Found", Pool.MEDIA_TYPE), NotFoundException.class,
                "HTTP 404, without a reason");
        isRefused(answer(bytes("garbage"), "500 x", Pool.MEDIA_TYPE), ModelException.class,
                "HTTP 500, without");
        isRefused(answer(bytes("two\nlines \u001b[31m\u00ff\n"), "429 x", "text/plain"),
                BusyException.class, "two lines \\x1b[31m\ufffd");
        isRefused(answer(new byte[4_000_000], "502 x", "text/plain"), UnavailableException.class,
                "without a reason");
        isRefused(bytes("HTTP/1.1 400 x\r\nContent-Length: 100\r\n\r\nlost"),
                InvalidInputException.class, "HTTP 400");
        isRefused(bytes("HTTP/1.1 504 x\r\n\r\n"), DeadlineExceededException.class, "HTTP 504");
        isRefused(answer(none, "302 x", "text/html"), GraphPipeException.class, "HTTP 302");
    }

    @Test
    void severalOutputsForOneTensor() throws Exception {
        Script script = peer -> {
            for (byte[] text : List.of(TWO, METADATA)) {
                peer.request();
                peer.send(text);
            }
        };
        try (Scripted server = new Scripted("tcp", script);
                Client client = Client.connect(server.url)) {
            String words = fails(client).getMessage();
            assertTrue(words.contains("2 outputs; choose with Call.outputs(), of y"), words);
        }
    }

    @Test
    void asManyOutputsComeAsWereAskedFor() throws Exception {
        try (Scripted server = new Scripted("tcp", askedOnce(TWO));
                Client client = Client.connect(server.url)) {
            ProtocolException e = assertThrows(ProtocolException.class,
                    () -> client.infer(Call.of(X).outputs("y")));
            assertTrue(e.getMessage().contains("2 outputs, 1 were asked for"), e.getMessage());
        }
    }

    @Test
    void namesOfOutputsAreAskedForAgainAfterARefusal() throws Exception {
        Script script = peer -> {
            byte[] refusal = answer(bytes("no output y"), "400 Bad Request", "text/plain");
            for (byte[] text : List.of(METADATA, ONE, refusal, METADATA, ONE)) {
                peer.request();
                peer.send(text);
            }
        };
        try (Scripted server = new Scripted("tcp", script);
                Client client = Client.connect(server.url)) {
            assertEquals("[y]", client.infer(Map.of("x", X)).keySet().toString());
            assertThrows(InvalidInputException.class, () -> client.infer(Map.of("x", X)));
            assertEquals("[y]", client.infer(Map.of("x", X)).keySet().toString());
            assertEquals(5, server.nRequests.get());
        }
    }

    /** As much memory as was announced is not there: see pom.xml. */
    @ParameterizedTest
    @ValueSource(strings = {OK + "Content-Length: 2147483647\r\n\r\n", CHUNKED + "7fffffff\r\n"})
    void anAnswerThatIsOnlyAnnouncedTakesNoMemory(String announced) throws Exception {
        assertTrue(Runtime.getRuntime().maxMemory() < 1 << 30);
        try (Scripted server = new Scripted("tcp", askedOnce(bytes(announced), new byte[100_000]));
                Client client = Client.connect(server.url)) {
            GraphPipeException e = fails(client);
            assertEquals(UnavailableException.class, e.getClass());
            assertTrue(e.getMessage().contains("in the middle of the answer"), e.getMessage());
        }
    }

    @Test
    void aLargeAnswerThatIsSentIsAnErrorWhereNoMemoryIsThereForIt() throws Exception {
        Script script = peer -> {
            peer.request();
            peer.send(bytes(OK + "Content-Length: 2147483647\r\n\r\n"));
            for (int i = 0; i < 2048; i++) {
                peer.sendIfHeard(new byte[1 << 20]);
            }
        };
        try (Scripted server = new Scripted("tcp", script);
                Client client = Client.connect(server.url)) {
            String words = fails(client).getMessage();
            assertTrue(words.contains("no memory for an answer of 2147483647 bytes"), words);
        }
    }

    @Test
    void limitOfAnAnswer() throws Exception {
        ClientOptions few = new ClientOptions().maxAnswerBytes(10);
        for (byte[] text : List.of(ONE, chunked(9))) {
            try (Scripted server = new Scripted("tcp", askedOnce(text));
                    Client client = Client.connect(server.url, few)) {
                GraphPipeException e = fails(client);
                assertEquals(ProtocolException.class, e.getClass());
                assertTrue(e.getMessage().contains("over the limit"), e.getMessage());
            }
        }
    }

    // --- what was found by fuzzing the C client ---

    /** Each file is what a server sends; its first two bytes are for the C client's target. */
    @Test
    void theCorpusOfTheCClient() throws Exception {
        List<Path> paths = Golden.filesIn("tests/fuzz/corpus/client");
        assertTrue(paths.size() > 100);
        Script[] scripts = paths.stream().map(path -> {
            byte[] text = Golden.bytesOf(path);
            return askedOnce(Arrays.copyOfRange(text, Math.min(2, text.length), text.length));
        }).toArray(Script[]::new);
        int nRead = 0;
        try (Scripted server = new Scripted("tcp", scripts)) {
            for (int i = 0; i < paths.size(); i++) {
                try (Client client = Client.connect(server.url)) {
                    if (i % 2 == 0) {
                        client.infer(Call.of(X).outputs("y"));
                    } else {
                        client.metadata();
                    }
                    nRead++;
                } catch (GraphPipeException e) {
                    assertFalse(e.getMessage().contains("\n")
                            || e.getMessage().contains("time is up"), e.toString());
                }
            }
            server.finish();
        }
        assertTrue(nRead > 0);
    }
}
