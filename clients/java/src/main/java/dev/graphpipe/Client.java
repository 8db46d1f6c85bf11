package dev.graphpipe;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;

/**
 * Asks the models of a server.
 *
 * <pre>{@code
 * try (Client client = Client.connect("http://127.0.0.1:9000")) {
 *     Tensor scores = client.infer(Tensor.of(pixels, 1, 3, 224, 224));
 * }
 * }</pre>
 *
 * <p>Threads may share a client: each call has a connection for itself, which is kept for the next.
 * A thread that is interrupted ends its call. A call that ends early, for whatever reason, closes
 * its connection, and the server stops the run.
 *
 * <p>A request is sent a second time only if the server had closed the kept connection before it
 * could have received all of it; one for metadata, which does no harm, in any case.
 */
public final class Client implements AutoCloseable {
    private final Pool pool;
    private final Duration timeout;
    private final ExecutorService threads; // the client's own, or null
    private final Executor executor;
    // The names of all outputs, by path: asked for once, and again after the server refused a call.
    private final Map<String, List<String>> outputNames = new ConcurrentHashMap<>();

    private Client(Address address, ClientOptions options) {
        pool = new Pool(address, options);
        timeout = options.timeout();
        boolean isGiven = options.executor() != null;
        threads = isGiven ? null : Executors.newCachedThreadPool(Threads::daemon);
        executor = isGiven ? options.executor() : threads;
    }

    /**
     * A client for the server at the address; nothing is sent yet.
     *
     * @param address "http://HOST[:PORT][/MODEL]" or "unix:/path/of/socket[:/MODEL]", the latter on
     *     Java 16 and later; the port is 9000 by default. MODEL is "NAME" or "NAME/versions/N"
     *     where the server has several
     * @throws IllegalArgumentException if it cannot be an address
     */
    public static Client connect(String address) {
        return connect(address, new ClientOptions());
    }

    /**
     * A client with options.
     *
     * @see #connect(String)
     */
    public static Client connect(String address, ClientOptions options) {
        return new Client(new Address(address), options);
    }

    /**
     * Runs a model with one input and one output.
     *
     * @throws InvalidInputException if the tensor does not fit the model, or there are more outputs
     * @throws GraphPipeException of another kind if the call fails otherwise
     * @throws IllegalStateException if the client is closed
     */
    public Tensor infer(Tensor input) {
        return inferOne(input, Deadline.after(timeout));
    }

    /**
     * Runs a model with all its outputs.
     *
     * @param inputs the tensors by the names of the inputs
     * @return the tensors by the names of the outputs, in the model's order
     * @throws GraphPipeException of some kind if the call fails
     */
    public Map<String, Tensor> infer(Map<String, Tensor> inputs) {
        return infer(Call.of(inputs));
    }

    /**
     * Runs a model as the call says.
     *
     * @return the tensors by the names of the outputs, in the call's order, or the model's
     * @throws GraphPipeException of some kind if the call fails
     */
    public Map<String, Tensor> infer(Call call) {
        return inferNamed(call, deadlineOf(call));
    }

    /**
     * Like {@link #infer(Tensor)}, without waiting. Cancelling the future ends the call; so does
     * {@code orTimeout}.
     */
    public CompletableFuture<Tensor> inferAsync(Tensor input) {
        Deadline deadline = Deadline.after(timeout);
        return Threads.start(executor, () -> inferOne(input, deadline));
    }

    /** Like {@link #infer(Call)}, without waiting; see {@link #inferAsync(Tensor)}. */
    public CompletableFuture<Map<String, Tensor>> inferAsync(Call call) {
        Deadline deadline = deadlineOf(call);
        return Threads.start(executor, () -> inferNamed(call, deadline));
    }

    /**
     * What the server says of the model.
     *
     * @throws GraphPipeException of some kind if the call fails
     */
    public Metadata metadata() {
        return metadata(pool.address.path, Deadline.after(timeout));
    }

    /**
     * What the server says of another model.
     *
     * @param model "NAME", or "NAME/versions/N"
     * @throws GraphPipeException of some kind if the call fails
     */
    public Metadata metadata(String model) {
        return metadata(pathOf(model), Deadline.after(timeout));
    }

    /** Closes the connections. Calls that are on their way finish; later ones fail. */
    @Override
    public void close() {
        pool.close();
        if (threads != null) {
            threads.shutdown();
        }
    }

    // --- for Remote ---

    List<Tensor> execute(Call call) {
        return tensors(pathOf(call.model), call, call.outputs, deadlineOf(call));
    }

    void closeIdle() {
        pool.closeIdle();
    }

    // --- calls ---

    private Deadline deadlineOf(Call call) {
        return Deadline.after(call.hasTimeout ? call.timeout : timeout);
    }

    private String pathOf(String model) {
        return model == null ? pool.address.path
                : "/" + Address.quote(model.replaceAll("^/+|/+$", ""), "/");
    }

    private Tensor inferOne(Tensor input, Deadline deadline) {
        String path = pathOf(null);
        List<Tensor> found = tensors(path, Call.of(input), List.of(), deadline);
        if (found.size() != 1) {
            String known = Errors.oneLine(String.join(", ", names(path, deadline)));
            throw Errors.invalid("the model has " + found.size()
                    + " outputs; choose with Call.outputs(), of " + known);
        }
        return found.get(0);
    }

    private Map<String, Tensor> inferNamed(Call call, Deadline deadline) {
        String path = pathOf(call.model);
        List<String> asked = call.outputs.isEmpty() ? names(path, deadline) : call.outputs;
        try {
            List<Tensor> found = tensors(path, call, asked, deadline);
            Map<String, Tensor> named = new LinkedHashMap<>();
            for (int i = 0; i < found.size(); i++) {
                named.put(i < asked.size() ? asked.get(i) : "output_" + i, found.get(i));
            }
            return named;
        } catch (InvalidInputException e) {
            outputNames.remove(path); // the model may be another one now
            throw e;
        }
    }

    private List<String> names(String path, Deadline deadline) {
        List<String> known = outputNames.get(path);
        if (known == null) {
            known = metadata(path, deadline).outputs().stream().map(Metadata.Io::name)
                    .collect(Collectors.toList());
            outputNames.put(path, known);
        }
        return known;
    }

    private Metadata metadata(String path, Deadline deadline) {
        return MessageReader.metadata(ask(path, MessageWriter.metadataRequest(), deadline, true));
    }

    private List<Tensor> tensors(String path, Call call, List<String> asked, Deadline deadline) {
        List<ByteBuffer> request = MessageWriter.inferRequest(call.tensors, call.names, asked,
                call.config);
        Answer answer = MessageReader.answer(ask(path, request, deadline, false));
        if (answer.isError) {
            throw Errors.refusal(200, answer.code, answer.message);
        }
        if (!asked.isEmpty() && answer.tensors.size() != asked.size()) {
            throw Errors.broken(answer.tensors.size() + " outputs, " + asked.size()
                    + " were asked for");
        }
        return answer.tensors;
    }

    /** The message of a good answer. */
    private ByteBuffer ask(String path, List<ByteBuffer> request, Deadline deadline,
                           boolean isHarmless) {
        Reply reply = pool.ask(path, request, deadline, isHarmless);
        String kind = reply.head.contentType;
        int status = reply.head.status;
        if (status == 200 && !kind.startsWith("text/")) {
            return reply.body;
        }
        if (status == 200) {
            throw Errors.broken("\"" + Errors.oneLine(kind) + "\" is nothing that GraphPipe sends");
        }
        if (!kind.equals(Pool.MEDIA_TYPE)) {
            String text = StandardCharsets.UTF_8.decode(reply.body).toString();
            throw Errors.refusal(status, GraphPipeException.NO_CODE, text);
        }
        try {
            Answer answer = MessageReader.answer(reply.body);
            throw Errors.refusal(status, answer.code, answer.message);
        } catch (ProtocolException e) { // then the status has to do
            throw Errors.refusal(status, GraphPipeException.NO_CODE, "");
        }
    }
}
