/**
 * Messages that other libraries wrote are read; ours are, byte for byte, those of the C library; and
 * broken ones throw ProtocolError, in time and memory that are in proportion to their size.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { ProtocolError, Tensor, tensor } from "graphpipe";

import { decodeAnswer, decodeMetadata } from "../src/reader.js";
import { ARRAYS, TYPES } from "../src/types.js";
import { encodeInfer, encodeMetadataRequest } from "../src/writer.js";
import { CASES, codec, golden, SOURCE, temporary } from "./support.js";

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const of = (kind) => CASES.filter((one) => one.message === kind);

/** A manifest's tensor as we have it. */
function made({ type, shape, strings, data_hex: data }) {
    if (strings) return new Tensor("string", shape, strings);
    const bytes = Uint8Array.from(Buffer.from(data, "hex"));
    return new Tensor(type, shape, new ARRAYS[type](bytes.buffer));
}

/** What the C library writes for the same request. */
function writtenByC(message) {
    const folder = temporary();
    const [read, written] = ["read", "written"].map((name) => join(folder, name));
    writeFileSync(read, message);
    codec("recode", "request", read, written);
    const bytes = readFileSync(written);
    rmSync(folder, { recursive: true });
    return bytes;
}

// --- golden bytes ---------------------------------------------------------------------------

for (const one of of("InferResponse")) {
    test(`${one.file} is read`, () => {
        const found = decodeAnswer(golden(one.file));
        if (one.errors.length) {
            const [{ code, message }] = one.errors;
            assert.deepEqual(found, { code, message });
            return;
        }
        assert.deepEqual(found.map((t) => [t.dtype, t.shape, t.data]),
            one.output_tensors.map(made).map((t) => [t.dtype, t.shape, t.data]));
        one.output_tensors.forEach(({ strings }, i) => {
            if (strings) assert.deepEqual(found[i].bytes.map(hex), strings.map((s) => hex(Buffer.from(s))));
        });
    });
}

for (const one of of("MetadataResponse")) {
    test(`${one.file} is read`, () => {
        const found = decodeMetadata(golden(one.file));
        for (const key of ["name", "version", "server", "description"]) {
            assert.equal(found[key], one[key]);
        }
        for (const key of ["inputs", "outputs"]) {
            assert.deepEqual(found[key].map(({ name, dtype, shape }) => [name, dtype, shape]),
                one[key].map(({ name, type, shape }) => (
                    [name, type, shape.map((n) => (n < 0 ? null : n))])));
        }
    });
}

for (const one of of("InferRequest")) {
    test(`${one.file} is written as by the C library`, () => {
        const ours = encodeInfer(one.input_tensors.map(made), one.input_names, one.output_names,
            one.config);
        assert.equal(hex(ours), hex(writtenByC(golden(one.file))));
    });
}

test("the request for metadata is the C library's", () => {
    assert.equal(hex(encodeMetadataRequest()), hex(writtenByC(golden("req_metadata.bin"))));
});

test("large tensors lie where those of the C library do", () => {
    const tensors = [4096, 5, 4099, 0, 1024, 33000].map((n, i) => {
        const dtype = ["uint8", "float64", "uint8", "float32", "float32", "int64"][i];
        const data = new ARRAYS[dtype](n);
        return new Tensor(dtype, [n], i === 5 ? data.map((_, j) => BigInt(j)) : data.map((_, j) => j));
    });
    tensors.push(tensor(["a", "", "b".repeat(5000)]), tensor(3, "float16"),
        new Tensor("int16", [2, 0, 3], new Int16Array(0)));
    const ours = encodeInfer(tensors, [], ["y"], "config");
    assert.equal(hex(ours), hex(writtenByC(ours)));
});

test("tensors of an answer are views of it where they are aligned", () => {
    const message = golden("resp_float64.bin");
    for (const shift of [0, 4]) {
        const buffer = new ArrayBuffer(message.length + shift);
        const bytes = new Uint8Array(buffer, shift);
        bytes.set(message);
        const [found] = decodeAnswer(bytes);
        const at = hex(bytes).indexOf(hex(new Uint8Array(found.data.buffer, found.data.byteOffset,
            found.data.byteLength))) / 2 + shift;
        assert.equal(found.data.buffer === buffer, at % 8 === 0);
    }
});

// --- hostile bytes --------------------------------------------------------------------------

function isReadOrRefused(message) {
    for (const decode of [decodeAnswer, decodeMetadata]) {
        try {
            decode(message);
        } catch (error) {
            if (!(error instanceof ProtocolError)) throw error;
            assert.doesNotMatch(error.message, /\n/);
        }
    }
}

function withWord(message, at, word) {
    const changed = message.slice();
    new DataView(changed.buffer).setUint32(at, word >>> 0, true);
    return changed;
}

const ANSWERS = ["resp_two.bin", "resp_strings.bin", "resp_error.bin", "resp_metadata.bin"];

/** Cut off at each byte, and each word replaced by hostile ones and by those that differ in a bit. */
function* damaged(message) {
    for (let n = 0; n < message.length; n++) yield message.slice(0, n);
    const view = new DataView(message.buffer);
    for (let at = 0; at < message.length - 3; at += 4) {
        const word = view.getUint32(at, true);
        for (const other of [0, 1, 2, 12, 0x7fffffff, 0x80000000, 0xffffffff, message.length - at - 4]) {
            yield withWord(message, at, other);
        }
        for (const bit of [0, 1, 2, 3, 4, 5, 6, 15, 16, 31]) yield withWord(message, at, word ^ (1 << bit));
    }
}

/** What we read, as golden_codec shows it; null if it is refused. */
function shown(kind, message) {
    try {
        if (kind === "metadata") {
            const { inputs, outputs, ...rest } = decodeMetadata(message);
            const io = ({ dtype, shape, ...one }) => (
                { ...one, type: dtype, shape: shape.map((n) => n ?? -1) });
            return { message: "MetadataResponse", ...rest, inputs: inputs.map(io), outputs: outputs.map(io) };
        }
        const found = decodeAnswer(message);
        const errors = Array.isArray(found) ? [] : [found];
        const tensors = (Array.isArray(found) ? found : []).map((t) => ({
            type: t.dtype,
            shape: t.shape,
            ...(t.dtype === "string" ? { strings_hex: t.bytes.map(hex) } : { data_hex: hex(new Uint8Array(
                t.data.buffer, t.data.byteOffset, t.data.byteLength)) }),
        }));
        return { message: "InferResponse", output_tensors: tensors, errors };
    } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        return null;
    }
}

for (const name of ANSWERS) {
    test(`damage of ${name} is read and refused as by the C library`, () => {
        const kind = name.includes("metadata") ? "metadata" : "response";
        const messages = [...damaged(golden(name))];
        const folder = temporary();
        const paths = messages.map((message, i) => {
            writeFileSync(join(folder, String(i)), message);
            return join(folder, String(i));
        });
        const theirs = codec("decode", kind, ...paths).trim().split("\n").map((line) => JSON.parse(line));
        rmSync(folder, { recursive: true });
        let nRead = 0;
        messages.forEach((message, i) => {
            const ours = shown(kind, message);
            nRead += ours !== null;
            if (/has a NUL/.test(theirs[i].error ?? "")) return; // which only C has to mind
            // sizes that no number of JavaScript has
            if (/[0-9]{16}[,\]]/.test(JSON.stringify(theirs[i]))) return;
            assert.deepEqual(ours, theirs[i].status ? null : theirs[i]);
        });
        assert.ok(nRead > 0 && nRead < messages.length);
    });

    test(`${name} with any bit changed is read or refused`, () => {
        const message = golden(name);
        message.forEach((_, at) => {
            for (let bit = 0; bit < 8; bit++) {
                const changed = message.slice();
                changed[at] ^= 1 << bit;
                isReadOrRefused(changed);
            }
        });
    });
}

test("earlier findings and the corpus of messages", () => {
    for (const folder of ["golden/reject", "fuzz/corpus/message"]) {
        const names = readdirSync(join(SOURCE, "tests", folder));
        assert.ok(names.length > 0);
        for (const name of names) {
            isReadOrRefused(new Uint8Array(readFileSync(join(SOURCE, "tests", folder, name))));
        }
    }
});

/** An answer with one tensor, nTensors times: all offsets of strings lead to the same bytes. */
function answerOf(type, shape, data, { nStrings = 0, nTensors = 1 } = {}) {
    const size = 200 + 4 * nTensors + 8 * shape.length + 2 * data.length + 4 * nStrings;
    const out = new DataView(new ArrayBuffer(size + (8 - (size % 8))));
    let end = 0;
    const u32 = (...numbers) => numbers.forEach((n) => { out.setUint32(end, n, true); end += 4; });
    const u16 = (...numbers) => numbers.forEach((n) => { out.setUint16(end, n, true); end += 2; });
    u32(12); u16(8, 8, 4, 0); u32(8, 4, nTensors);
    const links = end;
    end += 4 * nTensors;
    const vtable = end;
    u16(12, 20, 16, 4, 8, 12);
    const table = end;
    for (let i = 0; i < nTensors; i++) out.setUint32(links + 4 * i, table - links - 4 * i, true);
    u32(table - vtable, 0, 0, 0, type);
    const link = (field) => out.setUint32(table + field, end - table - field, true);
    link(4); u32(shape.length);
    shape.forEach((n) => { out.setBigInt64(end, BigInt(n), true); end += 8; });
    const bytes = new Uint8Array(out.buffer);
    const put = () => { u32(data.length); bytes.set(data, end); end += data.length + (-data.length & 3); };
    link(8); put();
    link(12); u32(nStrings);
    const texts = end + 4 * nStrings;
    while (end < texts) u32(texts - end);
    put();
    return bytes.subarray(0, end + 4);
}

test("the answer that is made here is one", () => {
    assert.deepEqual(decodeAnswer(answerOf(1, [2], [1, 2]))[0].toNested(), [1, 2]);
    assert.deepEqual(decodeAnswer(answerOf(12, [2], [97, 98], { nStrings: 2 }))[0].data, ["ab", "ab"]);
    assert.equal(TYPES[13], "bool");
});

for (const [what, message] of [
    ["a type that is not known", answerOf(15, [1], [1])],
    ["no type", answerOf(0, [1], [1])],
    ["too few bytes", answerOf(10, [2], [1, 2, 3, 4])],
    ["too many bytes", answerOf(1, [2], [1, 2, 3])],
    ["a shape that overflows", answerOf(1, [2 ** 32, 2 ** 32], [])],
    ["a shape beyond JavaScript's integers", answerOf(1, [2n ** 62n, 2n ** 62n, 0], [])],
    ["a negative dimension", answerOf(1, [-1, -1], [1])],
    ["33 dimensions", answerOf(1, new Array(33).fill(1), [1])],
    ["a bool of 2", answerOf(13, [1], [2])],
    ["too few strings", answerOf(12, [3], [], { nStrings: 2 })],
    ["too many tensors", answerOf(1, [1], [1], { nTensors: 4097 })],
    ["nothing", new Uint8Array(0)],
]) {
    test(`refused: ${what}`, () => assert.throws(() => decodeAnswer(message), ProtocolError));
}

for (const [what, message] of [
    ["long strings", answerOf(12, [5000], new Uint8Array(5000), { nStrings: 5000 })],
    ["many strings", answerOf(12, [50000], new Uint8Array(500), { nStrings: 50000 })],
    ["many tensors of strings", answerOf(12, [500], [], { nStrings: 500, nTensors: 4096 })],
    ["many bools", answerOf(13, [10000], new Uint8Array(10000), { nTensors: 4096 })],
    ["tensors that have to be copied", answerOf(11, [5000], new Uint8Array(40000), { nTensors: 4096 })],
]) {
    test(`said again and again: ${what}`, () => {
        // doubles are aligned at one of these places, and copied at the other
        const outcomes = [0, 4].map((shift) => {
            const bytes = new Uint8Array(message.length + shift);
            bytes.set(message, shift);
            const before = process.memoryUsage().arrayBuffers;
            try {
                decodeAnswer(bytes.subarray(shift));
                return "read";
            } catch (error) {
                assert.ok(error instanceof ProtocolError, error);
                return error.message;
            } finally {
                const taken = process.memoryUsage().arrayBuffers - before;
                assert.ok(taken < 20 * message.length + 2 ** 22, `${taken} bytes`);
            }
        });
        assert.match(outcomes.join(), /so often/);
    });
}
