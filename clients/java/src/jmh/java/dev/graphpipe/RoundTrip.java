package dev.graphpipe;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.List;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Round trips of float32 through the echo engine: this client with a tensor outside of the heap and
 * with a Java array in and out, java.net.http with the same parts, and prepared bytes over a socket
 * into a buffer that is used again, which is the limit. bench.sh runs it.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SampleTime) // the median says most on a machine with other work
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(value = 2, jvmArgsAppend = {"-Xmx2g"})
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 4, time = 1)
public class RoundTrip {
    /** Numbers of a tensor: 1 KB, 602 KB, 77 MB. */
    @Param({"256", "150528", "19267584"})
    public int n;

    private final String url = System.getProperty("gp.url");
    private Client client;
    private Tensor tensor;
    private float[] array;
    private HttpClient http;
    private SocketChannel socket;
    private ByteBuffer prepared;
    private ByteBuffer answer;

    @Setup
    public void prepare() throws IOException {
        client = Client.connect(url);
        tensor = Tensor.allocate(DType.FLOAT32, n);
        array = new float[n];
        http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        URI uri = URI.create(url);
        socket = SocketChannel.open(new InetSocketAddress(uri.getHost(), uri.getPort()));
        socket.setOption(StandardSocketOptions.TCP_NODELAY, true);
        List<ByteBuffer> parts = parts();
        int size = parts.stream().mapToInt(ByteBuffer::remaining).sum();
        byte[] head = ("POST / HTTP/1.1\r\nHost: x\r\nAccept: application/x-graphpipe\r\n"
                + "Content-Length: " + size + "\r\n\r\n").getBytes();
        prepared = ByteBuffer.allocateDirect(head.length + size).put(head);
        parts.forEach(prepared::put);
        answer = ByteBuffer.allocateDirect(size + 65536);
    }

    @TearDown
    public void end() throws IOException {
        client.close();
        socket.close();
    }

    private List<ByteBuffer> parts() {
        return MessageWriter.inferRequest(List.of(tensor), List.of(), List.of(), "");
    }

    /** A tensor outside of the heap in, a view out. */
    @Benchmark
    public float client() {
        return client.infer(tensor).asFloatBuffer().get(n - 1);
    }

    /** An array of Java's in, and one out. */
    @Benchmark
    public float clientArray() {
        return client.infer(Tensor.of(array)).toFloatArray()[n - 1];
    }

    /** The JDK's own client, with the same parts. */
    @Benchmark
    public float javaNetHttp() throws IOException, InterruptedException {
        List<ByteBuffer> parts = parts();
        long size = parts.stream().mapToLong(ByteBuffer::remaining).sum();
        BodyPublisher body = BodyPublishers.fromPublisher(new Parts(parts), size);
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).POST(body)
                .header("Accept", Pool.MEDIA_TYPE).header("Content-Type", Pool.MEDIA_TYPE).build();
        byte[] found = http.send(request, BodyHandlers.ofByteArray()).body();
        Answer answer = MessageReader.answer(ByteBuffer.wrap(found));
        return answer.tensors.get(0).asFloatBuffer().get(n - 1);
    }

    /** Hands the parts over as they are asked for. */
    private static final class Parts implements Flow.Publisher<ByteBuffer> {
        private final List<ByteBuffer> parts;

        Parts(List<ByteBuffer> parts) {
            this.parts = parts;
        }

        @Override
        public void subscribe(Flow.Subscriber<? super ByteBuffer> subscriber) {
            subscriber.onSubscribe(new Flow.Subscription() {
                private int next;

                @Override
                public void request(long wanted) {
                    for (long i = 0; i < wanted && next < parts.size(); i++) {
                        subscriber.onNext(parts.get(next++));
                    }
                    if (next == parts.size()) {
                        next++;
                        subscriber.onComplete();
                    }
                }

                @Override
                public void cancel() {
                    next = parts.size() + 1;
                }
            });
        }
    }

    /** Prepared bytes. */
    @Benchmark
    public int plainSocket() throws IOException {
        prepared.rewind();
        while (prepared.hasRemaining()) {
            socket.write(prepared);
        }
        answer.clear();
        int end = Integer.MAX_VALUE;
        while (answer.position() < end) {
            socket.read(answer);
            end = end == Integer.MAX_VALUE ? endOf(answer) : end;
        }
        return end;
    }

    private static int endOf(ByteBuffer answer) {
        byte[] start = new byte[Math.min(answer.position(), 400)];
        answer.duplicate().flip().get(start);
        String text = new String(start);
        int head = text.indexOf("\r\n\r\n");
        if (head < 0) {
            return Integer.MAX_VALUE;
        }
        int length = text.indexOf("Content-Length: ") + 16;
        return head + 4 + Integer.parseInt(text.substring(length, text.indexOf('\r', length)));
    }
}
