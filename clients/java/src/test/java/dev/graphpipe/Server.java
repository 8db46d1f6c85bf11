package dev.graphpipe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URL;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The program serving (GP_BIN), until it is closed: then it has to end well. */
final class Server implements AutoCloseable {
    private static final Pattern LISTENS = Pattern.compile("listening on (\\S+)");

    /** The address of its first listener. */
    final String url;
    private final Process process;
    private final StringBuffer log = new StringBuffer();

    /** Listens on a port of its own besides where the arguments say. */
    Server(String engine, String... arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of(System.getenv().getOrDefault("GP_BIN",
                Golden.BUILD.resolve("bin/graphpipe").toString()), "serve", "--engine", engine));
        command.addAll(List.of(arguments));
        if (!command.contains("--listen")) {
            command.addAll(List.of("--listen", "127.0.0.1:0"));
        }
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().keySet().removeIf(name -> name.startsWith("GP_"));
        process = builder.start();
        BufferedReader reader = new BufferedReader(new InputStreamReader(process.getInputStream()));
        String found = null;
        String line = "";
        while (found == null && line != null) {
            line = reader.readLine();
            log.append(line).append('\n');
            Matcher listens = LISTENS.matcher(String.valueOf(line));
            found = listens.find() ? listens.group(1) : null;
        }
        assertNotNull(found, log.toString());
        url = found;
        Threads.daemon(() -> reader.lines().forEach(more -> log.append(more).append('\n'))).start();
    }

    /** The path of a test plug-in, by the name of its file in tests/engines. */
    static String plugin(String name) {
        return Golden.BUILD.resolve("lib/graphpipe-test/graphpipe-engine-" + name + ".so")
                .toAbsolutePath().toString();
    }

    /** The sum of a metric over its labels. */
    double metric(String name) throws IOException {
        String text = new String(new URL(url + "/metrics").openStream().readAllBytes());
        double sum = 0;
        for (String line : text.split("\n")) {
            if (line.matches("graphpipe_" + name + "[ {].*")) {
                sum += Double.parseDouble(line.substring(line.lastIndexOf(' ')));
            }
        }
        return sum;
    }

    /** Polls until the condition holds. */
    static void eventually(BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() < end, "it did not come within 60 s");
            Thread.sleep(5);
        }
    }

    @Override
    public void close() {
        process.toHandle().destroy(); // SIGTERM; the process's own destroy() would end its log too
        try {
            assertTrue(process.waitFor(60, TimeUnit.SECONDS), log.toString());
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        } finally {
            process.destroyForcibly();
        }
        assertEquals(0, process.exitValue(), log.toString());
    }
}
