/**
 * The types of the protocol and the limits of its messages: docs/protocol.md.
 *
 * @module
 */

/**
 * @typedef {"uint8" | "int8" | "uint16" | "int16" | "uint32" | "int32" | "uint64" | "int64"
 *     | "float16" | "float32" | "float64" | "string" | "bool" | "bfloat16"} DType
 */

/**
 * @typedef {Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array
 *     | BigUint64Array | BigInt64Array | Float32Array | Float64Array} NumberArray
 */

/** @typedef {{ new (buffer: ArrayBufferLike, at?: number, n?: number): NumberArray,
 *     new (n: number): NumberArray, BYTES_PER_ELEMENT: number }} NumberArrayConstructor */

/** The names, by their numbers on the wire; "null" stands in metadata for any type. */
export const TYPES = /** @type {const} */ (["null", "uint8", "int8", "uint16", "int16", "uint32",
    "int32", "uint64", "int64", "float16", "float32", "float64", "string", "bool", "bfloat16"]);

/** @type {Record<Exclude<DType, "string">, NumberArrayConstructor>} */
export const ARRAYS = {
    uint8: Uint8Array,
    int8: Int8Array,
    uint16: Uint16Array,
    int16: Int16Array,
    uint32: Uint32Array,
    int32: Int32Array,
    uint64: BigUint64Array,
    int64: BigInt64Array,
    float16: Uint16Array,
    float32: Float32Array,
    float64: Float64Array,
    bool: Uint8Array,
    bfloat16: Uint16Array,
};

export const MAX_MESSAGE_BYTES = 2 ** 31 - 1;
export const MAX_TENSORS = 4096;
export const MAX_RANK = 32;

if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) {
    throw new Error("graphpipe: typed arrays are big-endian here, and the protocol is not");
}
