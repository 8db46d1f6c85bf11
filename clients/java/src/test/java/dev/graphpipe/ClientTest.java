package dev.graphpipe;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Calls against the real server. */
class ClientTest {
    private static final Tensor A = Tensor.of(new float[] {1, 2, 3});
    private static final Tensor B = Tensor.of(new float[] {4, 5, 6});
    private static Server echo;
    private static Client client;

    @TempDir
    Path folder;

    @BeforeAll
    static void serve() throws IOException {
        echo = new Server("echo");
        client = Client.connect(echo.url);
    }

    @AfterAll
    static void end() {
        client.close();
        echo.close();
    }

    private static void assertSameTensor(Tensor wanted, Tensor found) {
        assertEquals(wanted.toString(), found.toString());
        if (wanted.dtype() == DType.STRING) {
            assertArrayEquals(wanted.stringBytes(), found.stringBytes());
        } else {
            assertEquals(wanted.data(), found.data());
        }
    }

    // --- tensors ---

    @ParameterizedTest
    @EnumSource(value = DType.class, mode = EnumSource.Mode.EXCLUDE, names = {"NULL", "STRING"})
    void numbersComeBack(DType dtype) {
        for (long[] shape : new long[][] {{3}, {2, 3, 4}, {1, 1, 1, 1, 5}, {}, {0}, {0, 4},
                {2000, 33}}) {
            Tensor sent = Tensor.allocate(dtype, shape);
            byte[] bytes = new byte[sent.data().capacity()];
            new Random(7).nextBytes(bytes);
            for (int i = 0; dtype == DType.BOOL && i < bytes.length; i++) {
                bytes[i] &= 1;
            }
            sent.data().put(bytes);
            assertSameTensor(sent, client.infer(sent));
            // from the heap, and from the middle of an array
            byte[] around = Scripted.join(new byte[5], bytes, new byte[3]);
            Tensor heap = Tensor.of(dtype, ByteBuffer.wrap(around, 5, bytes.length)).reshape(shape);
            assertSameTensor(sent, client.infer(heap));
        }
    }

    @Test
    void stringsComeBack() {
        for (Tensor sent : List.of(Tensor.of(new String[] {"a", "bc", ""}),
                Tensor.of(new String[] {"x", "y", "z", "grüße"}, 2, 2),
                Tensor.of(new String[] {"scalar"}).reshape(), Tensor.of(new String[0], 0, 2),
                Tensor.of(new String[] {"long".repeat(1000), "nul\0nul", "日本 \ud83d\ude00"}),
                Tensor.of(new byte[][] {{'b', 'y'}, {(byte) 0xff, 0, (byte) 0xfe}}))) {
            assertSameTensor(sent, client.infer(sent));
        }
    }

    @Test
    void answersMayBeWrittenToAndStandApart() {
        Map<String, Tensor> both = client.infer(Call.of(inOrder("x", A, "y", B)).outputs("p", "q"));
        both.get("p").asFloatBuffer().put(new float[3]);
        assertSameTensor(B, both.get("q"));
    }

    @Test
    void largeTensors() {
        Tensor direct = Tensor.allocate(DType.FLOAT32, 20, 1 << 20);
        float[] values = new float[20 << 20];
        for (int i = 0; i < values.length; i++) {
            values[i] = i;
        }
        direct.asFloatBuffer().put(values);
        assertSameTensor(direct, client.infer(direct));
        ByteBuffer heap = ByteBuffer.allocate(direct.data().capacity()).put(direct.data());
        assertSameTensor(direct, client.infer(Tensor.of(DType.FLOAT32, heap.flip(), 20, 1 << 20)));
    }

    // --- names ---

    private static Map<String, Tensor> inOrder(String first, Tensor a, String second, Tensor b) {
        Map<String, Tensor> both = new LinkedHashMap<>();
        both.put(first, a);
        both.put(second, b);
        return both;
    }

    @Test
    void namesAreThoseThatWereAskedFor() {
        Map<String, Tensor> two = inOrder("x", A, "y", B);
        Map<String, Tensor> back = client.infer(Call.of(two).outputs("p", "q"));
        assertEquals("[p, q]", back.keySet().toString());
        assertSameTensor(A, back.get("p"));
        assertSameTensor(B, back.get("q"));
        assertEquals("[p]", client.infer(Call.of(A).outputs("p")).keySet().toString());
        // by default all that the model has
        assertEquals("[output0]", client.infer(Map.of("x", A)).keySet().toString());
    }

    @Test
    void metadataOfAModel() {
        Metadata metadata = client.metadata();
        assertEquals("echo", metadata.name());
        assertTrue(metadata.server().startsWith("graphpipe "), metadata.server());
        assertEquals("input0 null[-1]", metadata.inputs().get(0).toString());
        assertTrue(metadata.toString().contains("outputs"), metadata.toString());
    }

    @Test
    void modelsByPath() throws Exception {
        String some = Files.write(folder.resolve("file"), new byte[] {1}).toString();
        try (Server server = new Server(Server.plugin("slow"), "--model", "one=" + some, "--model",
                "two=" + some, "--default-model", "one");
                Client asker = Client.connect(server.url);
                Client two = Client.connect(server.url + "/two")) {
            assertEquals("one", asker.metadata().name());
            assertEquals("two", asker.metadata("two").name());
            assertEquals("two", two.metadata().name());
            Call call = Call.of(A).outputs("y");
            assertSameTensor(A, asker.infer(call.model("two/versions/1")).get("y"));
            NotFoundException e = assertThrows(NotFoundException.class,
                    () -> asker.infer(call.model("nobody")));
            assertTrue(e.getMessage().matches(".*\"nobody\".*two.*"), e.getMessage());
            assertEquals(4, e.code());
        }
    }

    // --- errors ---

    @Test
    void errorsHaveTheServersWords() {
        InvalidInputException e = assertThrows(InvalidInputException.class,
                () -> client.infer(Call.of(A).outputs("p", "q")));
        assertTrue(e.getMessage().contains("output") && e.code() == 1, e.toString());
    }

    @Test
    void modelThatFails() throws Exception {
        try (Server server = new Server(Server.plugin("faulty"));
                Client asker = Client.connect(server.url)) {
            assertThrows(ModelException.class,
                    () -> asker.infer(Call.of(A).outputs("y").config("fail")));
            assertSameTensor(A, asker.infer(A));
        }
    }

    private static double metric(Server server, String name) {
        try {
            return server.metric(name);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void deadlineAndBusy() throws Exception {
        Path gate = folder.resolve("gate");
        Call held = Call.of(A).outputs("y").config("until=" + gate);
        Call brief = Call.of(A).outputs("y").config("until=" + gate)
                .timeout(Duration.ofMillis(200));
        try (Server server = new Server(Server.plugin("slow"), "--instances", "1",
                "--max-waiting", "1");
                Client asker = Client.connect(server.url)) {
            assertThrows(DeadlineExceededException.class, () -> asker.infer(brief));
            Server.eventually(() -> metric(server, "in_flight") == 1);
            List<CompletableFuture<Map<String, Tensor>>> waiting = new ArrayList<>();
            for (int i = 0; i < 2; i++) {
                waiting.add(asker.inferAsync(held));
            }
            Server.eventually(() -> metric(server, "waiting") == 1);
            assertThrows(BusyException.class, () -> asker.infer(held));
            Files.createFile(gate);
            for (CompletableFuture<Map<String, Tensor>> future : waiting) {
                assertSameTensor(A, future.join().get("y"));
            }
        }
    }

    /** The server is told, by the end of the connection, and stops the run. */
    @Test
    void aCancelledRunIsStopped() throws Exception {
        Path gate = folder.resolve("gate");
        try (Server server = new Server(Server.plugin("slow"), "--instances", "1");
                Client asker = Client.connect(server.url)) {
            CompletableFuture<Map<String, Tensor>> future = asker.inferAsync(
                    Call.of(A).outputs("y").config("until=" + gate));
            Server.eventually(() -> metric(server, "in_flight") == 2);
            future.cancel(true);
            Server.eventually(() -> metric(server, "in_flight") == 1);
        }
    }

    @Test
    void noServer() throws Exception {
        try (SocketChannel bound = SocketChannel.open()) { // it does not listen
            bound.bind(new InetSocketAddress("127.0.0.1", 0));
            for (String address : List.of(
                    "127.0.0.1:" + bound.socket().getLocalPort(), "unix:" + folder + "/none",
                    "http://nobody.invalid:1", "unix:/" + "x".repeat(200))) {
                try (Client asker = Client.connect(address)) {
                    UnavailableException e = assertThrows(UnavailableException.class,
                            () -> asker.infer(A));
                    assertTrue(e.getMessage().matches("cannot connect to .*: .*")
                            && !e.getMessage().endsWith("null"), e.getMessage());
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "ftp://x", "https://x", "http://", "x:0", "x:65536", "a:b:c",
            "user@host", "unix:", "::1", "h\n", "http://x y", "unix:/a\0b"})
    void badAddresses(String address) {
        IllegalArgumentException e = assertThrows(IllegalArgumentException.class,
                () -> Client.connect(address));
        assertTrue(e.getMessage().startsWith("address \""), e.getMessage());
    }

    @Test
    void addressesAreUnderstood() {
        for (String[] one : new String[][] {
                {"host", "http://host:9000", "/"},
                {"http://host:80/", "http://host:80", "/"},
                {"http://[::1]/one two", "http://[::1]:9000", "/one%20two"},
                {"http://[fe80::1%25eth0]:1/grün", "http://[fe80::1]:1", "/gr%C3%BCn"},
                {"unix:///tmp/s:/m/versions/1", "unix:/tmp/s", "/m/versions/1"}}) {
            Address address = new Address(one[0]);
            assertEquals(one[1], address.label);
            assertEquals(one[2], address.path);
        }
    }

    @Test
    void anyLengthOfTimeWillDo() {
        assertThrows(DeadlineExceededException.class,
                () -> client.infer(Call.of(A).outputs("y").timeout(Duration.ofNanos(1))));
        for (Duration time : new Duration[] {null, Duration.ofDays(1), Duration.ofDays(1 << 20),
                Duration.ofSeconds(Long.MAX_VALUE)}) {
            assertSameTensor(A, client.infer(Call.of(A).outputs("y").timeout(time)).get("y"));
        }
    }

    @Test
    void closedClientAndBadOptions() {
        for (Duration time : List.of(Duration.ZERO, Duration.ofSeconds(-1))) {
            assertThrows(IllegalArgumentException.class, () -> Call.of(A).timeout(time));
            assertThrows(IllegalArgumentException.class, () -> new ClientOptions().timeout(time));
        }
        assertThrows(IllegalArgumentException.class,
                () -> new ClientOptions().header("X", "a\r\nEvil: b"));
        assertThrows(IllegalArgumentException.class, 
                () -> new ClientOptions().header("X: y\r\n", ""));
        assertThrows(IllegalArgumentException.class,
                () -> new ClientOptions().maxAnswerBytes(1L << 31));
        Client closed = Client.connect(echo.url);
        closed.infer(A);
        closed.close();
        assertThrows(IllegalStateException.class, () -> closed.infer(A));
        assertThrows(IllegalStateException.class, () -> closed.inferAsync(A));
    }

    @Test
    void headersAreSent() throws Exception {
        byte[] one = Scripted.answer(Golden.read("resp_float32.bin"));
        try (Scripted server = new Scripted("tcp", peer -> {
            peer.request();
            peer.send(one);
        }); Client asker = Client.connect(server.url, new ClientOptions()
                .header("Authorization", "Bearer x"))) {
            asker.infer(A);
            assertTrue(server.heads.get(0).contains("\r\nAuthorization: Bearer x\r\n"));
        }
    }

    // --- connections ---

    @Test
    void connectionsAreKept() throws Exception {
        try (Server server = new Server("echo"); Client asker = Client.connect(server.url)) {
            double before = server.metric("accepted_connections_total");
            for (int i = 0; i < 20; i++) {
                asker.infer(A);
            }
            assertTrue(server.metric("accepted_connections_total") <= before + 2);
        }
    }

    @Test
    void threadsShareAClient() {
        List<CompletableFuture<Tensor>> futures = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            futures.add(client.inferAsync(Tensor.of(new long[] {i}).reshape()));
        }
        for (int i = 0; i < futures.size(); i++) {
            assertEquals(i, futures.get(i).join().asLongBuffer().get(0));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"tcp", "unix"})
    void aServerThatRestartsBetweenCalls(String where) throws Exception {
        String listen = where.equals("tcp") ? "127.0.0.1:0" : "unix:" + folder + "/socket";
        Client asker = null;
        for (int i = 0; i < 3; i++) {
            try (Server server = new Server("echo", "--listen", listen)) {
                listen = server.url.replace("http://", "");
                asker = asker == null ? Client.connect(server.url) : asker;
                assertSameTensor(A, asker.infer(A));
                assertSameTensor(B, asker.infer(B));
            }
        }
        Client last = asker;
        assertThrows(UnavailableException.class, () -> last.infer(A));
        last.close();
    }

    @Test
    void unixSocketWithAPath() throws Exception {
        String address = "unix:" + folder + "/socket";
        try (Server server = new Server("echo", "--listen", address)) {
            assertEquals(address, server.url);
            for (String one : List.of(address, address + ":/echo")) {
                try (Client asker = Client.connect(one)) {
                    assertSameTensor(A, asker.infer(A));
                }
            }
        }
    }
}
