/** Calls of the real program. */

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { BusyError, Client, DeadlineExceededError, InvalidInputError, ModelError, NotFoundError, Tensor,
    tensor, UnavailableError } from "graphpipe";

import { ARRAYS } from "../src/types.js";
import { BUILD, eventually, lacksOnnx, MODELS, Server, temporary, withServer } from "./support.js";

const A = Float32Array.of(1, 2, 3);
const B = Float32Array.of(4, 5, 6);
const pair = ["--engine", "onnx", "--model", join(MODELS, "pair.onnx")];
const plugin = (name) => ["--engine", join(BUILD, `lib/graphpipe-test/graphpipe-engine-${name}.so`)];

let echo;
let client;

before(async () => {
    echo = await Server.start();
    client = new Client(echo.url);
});

after(() => echo.stop());

// --- tensors ----------------------------------------------------------------------------------

for (const dtype of Object.keys(ARRAYS)) {
    test(`${dtype} comes back`, async () => {
        for (const shape of [[3], [2, 3, 4], [1, 1, 1, 1, 5], [], [0], [0, 4], [200, 33]]) {
            const n = shape.reduce((product, size) => product * size, 1);
            const isBig = /int64/.test(dtype);
            const data = ARRAYS[dtype].from({ length: n },
                (_, i) => (isBig ? BigInt(i) << 40n : i % (dtype === "bool" ? 2 : 120)));
            const back = await client.infer(new Tensor(dtype, shape, data));
            assert.deepEqual([back.dtype, back.shape, back.data], [dtype, shape, data]);
        }
    });
}

test("strings come back, with NUL, other alphabets, a BOM, and what is not UTF-8", async () => {
    const texts = ["", "a", "nul\0nul", "grüße 日本 👍", "\ufeffbom", "x".repeat(5000)];
    const back = await client.infer(tensor([texts, texts]));
    assert.deepEqual(back.toNested(), [texts, texts]);
    const bytes = [Uint8Array.of(0xff, 0, 0xfe), Uint8Array.of(65)];
    const odd = await client.infer(new Tensor("string", [2], bytes));
    assert.deepEqual(odd.bytes, bytes);
    assert.deepEqual(odd.data, ["\ufffd\0\ufffd", "A"]);
});

test("typed arrays are tensors of one dimension", async () => {
    for (const [array, text] of [[A, "float32[3]"], [new BigInt64Array(2), "int64[2]"],
        [Buffer.from("abc"), "uint8[3]"], [new Uint8ClampedArray(4), "uint8[4]"],
        [new Uint16Array(1), "uint16[1]"], [Float64Array.of(1, 2, 3).subarray(1), "float64[2]"],
        [new Int8Array(new SharedArrayBuffer(5)), "int8[5]"]]) {
        const back = await client.infer(array);
        assert.equal(String(back), text);
        assert.deepEqual([...back.data], [...array]);
    }
});

test("an answer is the caller's, and lies aligned in one block of memory", async () => {
    const both = await client.infer({ a: A, b: new Float64Array(1000).fill(2) }, { outputs: ["a", "b"] });
    assert.equal(both.a.data.buffer, both.b.data.buffer);
    both.a.data.fill(9);
    assert.ok(both.b.data.every((number) => number === 2));
});

test("16 MB, in pieces", async () => {
    const data = Float32Array.from({ length: 4 << 20 }, (_, i) => i);
    const back = await client.infer(data);
    assert.ok(Buffer.from(data.buffer).equals(Buffer.from(back.data.buffer, back.data.byteOffset,
        back.data.byteLength)));
});

// --- names ------------------------------------------------------------------------------------

test("objects and tensors", { skip: lacksOnnx }, () => withServer(pair, async ({ url }) => {
    const model = new Client(url);
    const both = await model.infer({ b: B, a: A });
    assert.deepEqual(Object.keys(both), ["sum", "product"]);
    assert.deepEqual([...both.sum.data], [5, 7, 9]);
    assert.deepEqual(both.product.toNested(), [4, 10, 18]);
    const product = await model.infer({ a: A, b: B }, { outputs: "product" });
    assert.deepEqual(product.toNested(), [4, 10, 18]);
    const one = await model.infer({ a: A, b: B }, { outputs: ["product"] });
    assert.deepEqual(Object.keys(one), ["product"]);
    await assert.rejects(model.infer({ a: A, b: B }, { outputs: ["nobody"] }), (error) => (
        error instanceof InvalidInputError && error.code === 1 && /nobody/.test(error.message)));
    await assert.rejects(model.infer({ a: new Float64Array(3), b: B }), (error) => (
        error instanceof InvalidInputError && /"a".*float64.*float32/.test(error.message)));
    const metadata = await model.metadata();
    assert.equal(metadata.name, "pair");
    assert.match(metadata.server, /^graphpipe /);
    assert.deepEqual(metadata.inputs.map(({ name, dtype, shape }) => [name, dtype, shape]),
        [["a", "float32", [null]], ["b", "float32", [null]]]);
}));

test("models by path", { skip: lacksOnnx }, () => {
    const models = ["two=pair", "one=mlp"].map((text) => text.replace("=", `=${MODELS}/`));
    const args = [...models.map((text) => `${text}.onnx`), "--default-model", "two"];
    return withServer(args, async ({ url }) => {
        const all = new Client(url);
        const x = tensor([[1, 0, 0, 0]]);
        assert.deepEqual((await all.infer(x, { model: "one" })).toNested(), [[0, 2, 0]]);
        assert.deepEqual((await all.infer(x, { model: "one/versions/1" })).toNested(), [[0, 2, 0]]);
        assert.deepEqual((await new Client(`${url}/one`).infer(x)).toNested(), [[0, 2, 0]]);
        assert.deepEqual((await all.metadata({ model: "one" })).outputs.map(({ name }) => name), ["y"]);
        await assert.rejects(all.infer(x, { model: "nobody" }), (error) => (
            error instanceof NotFoundError && /"nobody".*one/.test(error.message)));
    });
});

test("a model with other outputs is noticed", { skip: lacksOnnx }, async () => {
    let address = "127.0.0.1:0";
    let model;
    for (const [name, inputs, output] of [["pair", { a: A, b: B }, "sum"],
        ["mlp", { x: new Tensor("float32", [1, 4], new Float32Array(4)) }, "y"]]) {
        const server = await Server.start(["--engine", "onnx", "--model", join(MODELS, `${name}.onnx`)],
            address);
        address = new URL(server.url).host;
        model ??= new Client(server.url);
        if (name === "mlp") await assert.rejects(model.infer(inputs), InvalidInputError);
        assert.ok(output in (await model.infer(inputs)));
        await server.stop();
    }
});

// --- errors, time, connections ------------------------------------------------------------------

test("a model that fails", () => withServer(plugin("faulty"), async ({ url }) => {
    const model = new Client(url);
    await assert.rejects(model.infer(A, { config: "fail" }), ModelError);
    assert.deepEqual((await model.infer(A)).data, A);
}));

test("deadline, busy and cancellation", (t) => {
    const folder = temporary();
    t.after(() => rmSync(folder, { recursive: true }));
    const gate = join(folder, "gate");
    const held = { config: `until=${gate}` };
    const args = [...plugin("slow"), "--instances", "1", "--max-waiting", "1"];
    return withServer(args, async (server) => {
        const model = new Client(server.url);
        await assert.rejects(model.infer(A, { ...held, timeoutMs: 300 }), DeadlineExceededError);
        // the server has stopped the run, and so it does when the caller gives up
        const noneLeft = async () => await server.metric("in_flight") === 1;
        await eventually(noneLeft, "the end of the run whose time is up");
        const controller = new AbortController();
        const given = model.infer(A, { ...held, signal: controller.signal });
        await eventually(async () => await server.metric("in_flight") === 2, "a run");
        controller.abort();
        await assert.rejects(given, { name: "AbortError" });
        await eventually(noneLeft, "the end of the run that nobody wants");
        const waiting = [1, 2].map(() => model.infer(A, held));
        await eventually(async () => await server.metric("waiting") === 1, "a full queue");
        await assert.rejects(model.infer(A, held), (error) => (
            error instanceof BusyError && error instanceof UnavailableError && error.code === 13));
        writeFileSync(gate, "");
        for (const back of await Promise.all(waiting)) assert.deepEqual(back.data, A);
    });
});

test("connections are kept", async () => {
    const count = () => echo.metric("accepted_connections_total");
    const first = await count();
    for (let i = 0; i < 20; i++) await client.infer(A);
    assert.ok(await count() < first + 10);
});

test("calls overlap", async () => {
    const arrays = Array.from({ length: 100 }, (_, i) => new Float64Array(i).fill(i));
    const backs = await Promise.all(arrays.map((array) => client.infer(array)));
    backs.forEach((back, i) => assert.deepEqual(back.data, arrays[i]));
});

test("a server that restarts between calls", async () => {
    let address = "127.0.0.1:0";
    let model;
    for (let i = 0; i < 3; i++) {
        const server = await Server.start(["--engine", "echo"], address);
        address = new URL(server.url).host;
        model ??= new Client(server.url);
        assert.deepEqual((await model.infer(A)).data, A);
        assert.ok((await model.metadata()).server);
        await server.stop();
    }
    await assert.rejects(model.infer(A), UnavailableError);
});
