/**
 * A client of GraphPipe: sends tensors to served models and brings tensors back.
 *
 * <pre>{@code
 * try (Client client = Client.connect("http://127.0.0.1:9000")) {
 *     Tensor scores = client.infer(Tensor.of(pixels, 1, 3, 224, 224));
 *     FloatBuffer first = scores.asFloatBuffer();
 * }
 * }</pre>
 *
 * <p>{@link dev.graphpipe.Client} asks, {@link dev.graphpipe.Tensor} goes in and comes out,
 * {@link dev.graphpipe.Call} has what else a call can say, and every failure is a
 * {@link dev.graphpipe.GraphPipeException}. It needs Java 11 and nothing else.
 *
 * <p>How it is made. The messages are FlatBuffers, read and written here by hand. The protocol has
 * nine tables, of which a client reads five. Google's library builds a message in one buffer that
 * grows, so that each tensor is copied once or more, and reads without checking an offset. Here
 * large tensors are parts of their own, sent from where they lie, and each offset is checked right
 * before it is used. So is HTTP, of which the protocol needs little: docs/decisions/java.md says
 * what java.net.http costs.
 */
package dev.graphpipe;
