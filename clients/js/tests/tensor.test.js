/** Tensors made, shown and converted. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { fromFloat32, InvalidInputError, Tensor, tensor, toFloat32 } from "graphpipe";

const refused = (make, words) => assert.throws(make, (error) => {
    assert.ok(error instanceof InvalidInputError, String(error));
    assert.match(error.message, words);
    return true;
});

test("nested arrays become tensors and come back", () => {
    const rows = tensor([[1, 2, 3], [4, 5, 6]], "float32");
    assert.deepEqual(rows, new Tensor("float32", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)));
    for (const [nested, dtype] of [
        [[[1, 2], [3, 4]], "int16"], [7, "uint8"], [[], "float64"], [[[], []], "float32"],
        [[1n, -(2n ** 63n)], "int64"], [[2n ** 64n - 1n], "uint64"], [[true, false], "bool"],
        [["a", ""], "string"], ["scalar", "string"], [[0.5, -2], "float16"],
        [[0.5, -2], "bfloat16"], [[NaN, -0, Infinity], "float64"],
    ]) {
        const made = tensor(nested, dtype);
        assert.equal(made.dtype, dtype);
        assert.deepEqual(made.toNested(), nested);
    }
    assert.deepEqual(tensor([1, 2], "int64").toNested(), [1n, 2n]);
    assert.deepEqual([...tensor([0, 1, true], "bool").data], [0, 1, 1]);
});

test("the type is by default that of the first element", () => {
    for (const [nested, text] of [[[1.5], "float32[1]"], [2n, "int64[]"], [[true], "bool[1]"],
        [["x"], "string[1]"], [[], "float32[0]"]]) {
        assert.equal(String(tensor(nested)), text);
    }
});

test("what a type does not have is refused", () => {
    for (const [nested, dtype] of [[[256], "uint8"], [[-1], "uint32"], [[1.5], "int32"],
        [[1.5], "int64"], [[2n ** 63n], "int64"], [[2], "bool"], [["1"], "float32"],
        [[null], "float32"], [[{}], "int8"], [[undefined], "uint8"], [[NaN], "int32"]]) {
        refused(() => tensor(nested, dtype), /is no (element of|integer)/);
    }
    refused(() => tensor([1], "string"), /a number in it/);
    refused(() => tensor(["\ud800"]), /surrogate/);
    for (const uneven of [[[1], [2, 3]], [[1], 2], [1, [2]]]) {
        refused(() => tensor(uneven), /uneven/);
    }
    refused(() => tensor([1], "complex64"), /dtype is complex64; there are uint8, .* string/);
});

test("data have to fit type and shape", () => {
    refused(() => new Tensor("float32", [3], new Float32Array(2)), /2 elements; float32\[3\] needs 3/);
    refused(() => new Tensor("float32", [2], new Float64Array(2)), /Float64Array; float32 needs/);
    refused(() => new Tensor("float32", [2], [1, 2]), /data is Array.*tensor\(\)/);
    refused(() => new Tensor("toString", [], []), /dtype/);
    for (const size of [-1, 1.5, 2 ** 60, NaN, "2"]) {
        refused(() => new Tensor("uint8", [size], new Uint8Array(0)), /sizes are integers/);
    }
});

test("strings have their bytes", () => {
    const made = new Tensor("string", [2], ["grüße", Uint8Array.of(0xff, 0)]);
    assert.deepEqual(made.data, ["grüße", "\ufffd\0"]);
    assert.deepEqual(made.bytes.map((bytes) => Buffer.from(bytes).toString("hex")),
        ["6772c3bcc39f65", "ff00"]);
    refused(() => tensor([1]).bytes, /no strings/);
});

test("toNested makes no more arrays of nothing than fit", () => {
    refused(() => new Tensor("uint8", [2 ** 50, 0], new Uint8Array(0)).toNested(), /too many rows/);
});

// --- halves ---------------------------------------------------------------------------------

test("every float16 and bfloat16 survives the way to float32 and back", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
    for (const [dtype, exponent, quiet] of [["float16", 0x7c00, 0x200], ["bfloat16", 0x7f80, 0x40]]) {
        const back = fromFloat32(toFloat32(all, dtype), dtype);
        all.forEach((bits) => {
            const isNaN_ = (bits & 0x7fff) > exponent;
            if (isNaN_) assert.ok((back[bits] & 0x7fff) > exponent && back[bits] & quiet);
            else assert.equal(back[bits], bits);
        });
    }
});

test("known float16s", () => {
    const known = [[0x3c00, 1], [0xc000, -2], [0x7bff, 65504], [0x0001, 2 ** -24],
        [0x0400, 2 ** -14], [0x7c00, Infinity], [0x3555, 0.333251953125]];
    for (const [bits, value] of known) {
        assert.equal(toFloat32(Uint16Array.of(bits), "float16")[0], value);
        assert.equal(fromFloat32([value], "float16")[0], bits);
    }
});

test("floats are rounded to the nearest half, and ties to the even one", () => {
    for (const [value, bits] of [[1 + 2 ** -11, 0x3c00], [1 + 3 * 2 ** -11, 0x3c02],
        [1 + 2 ** -11 + 2 ** -20, 0x3c01], [65519, 0x7bff], [65520, 0x7c00], [2 ** -25, 0],
        [3 * 2 ** -25, 2], [2 ** -25 + 2 ** -40, 1], [1023.5 * 2 ** -24, 0x0400], [-1e10, 0xfc00]]) {
        assert.equal(fromFloat32([value], "float16")[0], bits, String(value));
    }
    for (const [value, bits] of [[1 + 2 ** -8, 0x3f80], [1 + 3 * 2 ** -8, 0x3f82], [3.4e38, 0x7f80],
        [-(1 + 2 ** -8 + 2 ** -16), 0xbf81]]) {
        assert.equal(fromFloat32([value], "bfloat16")[0], bits, String(value));
    }
});

test("toFloat32 and fromFloat32 of tensors", () => {
    const halves = Tensor.fromFloat32("bfloat16", [3], [1, 2.5, -3]);
    assert.deepEqual(halves.toFloat32(), Float32Array.of(1, 2.5, -3));
    assert.deepEqual(tensor([1n, -2n]).toFloat32(), Float32Array.of(1, -2));
    assert.deepEqual(tensor([1, 2], "uint8").toFloat32(), Float32Array.of(1, 2));
    refused(() => tensor(["1"]).toFloat32(), /no numbers/);
});
