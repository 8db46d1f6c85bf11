package dev.graphpipe;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Requests: the C library judges them. */
class MessageWriterTest {
    @TempDir
    Path folder;

    static Stream<String> requests() {
        return Golden.ofKind("InferRequest");
    }

    @ParameterizedTest
    @MethodSource("requests")
    void requestsAreThoseOfTheCLibrary(String name) throws Exception {
        Map<String, Object> wanted = Golden.CASES.get(name);
        List<Tensor> tensors = new ArrayList<>();
        for (Map<String, Object> tensor : Golden.<Map<String, Object>>list(
                wanted.get("input_tensors"))) {
            tensors.add(tensorOf(tensor));
        }
        byte[] ours = Golden.whole(MessageWriter.inferRequest(tensors,
                Golden.list(wanted.get("input_names")), Golden.list(wanted.get("output_names")),
                (String) wanted.get("config")));
        assertArrayEquals(Golden.writtenByC(folder, "request", Golden.read(name)), ours);
    }

    private static Tensor tensorOf(Map<String, Object> tensor) {
        long[] shape = Golden.<Long>list(tensor.get("shape")).stream().mapToLong(n -> n).toArray();
        if (tensor.containsKey("strings")) {
            return Tensor.of(Golden.<String>list(tensor.get("strings")).toArray(new String[0]))
                    .reshape(shape);
        }
        DType dtype = DType.valueOf(((String) tensor.get("type")).toUpperCase());
        byte[] data = Golden.unhex((String) tensor.get("data_hex"));
        return Tensor.of(dtype, ByteBuffer.wrap(data)).reshape(shape);
    }

    @Test
    void largeTensorsLieWhereThoseOfTheCLibraryDo() throws Exception {
        Tensor large = Tensor.allocate(DType.INT64, 33000);
        large.asLongBuffer().put(7, 7);
        List<Tensor> tensors = List.of(Tensor.of(new byte[4096]), Tensor.of(new double[5]),
                Tensor.of(new byte[4099]), Tensor.of(new float[0]), Tensor.of(new float[1024]),
                large,
                Tensor.of(new String[] {"a", "", "b".repeat(5000)}),
                Tensor.ofHalves(DType.FLOAT16, new float[] {3}).reshape(),
                Tensor.of(new short[0], 2, 0, 3));
        List<ByteBuffer> parts = MessageWriter.inferRequest(tensors, List.of(), List.of("y"),
                "config");
        byte[] ours = Golden.whole(parts);
        assertArrayEquals(Golden.writtenByC(folder, "request", ours), ours);
        // from the tensor's own memory
        large.asLongBuffer().put(7, 8);
        assertTrue(parts.stream().anyMatch(part -> part.isDirect() && part.remaining() == 8 * 33000
                && part.order(ByteOrder.LITTLE_ENDIAN).getLong(8 * 7) == 8));
    }

    @Test
    void metadataRequestIsThatOfTheCLibrary() throws Exception {
        assertArrayEquals(Golden.writtenByC(folder, "request", Golden.read("req_metadata.bin")),
                Golden.whole(MessageWriter.metadataRequest()));
    }

    @Test
    void messagesEndAt2Gib() {
        Tensor half = Tensor.of(DType.UINT8, ByteBuffer.allocateDirect(64 << 20));
        List<Tensor> many = Collections.nCopies(32, half);
        InvalidInputException e = assertThrows(InvalidInputException.class,
                () -> MessageWriter.inferRequest(many, List.of(), List.of(), ""));
        assertTrue(e.getMessage().contains("messages end at 2147483647"), e.getMessage());
    }

    @Test
    void textThatUtf8CannotSay() {
        for (List<String> names : List.of(List.of("\ud800"), List.of("x\udc00y"))) {
            assertThrows(IllegalArgumentException.class, () -> MessageWriter.inferRequest(
                    List.of(), names, List.of(), ""));
        }
    }
}
