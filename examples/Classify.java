import dev.graphpipe.Client;
import dev.graphpipe.Tensor;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.util.Comparator;
import java.util.stream.IntStream;
import javax.imageio.ImageIO;

/**
 * What is in a picture? Asks a served image model (EfficientNet-Lite0), as classify.py does:
 *
 *     java -cp graphpipe-0.1.0.jar examples/Classify.java http://127.0.0.1:9000 examples/mug.png
 *
 * The picture becomes float32[1,3,224,224], as the model wants it; the classes are those of ImageNet.
 * clients/java/test.sh makes the jar, in build/release/java.
 */
public final class Classify {
    private static final int SIZE = 224;

    private Classify() {
    }

    /** The picture as RGB, channels first, (x - 127) / 128. */
    private static Tensor prepare(File file) throws IOException {
        BufferedImage picture = new BufferedImage(SIZE, SIZE, BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = picture.createGraphics();
        graphics.setRenderingHint(RenderingHints.KEY_INTERPOLATION,
                RenderingHints.VALUE_INTERPOLATION_BICUBIC);
        graphics.drawImage(ImageIO.read(file), 0, 0, SIZE, SIZE, null);
        int[] pixels = picture.getRGB(0, 0, SIZE, SIZE, null, 0, SIZE);
        float[] values = new float[3 * pixels.length];
        for (int i = 0; i < values.length; i++) {
            int channel = i / pixels.length;
            int shade = pixels[i % pixels.length] >> 8 * (2 - channel) & 0xff;
            values[i] = (shade - 127) / 128f;
        }
        return Tensor.of(values, 1, 3, SIZE, SIZE);
    }

    public static void main(String[] arguments) throws IOException {
        Tensor image = prepare(new File(arguments[1]));
        try (Client client = Client.connect(arguments[0])) {
            long start = System.nanoTime();
            float[] probabilities = client.infer(image).toFloatArray();
            double millis = (System.nanoTime() - start) / 1e6;
            IntStream.range(0, probabilities.length).boxed()
                    .sorted(Comparator.comparing(i -> -probabilities[i])).limit(5)
                    .forEach(i -> System.out.printf("  %.3f  class %d%n", probabilities[i], i));
            System.out.printf("  in %.1f ms%n", millis);
        }
    }
}
