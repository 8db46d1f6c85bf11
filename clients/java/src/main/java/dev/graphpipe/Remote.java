package dev.graphpipe;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * The functions of the client of 2018, by their names; new programs take {@link Client}. An old
 * program changes its imports. As then, the port is 80 by default, and there is no limit of time.
 * Connections are kept. Any thread may call them.
 */
public final class Remote {
    private static final int MAX_CLIENTS = 64;
    private static final Map<String, Client> CLIENTS = new LinkedHashMap<>(16, 0.75f, true);

    private Remote() {
    }

    /**
     * The output for an input; of several outputs the first.
     *
     * @throws IOException if the call fails; a {@link GraphPipeException} is its cause
     */
    public static NativeTensor Execute(String uri, NativeTensor input) throws IOException {
        return ExecuteMulti("", uri, List.of(input), List.of(), List.of()).get(0);
    }

    /**
     * The named output for the named input.
     *
     * @throws IOException if the call fails; a {@link GraphPipeException} is its cause
     */
    public static NativeTensor Execute(String uri, NativeTensor input, String inputName,
                                       String outputName) throws IOException {
        return Execute(uri, input, inputName, outputName, "");
    }

    /**
     * The named output for the named input and a config, which may be null.
     *
     * @throws IOException if the call fails; a {@link GraphPipeException} is its cause
     */
    public static NativeTensor Execute(String uri, NativeTensor input, String inputName,
                                       String outputName, String config) throws IOException {
        return ExecuteMulti(config, uri, List.of(input), List.of(inputName), List.of(outputName))
                .get(0);
    }

    /**
     * The outputs for inputs, in order; without names they are the model's own. The config may be
     * null.
     *
     * @throws IOException if the call fails; a {@link GraphPipeException} is its cause
     */
    public static List<NativeTensor> ExecuteMulti(String config, String uri,
                                                  List<NativeTensor> inputs,
                                                  List<String> inputNames,
                                                  List<String> outputNames) throws IOException {
        List<Tensor> tensors = new ArrayList<>();
        inputs.forEach(input -> tensors.add(input.tensor()));
        Call call = Call.ofLists(inputNames, tensors).config(config == null ? "" : config)
                .outputs(outputNames.toArray(new String[0]));
        try {
            List<NativeTensor> found = clientOf(uri).execute(call).stream().map(NativeTensor::new)
                    .collect(Collectors.toList());
            if (found.isEmpty()) {
                throw Errors.broken("no outputs");
            }
            return found;
        } catch (GraphPipeException e) {
            throw new IOException(e.getMessage(), e);
        }
    }

    /**
     * One that has not been used for long gives its connections up, though a call may still have
     * it.
     */
    private static Client clientOf(String uri) {
        synchronized (CLIENTS) {
            Client client = CLIENTS.computeIfAbsent(uri, Remote::connect);
            if (CLIENTS.size() > MAX_CLIENTS) {
                String eldest = CLIENTS.keySet().iterator().next();
                CLIENTS.remove(eldest).closeIdle();
            }
            return client;
        }
    }

    private static Client connect(String uri) {
        return Client.connect(withPort(uri), new ClientOptions().timeout(null));
    }

    static String withPort(String uri) {
        return uri.replaceFirst("^(http://(?:\\[[^]]*\\]|[^:/]+))(?=/|$)", "$1:80");
    }
}
