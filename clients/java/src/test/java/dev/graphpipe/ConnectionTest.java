package dev.graphpipe;

import static dev.graphpipe.Scripted.answer;
import static dev.graphpipe.Scripted.answers;
import static dev.graphpipe.Scripted.askedOnce;
import static dev.graphpipe.Scripted.bytes;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.graphpipe.Scripted.Script;
import java.io.IOException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Connections that end at every moment, and servers that answer whatever they like. */
class ConnectionTest {
    private static final byte[] ONE = answer(Golden.read("resp_float32.bin"));
    private static final byte[] METADATA = answer(Golden.read("resp_metadata.bin"));
    private static final Tensor X = Tensor.of(new float[3]);
    // more than sockets hold
    private static final Tensor LARGE = Tensor.allocate(DType.UINT8, 20 << 20);

    @TempDir
    Path folder;

    private String place(String where) {
        return where.equals("tcp") ? where : folder.resolve("socket").toString();
    }

    private static GraphPipeException fails(Client client, Tensor input) {
        return assertThrows(GraphPipeException.class, () -> client.infer(input));
    }

    private static void failsSaying(String words, Client client, Tensor input) {
        GraphPipeException e = fails(client, input);
        assertEquals(UnavailableException.class, e.getClass());
        assertTrue(e.getMessage().contains(words), e.getMessage());
    }

    // --- requests that are sent again, and those that are not ---

    @ParameterizedTest
    @ValueSource(strings = {"tcp", "unix"})
    void aKeptConnectionThatWasClosedIsReplaced(String where) throws Exception {
        try (Scripted server = new Scripted(place(where), askedOnce(ONE), askedOnce(ONE));
                Client client = Client.connect(server.url)) {
            for (int i = 0; i < 2; i++) {
                client.infer(X);
                server.awaitClosed(i);
            }
            assertEquals(2, server.nRequests.get());
        }
    }

    @Test
    void closedWithTheRequestUnread() throws Exception {
        Script script = peer -> {
            peer.request();
            peer.send(ONE);
            // one byte of the second request; nobody reads the others
            assertEquals(1, peer.channel.read(ByteBuffer.allocate(1)));
        };
        try (Scripted server = new Scripted(place("unix"), script, answers(ONE));
                Client client = Client.connect(server.url)) {
            client.infer(X);
            client.infer(X);
            assertEquals(2, server.nRequests.get());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"tcp", "unix"})
    void closedWithTheRequestInPartUnread(String where) throws Exception {
        Script script = peer -> {
            peer.request();
            peer.send(ONE);
            peer.head();
        };
        try (Scripted server = new Scripted(place(where), script, answers(ONE));
                Client client = Client.connect(server.url)) {
            client.infer(X);
            client.infer(LARGE);
            assertEquals(2, server.nRequests.get());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"tcp", "unix"})
    void aRequestThatMayHaveRunIsNotSentAgain(String where) throws Exception {
        Script script = peer -> {
            peer.request();
            peer.send(ONE);
            peer.request();
        };
        try (Scripted server = new Scripted(place(where), script);
                Client client = Client.connect(server.url)) {
            client.infer(X);
            failsSaying("closed the connection without an answer", client, X);
            server.finish();
            assertEquals(2, server.nRequests.get());
        }
    }

    @Test
    void metadataIsAskedForAgain() throws Exception {
        Script script = peer -> {
            peer.request();
            peer.send(METADATA);
            peer.request();
        };
        try (Scripted server = new Scripted("tcp", script, answers(METADATA));
                Client client = Client.connect(server.url)) {
            client.metadata();
            client.metadata();
            assertEquals(3, server.nRequests.get());
        }
    }

    static Stream<byte[]> beginnings() {
        return Stream.of(bytes("H"), bytes("HTTP/1.1 100 Continue\r\n\r\n"), Arrays.copyOf(ONE, 60),
                Arrays.copyOf(ONE, ONE.length - 1));
    }

    @ParameterizedTest
    @MethodSource("beginnings")
    void aRequestWhoseAnswerHasBegunIsNotSentAgain(byte[] beginning) throws Exception {
        for (String where : List.of("tcp", "unix")) {
            Script script = peer -> {
                peer.request();
                peer.send(ONE);
                peer.request();
                peer.send(beginning);
            };
            try (Scripted server = new Scripted(place(where), script);
                    Client client = Client.connect(server.url)) {
                client.infer(X);
                failsSaying("in the middle of the answer", client, X);
                server.finish();
                assertEquals(2, server.nRequests.get());
            }
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void aNewConnectionThatIsClosedAtOnceIsAnError(boolean isReset) throws Exception {
        Script script = peer -> {
            if (isReset) {
                peer.channel.setOption(StandardSocketOptions.SO_LINGER, 0);
            }
        };
        try (Scripted server = new Scripted("tcp", script);
                Client client = Client.connect(server.url)) {
            assertTrue(fails(client, X) instanceof UnavailableException);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"tcp", "unix"})
    void aRefusalIsHeardWhileTheRequestIsSent(String where) throws Exception {
        CountDownLatch heard = new CountDownLatch(1);
        Script script = peer -> {
            peer.head();
            peer.send(bytes("HTTP/1.1 102 Wait\r\n\r\n"),
                    answer(bytes("too long: 7\n"), "413 Payload Too Large", "text/plain"));
            await(heard); // without reading any more
            peer.untilClosed();
        };
        try (Scripted server = new Scripted(place(where), script, answers(ONE));
                Client client = Client.connect(server.url)) {
            GraphPipeException e = fails(client, LARGE);
            assertEquals(InvalidInputException.class, e.getClass());
            assertEquals("too long: 7", e.getMessage());
            heard.countDown();
            client.infer(X); // over another connection: the first one waits for the rest
        }
    }

    // --- time ---

    private static Client within(Scripted server, int millis) {
        return Client.connect(server.url, new ClientOptions().timeout(Duration.ofMillis(millis)));
    }

    private static void isLate(String words, Client client, Tensor input) {
        GraphPipeException e = fails(client, input);
        assertEquals(DeadlineExceededException.class, e.getClass());
        assertTrue(e.getMessage().contains(words), e.getMessage());
    }

    @Test
    void aServerThatNeverAnswers() throws Exception {
        Script script = peer -> {
            peer.request();
            peer.untilClosed();
        };
        try (Scripted server = new Scripted("tcp", script); Client client = within(server, 200)) {
            isLate("waiting for the answer", client, X);
            server.finish(); // the connection was closed
            Matcher told = Pattern.compile("X-GraphPipe-Timeout-Ms: (\\d+)")
                    .matcher(server.heads.get(0));
            assertTrue(told.find() && Integer.parseInt(told.group(1)) <= 200, server.heads.get(0));
        }
    }

    @Test
    void aServerThatDoesNotRead() throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        try (Scripted server = new Scripted("tcp", peer -> done.await(60, TimeUnit.SECONDS));
                Client client = within(server, 200)) {
            isLate("sending the request", client, LARGE);
            done.countDown();
        }
    }

    @Test
    void anAnswerThatDrips() throws Exception {
        Script script = peer -> {
            peer.request();
            peer.send(bytes("HTTP/1.1 200 OK\r\nX: "));
            Script forever = drip -> {
                while (true) {
                    drip.send(bytes("x"));
                    Thread.sleep(10);
                }
            };
            assertThrows(IOException.class, () -> forever.run(peer));
        };
        try (Scripted server = new Scripted("tcp", script); Client client = within(server, 300)) {
            isLate("waiting for the answer", client, X);
            server.finish();
        }
    }

    @Test
    void aNameThatIsNeverResolved() {
        assertThrows(TimeoutException.class, () -> Threads.within(
                Deadline.after(Duration.ofMillis(50)), () -> {
                    Thread.sleep(60_000);
                    return 0;
                }));
    }

    // --- calls that end early ---

    /** Each way to end a call closes its connection, which is how the server knows. */
    @ParameterizedTest
    @ValueSource(strings = {"cancel", "orTimeout", "interrupt"})
    void aCallThatIsEnded(String how) throws Exception {
        CountDownLatch asked = new CountDownLatch(1);
        Script script = peer -> {
            peer.request();
            asked.countDown();
            peer.untilClosed();
        };
        try (Scripted server = new Scripted("tcp", script, answers(ONE));
                Client client = Client.connect(server.url)) {
            if (how.equals("interrupt")) {
                Thread thread = Thread.currentThread();
                Threads.daemon(() -> {
                    await(asked);
                    thread.interrupt();
                }).start();
                assertTrue(fails(client, X).getMessage().contains("was interrupted"));
                assertTrue(Thread.interrupted());
            } else {
                CompletableFuture<Tensor> future = client.inferAsync(X);
                await(asked);
                if (how.equals("cancel")) {
                    future.cancel(true);
                } else {
                    assertThrows(CompletionException.class,
                            () -> future.orTimeout(1, TimeUnit.MILLISECONDS).join());
                }
            }
            server.awaitClosed(0);
            // the thread goes on with other calls
            assertEquals(DType.FLOAT32, client.inferAsync(X).join().dtype());
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            assertTrue(latch.await(60, TimeUnit.SECONDS));
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void anExecutorsThreadIsNotLeftInterrupted() throws Exception {
        CountDownLatch asked = new CountDownLatch(1);
        CompletableFuture<Boolean> isInterrupted = new CompletableFuture<>();
        Script script = peer -> {
            peer.request();
            asked.countDown();
            peer.untilClosed();
        };
        ClientOptions options = new ClientOptions().executor(call -> Threads.daemon(() -> {
            call.run();
            isInterrupted.complete(Thread.currentThread().isInterrupted());
        }).start());
        try (Scripted server = new Scripted("tcp", script);
                Client client = Client.connect(server.url, options)) {
            CompletableFuture<Tensor> future = client.inferAsync(X);
            await(asked);
            future.cancel(true);
            assertFalse(isInterrupted.get(60, TimeUnit.SECONDS));
        }
    }

    @Test
    void aCancelledCallThatHasNotBegunIsNotSent() throws Exception {
        List<Runnable> waiting = new ArrayList<>();
        try (Scripted server = new Scripted("tcp", answers(ONE)); Client client = Client.connect(
                server.url, new ClientOptions().executor(waiting::add))) {
            CompletableFuture<Tensor> first = client.inferAsync(X);
            CompletableFuture<Map<String, Tensor>> second = client.inferAsync(
                    Call.of(X).outputs("y"));
            first.cancel(false);
            waiting.forEach(Runnable::run);
            assertEquals("[y]", second.join().keySet().toString());
            assertEquals(1, server.nRequests.get());
        }
    }
}
