package dev.graphpipe;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * A call with all that it can say: {@code client.infer(Call.of(Map.of("ids",
 * ids)).outputs("logits").timeout(Duration.ofSeconds(2)))}. Not for several threads while it is
 * set; it may be sent any number of times.
 */
public final class Call {
    final List<String> names;
    final List<Tensor> tensors;
    List<String> outputs = List.of();
    String config = "";
    String model;
    Duration timeout;
    boolean hasTimeout;

    private Call(List<String> names, List<Tensor> tensors) {
        this.names = names;
        this.tensors = tensors;
    }

    /** For a model with one input, which needs no name. */
    public static Call of(Tensor input) {
        return new Call(List.of(), List.of(input));
    }

    /** The inputs by their names. */
    public static Call of(Map<String, Tensor> inputs) {
        List<String> names = new ArrayList<>();
        List<Tensor> tensors = new ArrayList<>();
        inputs.forEach((name, tensor) -> {
            names.add(name);
            tensors.add(tensor);
        });
        return new Call(names, tensors);
    }

    /** In order and perhaps without names, as the calls of 2018 were. */
    static Call ofLists(List<String> names, List<Tensor> tensors) {
        return new Call(names, tensors);
    }

    /** The outputs to compute and send, by name; by default all. */
    public Call outputs(String... names) {
        outputs = List.of(names);
        return this;
    }

    /** A text that is passed to the model as it is. */
    public Call config(String config) {
        this.config = config;
        return this;
    }

    /**
     * Another model of the server than the address names.
     *
     * @param path "NAME", or "NAME/versions/N"
     */
    public Call model(String path) {
        this.model = path;
        return this;
    }

    /**
     * The time for the whole call, instead of the client's.
     *
     * @param timeout over 0; null: no limit
     * @throws IllegalArgumentException if it is 0 or negative
     */
    public Call timeout(Duration timeout) {
        this.timeout = ClientOptions.checked(timeout);
        this.hasTimeout = true;
        return this;
    }
}
