/**
 * Answers, read by hand. Nothing of a message is believed: every place is checked before it is read.
 * What a message says several times, by offsets that lead to the same place, counts each time
 * against `budget`, so that it cannot become more than a few times its size.
 *
 * @module
 */

import { ProtocolError } from "./errors.js";
import { Tensor } from "./tensor.js";
import { ARRAYS, MAX_MESSAGE_BYTES, MAX_RANK, MAX_TENSORS, TYPES } from "./types.js";

/** @typedef {import("./types.js").DType} DType */

/**
 * An input or output of a model; `shape` has null where any size will do, and the type "null" stands
 * for any.
 *
 * @typedef {{ name: string, description: string, dtype: DType | "null",
 *     shape: (number | null)[] }} IO
 */

/**
 * What a server says of a model.
 *
 * @typedef {{ name: string, version: string, server: string, description: string, inputs: IO[],
 *     outputs: IO[] }} Metadata
 */

const OBJECT_BYTES = 57; // of a string, besides its characters

const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

class Message {
    /** @param {Uint8Array} bytes */
    constructor(bytes) {
        this.bytes = bytes;
        this.size = bytes.length;
        this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
        this.budget = 8 * this.size + 2 ** 20;
    }

    /** @param {number} at @param {number} width */
    check(at, width) {
        if (at < 0 || at + width > this.size) {
            throw new ProtocolError(`answer: byte ${at} is outside of its ${this.size} bytes`);
        }
    }

    /** @param {number} at */
    u16(at) {
        this.check(at, 2);
        return this.view.getUint16(at, true);
    }

    /** @param {number} at */
    u32(at) {
        this.check(at, 4);
        return this.view.getUint32(at, true);
    }

    /** @param {number} at @returns {number} a place, which is checked when it is read */
    follow(at) {
        const offset = this.u32(at);
        if (offset === 0) throw new ProtocolError(`answer: the offset at byte ${at} is 0`);
        return at + offset;
    }

    /**
     * @param {number} at
     * @param {number} width of an element
     * @param {number} limit
     * @returns {{ first: number, n: number }} the first element's place, and how many there are
     */
    vector(at, width, limit = MAX_MESSAGE_BYTES) {
        const n = this.u32(at);
        if (n > limit || n * width > this.size - at - 4) {
            throw new ProtocolError(`answer: ${n} elements at byte ${at} of ${this.size} bytes`);
        }
        return { first: at + 4, n };
    }

    /** @param {number} size of what is copied, or looked at byte by byte */
    spend(size) {
        this.budget -= size;
        if (this.budget < 0) {
            throw new ProtocolError("answer: says the same so often that it is far over its size");
        }
    }

    /** @param {number} at @returns {[number, number]} where a string begins and ends */
    span(at) {
        const { first, n } = this.vector(at, 1);
        this.spend(n + OBJECT_BYTES);
        return [first, first + n];
    }

    /** @param {number} at @param {TextDecoder} decoder */
    text(at, decoder) {
        const [begin, end] = this.span(at);
        try {
            return decoder.decode(this.bytes.subarray(begin, end));
        } catch (error) {
            if (!(error instanceof TypeError)) throw error;
            throw new ProtocolError(`answer: the text at byte ${at} is not UTF-8`, null, error);
        }
    }
}

class Table {
    /** @param {Message} message @param {number} at */
    constructor(message, at) {
        message.check(at, 4);
        this.message = message;
        this.at = at;
        this.vtable = at - message.view.getInt32(at, true);
        this.vtableSize = message.u16(this.vtable);
        this.size = message.u16(this.vtable + 2);
        if (this.vtableSize < 4 || this.vtableSize % 2 || this.size < 4
            || this.vtable + this.vtableSize > message.size || at + this.size > message.size) {
            throw new ProtocolError(`answer: the table at byte ${at} is none, or cut off`);
        }
    }

    /** @param {number} slot @param {number} width @returns {number} where a field is, or 0 */
    place(slot, width) {
        const entry = 4 + 2 * slot;
        if (entry + 2 > this.vtableSize) return 0;
        const offset = this.message.u16(this.vtable + entry);
        if (offset === 0) return 0;
        if (offset < 4 || offset > this.size - width) {
            throw new ProtocolError(
                `answer: field ${slot} is outside of the table at byte ${this.at}`);
        }
        return this.at + offset;
    }

    /** @param {number} slot @param {TextDecoder} decoder */
    text(slot, decoder = lenient) {
        const at = this.place(slot, 4);
        return at ? this.message.text(this.message.follow(at), decoder) : "";
    }

    /** @param {number} slot @param {number} width @param {number} [limit] */
    vector(slot, width, limit) {
        const at = this.place(slot, 4);
        if (!at) return { first: 0, n: 0 };
        return this.message.vector(this.message.follow(at), width, limit);
    }

    /** The tables that a field lists, or the first of them. @param {number} slot */
    tables(slot, most = MAX_TENSORS) {
        const { first, n } = this.vector(slot, 4, MAX_TENSORS);
        const places = Array.from({ length: Math.min(n, most) }, (_, i) => first + 4 * i);
        return places.map((at) => new Table(this.message, this.message.follow(at)));
    }

    /** @param {number} slot @param {number} smallest */
    shape(slot, smallest) {
        const { first, n } = this.vector(slot, 8, MAX_RANK);
        const { view } = this.message;
        const shape = Array.from({ length: n },
            (_, i) => Number(view.getBigInt64(first + 8 * i, true)));
        if (!shape.every((size) => size >= smallest && Number.isSafeInteger(size))) {
            throw new ProtocolError(`answer: a shape is [${shape}]`);
        }
        return shape;
    }

    /** @param {number} slot @param {number} smallest */
    type(slot, smallest) {
        const at = this.place(slot, 1);
        const number = at ? this.message.bytes[at] : 0;
        if (number < smallest || number >= TYPES.length) {
            throw new ProtocolError(`answer: a type is ${number}; ${smallest} to `
                + `${TYPES.length - 1} are known`);
        }
        return TYPES[number];
    }
}

/**
 * @param {string} what
 * @param {string} held
 * @param {DType} dtype
 * @param {number[]} shape
 * @param {number} wanted
 */
function misfit(what, held, dtype, shape, wanted) {
    return new ProtocolError(`answer: ${what} holds ${held}, but ${dtype}[${shape}] needs ${wanted}`);
}

/** @param {Table} table @param {string} what @returns {Tensor} */
function readTensor(table, what) {
    const dtype = /** @type {DType} */ (table.type(0, 1));
    const shape = table.shape(1, 0);
    const volume = shape.reduce((product, size) => product * size, 1);
    if (!Number.isSafeInteger(volume)) {
        throw new ProtocolError(`answer: ${what} is ${dtype}[${shape}]`);
    }
    if (dtype === "string") return readStrings(table, shape, volume, what);
    const { message } = table;
    const { first, n } = table.vector(2, 1);
    const wanted = volume * ARRAYS[dtype].BYTES_PER_ELEMENT;
    if (n !== wanted) throw misfit(what, `${n} bytes`, dtype, shape, wanted);
    const at = message.bytes.byteOffset + first;
    const isAligned = at % ARRAYS[dtype].BYTES_PER_ELEMENT === 0;
    if (dtype === "bool" || !isAligned) message.spend(n);
    if (dtype === "bool" && message.bytes.subarray(first, first + n).some((byte) => byte > 1)) {
        throw new ProtocolError("answer: a bool is neither 0 nor 1");
    }
    const data = isAligned ? new ARRAYS[dtype](message.bytes.buffer, at, volume)
        : new ARRAYS[dtype](message.bytes.slice(first, first + n).buffer);
    return new Tensor(dtype, shape, data);
}

/** @param {Table} table @param {number[]} shape @param {number} wanted @param {string} what */
function readStrings(table, shape, wanted, what) {
    const { message } = table;
    const { first, n } = table.vector(3, 4);
    if (n !== wanted) throw misfit(what, `${n} strings`, "string", shape, wanted);
    const spans = new Uint32Array(2 * n);
    const texts = new Array(n);
    for (let i = 0; i < n; i++) {
        const span = message.span(message.follow(first + 4 * i));
        spans.set(span, 2 * i);
        texts[i] = lenient.decode(message.bytes.subarray(...span));
    }
    return Tensor.ofSpans(shape, texts, message.bytes, spans);
}

/** @param {Uint8Array} bytes */
function readRoot(bytes) {
    if (bytes.length > MAX_MESSAGE_BYTES) {
        throw new ProtocolError(`answer: ${bytes.length} bytes; messages end at `
            + `${MAX_MESSAGE_BYTES}`);
    }
    const message = new Message(bytes);
    return new Table(message, message.follow(0));
}

/**
 * An InferResponse: its tensors, as views of it where they are aligned; or the error in it.
 *
 * @param {Uint8Array} bytes
 * @returns {Tensor[] | { code: number, message: string }}
 */
export function decodeAnswer(bytes) {
    const root = readRoot(bytes);
    const [error] = root.tables(1, 1);
    if (error) {
        const at = error.place(0, 8);
        const code = at ? Number(error.message.view.getBigInt64(at, true)) : 0;
        return { code, message: error.text(1) };
    }
    return root.tables(0).map((table, i) => readTensor(table, `output_tensors[${i}]`));
}

/** @param {Table} table @returns {IO} */
function readIO(table) {
    const shape = table.shape(2, -1).map((size) => (size < 0 ? null : size));
    return {
        name: table.text(0, strict),
        description: table.text(1),
        dtype: table.type(3, 0),
        shape,
    };
}

/**
 * A MetadataResponse.
 *
 * @param {Uint8Array} bytes
 * @returns {Metadata}
 */
export function decodeMetadata(bytes) {
    const root = readRoot(bytes);
    const [name, version, server, description] = [0, 1, 2, 3].map((slot) => root.text(slot));
    const [inputs, outputs] = [4, 5].map((slot) => root.tables(slot).map(readIO));
    return { name, version, server, description, inputs, outputs };
}
