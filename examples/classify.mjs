// What is in a picture? Asks a served image model (EfficientNet-Lite0).
//
//     npm install ./clients/js pngjs
//     node examples/classify.mjs http://127.0.0.1:9000 examples/mug.png
//
// The picture becomes float32[1,3,224,224], as the model wants it; classify.html does the same in a
// browser, which reads more than PNG. The classes are ImageNet's.

import { readFileSync } from "node:fs";
import { Client, Tensor } from "graphpipe";
import png from "pngjs";

const SIZE = 224;

/** The middle of a picture as a tensor; each pixel is the mean of those that it covers. */
function prepare({ width, height, data }) {
    const side = Math.min(width, height);
    const [left, top] = [Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
    const floats = new Float32Array(3 * SIZE * SIZE);
    const begin = (i) => Math.floor((i * side) / SIZE);
    const end = (i) => Math.max(begin(i) + 1, begin(i + 1));
    for (let i = 0; i < floats.length; i++) {
        const [x, y, channel] = [i % SIZE, Math.floor(i / SIZE) % SIZE, Math.floor(i / SIZE ** 2)];
        let [sum, n] = [0, 0];
        for (let v = top + begin(y); v < top + end(y); v++) {
            for (let u = left + begin(x); u < left + end(x); u++, n++) {
                sum += data[4 * (v * width + u) + channel];
            }
        }
        floats[i] = (sum / n - 127) / 128;
    }
    return new Tensor("float32", [1, 3, SIZE, SIZE], floats);
}

const [address, path] = process.argv.slice(2);
if (!path) {
    console.error("usage: node classify.mjs URL PICTURE.png");
    process.exit(2);
}
const image = prepare(png.PNG.sync.read(readFileSync(path)));
const client = new Client(address);
const start = performance.now();
const { data } = await client.infer(image);
const time = performance.now() - start;
const best = [...data.keys()].sort((a, b) => data[b] - data[a]).slice(0, 5);
for (const number of best) console.log(`  ${data[number].toFixed(3)}  class ${number}`);
console.log(`  in ${time.toFixed(1)} ms`);
