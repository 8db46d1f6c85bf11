/**
 * Requests, written by hand: FlatBuffers, as far as the protocol uses them, the same bytes as the C
 * library's. docs/protocol.md shows a message byte by byte.
 *
 * Tensors of 4 KiB and more lie behind all else, in the order in which they are given, so that the
 * rest is written once and their bytes are copied once, into the message as it is sent.
 *
 * @module
 */

import { InvalidInputError } from "./errors.js";
import { MAX_MESSAGE_BYTES, TYPES } from "./types.js";

/** @typedef {import("./tensor.js").Tensor} Tensor */

// Vtables as they are written, in bytes: vtable, table, then the place of each field.
const REQUEST = [8, 12, 8, 4]; // req_type, req
const INFER = [12, 20, 4, 8, 12, 16]; // config, input_names, input_tensors, output_names
const METADATA = [4, 4];
const TENSOR = [12, 20, 16, 4, 8, 12]; // type, shape, data, string_val

const DATA_ALIGN = 64;
const LARGE_BYTES = 4096;

const utf8 = new TextEncoder();

/** @param {Tensor} tensor @returns {Uint8Array} its elements' bytes, where they lie */
function bytesOf(tensor) {
    const { buffer, byteOffset, byteLength } = /** @type {ArrayBufferView} */ (tensor.data);
    return new Uint8Array(buffer, byteOffset, byteLength);
}

/** @param {number} at @param {number} to */
const padding = (at, to) => (to - (at % to)) % to;

class Writer {
    constructor() {
        this.bytes = new Uint8Array(1024);
        this.view = new DataView(this.bytes.buffer);
        this.size = 4; // the root's offset
        /** @type {Map<number[], number>} where each vtable is */
        this.vtables = new Map();
        /** @type {{ data: Uint8Array, link: number }[]} what lies behind all else */
        this.large = [];
    }

    /** Makes room for n more bytes, which are 0, and says where. @param {number} n */
    add(n) {
        const at = this.size;
        this.size += n;
        checkSize(this.size);
        if (this.size > this.bytes.length) {
            const larger = new Uint8Array(2 * this.size);
            larger.set(this.bytes);
            this.bytes = larger;
            this.view = new DataView(larger.buffer);
        }
        return at;
    }

    /** Pads until what comes `ahead` bytes later is aligned. @param {number} to @param {number} ahead */
    align(to, ahead = 0) {
        this.add(padding(this.size + ahead, to));
    }

    /** Stores at `at` the offset of the target. @param {number} at @param {number} target */
    link(at, target = this.size) {
        this.view.setUint32(at, target - at, true);
    }

    /** @param {number[]} vtable @returns {number} where the table is */
    table(vtable) {
        const known = this.vtables.get(vtable);
        this.align(4, known ? 0 : 2 * vtable.length);
        const place = known ?? this.add(2 * vtable.length);
        if (!known) {
            this.vtables.set(vtable, place);
            vtable.forEach((entry, i) => this.view.setUint16(place + 2 * i, entry, true));
        }
        const table = this.add(vtable[1]);
        this.view.setInt32(table, table - place, true);
        return table;
    }

    /**
     * A vector that the field at `at` leads to, with elements of 0.
     *
     * @param {number} at
     * @param {number} n
     * @param {number} width
     * @param {number} align
     * @returns {number} where the first element is
     */
    vector(at, n, width, align = 4) {
        this.align(align, 4);
        this.link(at);
        const head = this.add(4);
        this.view.setUint32(head, n, true);
        return this.add(n * width);
    }

    /** @param {number} at @param {Uint8Array} text */
    string(at, text) {
        const place = this.vector(at, text.length, 1);
        this.add(1);
        this.bytes.set(text, place);
    }

    /** @param {number} at @param {Uint8Array[]} texts */
    strings(at, texts) {
        const first = this.vector(at, texts.length, 4);
        texts.forEach((text, i) => this.string(first + 4 * i, text));
    }

    /** @param {number} at @param {Tensor} tensor */
    tensor(at, tensor) {
        const { dtype, shape } = tensor;
        const table = this.table(TENSOR);
        this.link(at, table);
        this.bytes[table + 16] = TYPES.indexOf(dtype);
        const sizes = this.vector(table + 4, shape.length, 8, 8);
        shape.forEach((n, i) => this.view.setBigInt64(sizes + 8 * i, BigInt(n), true));
        const data = dtype === "string" ? new Uint8Array(0) : bytesOf(tensor);
        if (data.length >= LARGE_BYTES) {
            this.large.push({ data, link: table + 8 });
        } else {
            const place = this.vector(table + 8, data.length, 1, data.length ? DATA_ALIGN : 4);
            this.bytes.set(data, place);
        }
        this.strings(table + 12, dtype === "string" ? tensor.bytes : []);
    }

    /** @returns {Uint8Array<ArrayBuffer>} the message, with the large tensors behind all else */
    finish() {
        let end = this.size;
        const places = this.large.map(({ data, link }) => {
            const head = end + padding(end + 4, DATA_ALIGN);
            end = head + 4 + data.length;
            checkSize(end);
            this.link(link, head);
            return head;
        });
        const message = new Uint8Array(end);
        const view = new DataView(message.buffer);
        message.set(this.bytes.subarray(0, this.size));
        this.large.forEach(({ data }, i) => {
            view.setUint32(places[i], data.length, true);
            message.set(data, places[i] + 4);
        });
        return message;
    }
}

/** @param {number} size */
function checkSize(size) {
    if (size > MAX_MESSAGE_BYTES) {
        throw new InvalidInputError(`the request would have ${size} bytes or more; messages end `
            + `at ${MAX_MESSAGE_BYTES}: send fewer rows at a time`);
    }
}

/** @param {number} number the union's tag @param {number[]} vtable of what is requested */
function beginRequest(number, vtable) {
    const writer = new Writer();
    const request = writer.table(REQUEST);
    writer.link(0, request);
    const table = writer.table(vtable);
    writer.bytes[request + 8] = number;
    writer.link(request + 4, table);
    return { writer, table };
}

/**
 * An InferRequest.
 *
 * @param {Tensor[]} tensors
 * @param {string[]} inputNames a name for each tensor, or none
 * @param {string[]} outputNames
 * @param {string} config
 */
export function encodeInfer(tensors, inputNames, outputNames, config) {
    const { writer, table } = beginRequest(1, INFER);
    writer.string(table + 4, utf8.encode(config));
    writer.strings(table + 8, inputNames.map((name) => utf8.encode(name)));
    const first = writer.vector(table + 12, tensors.length, 4);
    tensors.forEach((tensor, i) => writer.tensor(first + 4 * i, tensor));
    writer.strings(table + 16, outputNames.map((name) => utf8.encode(name)));
    return writer.finish();
}

/** A MetadataRequest. */
export function encodeMetadataRequest() {
    return beginRequest(2, METADATA).writer.finish();
}
