package dev.graphpipe;

import java.util.List;

/** What a server says of a model. {@link #toString()} is a table for people. */
public final class Metadata {
    private final String name;
    private final String version;
    private final String server;
    private final String description;
    private final List<Io> inputs;
    private final List<Io> outputs;

    Metadata(String name, String version, String server, String description, List<Io> inputs,
             List<Io> outputs) {
        this.name = name;
        this.version = version;
        this.server = server;
        this.description = description;
        this.inputs = List.copyOf(inputs);
        this.outputs = List.copyOf(outputs);
    }

    /** The model's name. */
    public String name() {
        return name;
    }

    /** The model's version; may be empty. */
    public String version() {
        return version;
    }

    /** The server's name and version, for instance "graphpipe 0.1.0". */
    public String server() {
        return server;
    }

    /** What the model's author says of it; may be empty. */
    public String description() {
        return description;
    }

    /** The inputs, in the model's order. */
    public List<Io> inputs() {
        return inputs;
    }

    /** The outputs, in the model's order. */
    public List<Io> outputs() {
        return outputs;
    }

    /** Several lines, with the characters of others all visible. */
    @Override
    public String toString() {
        StringBuilder table = new StringBuilder();
        String[] keys = {"name", "version", "server", "description"};
        String[] texts = {name, version, server, description};
        for (int i = 0; i < keys.length; i++) {
            if (!texts[i].isEmpty()) {
                table.append(String.format("%-13s%s%n", keys[i], Errors.oneLine(texts[i])));
            }
        }
        table.append("inputs");
        inputs.forEach(io -> table.append(String.format("%n  %s", io)));
        table.append(String.format("%noutputs"));
        outputs.forEach(io -> table.append(String.format("%n  %s", io)));
        return table.toString();
    }

    /** An input or an output of a model. */
    public static final class Io {
        private final String name;
        private final String description;
        private final DType dtype;
        private final long[] shape;

        Io(String name, String description, DType dtype, long[] shape) {
            this.name = name;
            this.description = description;
            this.dtype = dtype;
            this.shape = shape;
        }

        /** The name by which calls give or choose it. */
        public String name() {
            return name;
        }

        /** What the model's author says of it; may be empty. */
        public String description() {
            return description;
        }

        /** The type of its elements; {@code NULL}: any. */
        public DType dtype() {
            return dtype;
        }

        /** A copy of the sizes of its dimensions; -1 where any size will do. */
        public long[] shape() {
            return shape.clone();
        }

        /** Name, type and shape on one line, as {@code image float32[-1,3,224,224]}. */
        @Override
        public String toString() {
            return Errors.oneLine(name) + " " + Tensor.describe(dtype, shape);
        }
    }
}
