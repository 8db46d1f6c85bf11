package dev.graphpipe;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The functions of the client of 2018. */
class RemoteTest {
    @Test
    void theFunctionsOf2018() throws Exception {
        try (Server echo = new Server("echo")) {
            theFunctions(echo);
        }
    }

    private static void theFunctions(Server echo) throws IOException {
        NativeTensor x = NativeTensor.fromArray(new float[][] {{1, 2}, {3, 4}});
        assertArrayEquals(new float[][] {{1, 2}, {3, 4}},
                (float[][]) Remote.Execute(echo.url, x).toNDArray());
        assertArrayEquals(new float[] {1, 2, 3, 4},
                (float[]) Remote.Execute(echo.url, x, "x", "y", null).toFlatArray());
        List<NativeTensor> both = Remote.ExecuteMulti("config", echo.url,
                List.of(x, NativeTensor.fromArray(7L)), List.of(), List.of());
        assertEquals(2, both.size());
        assertEquals(7L, both.get(1).toNDArray());
        IOException e = assertThrows(IOException.class, () -> Remote.ExecuteMulti("", echo.url,
                List.of(x), List.of("x"), List.of("p", "q")));
        assertTrue(e.getCause() instanceof InvalidInputException);
    }

    @Test
    void thePortWasThatOfHttp() {
        for (String[] one : new String[][] {{"http://host", "http://host:80"},
                {"http://host/model", "http://host:80"}, {"http://host:9000", "http://host:9000"},
                {"http://[::1]/", "http://[::1]:80"}}) {
            assertEquals(one[1], new Address(Remote.withPort(one[0])).label);
        }
    }
}
