/**
 * Tensors: a type, a shape, and the elements row by row in a typed array.
 *
 * @module
 */

import { InvalidInputError } from "./errors.js";
import { fromFloat32, toFloat32 } from "./half.js";
import { ARRAYS } from "./types.js";

/** @typedef {import("./types.js").DType} DType */
/** @typedef {import("./types.js").NumberArray} NumberArray */
/** @typedef {number | bigint | boolean | string} Element */
/** @typedef {Element | readonly any[]} Nested arrays of arrays of elements, or one element */

const MAX_NESTED = 2 ** 24; // arrays that toNested makes of a tensor without elements

const utf8 = new TextEncoder();

/** @param {DType | null} dtype @param {ArrayLike<unknown>} shape */
const named = (dtype, shape) => `${dtype}[${Array.from(shape)}]`;

/** @param {readonly number[]} shape */
const volumeOf = (shape) => shape.reduce((product, size) => product * size, 1);

/**
 * A tensor. The data of numbers are a typed array: BigInt64Array and BigUint64Array for int64 and
 * uint64, a Uint16Array of bits for float16 and bfloat16 (toFloat32() makes numbers of them), a
 * Uint8Array of 0 and 1 for bool. Those of strings are an array of string; what is not UTF-8 in an
 * answer shows as U+FFFD there, and `bytes` has it as it came.
 *
 * Tensors of an answer are views of the memory that the answer was received into; they are the
 * caller's, who may write to them.
 */
export class Tensor {
    /** @type {Uint8Array[] | undefined} */
    #bytes;
    /** @type {{ message: Uint8Array, places: Uint32Array } | undefined} */
    #spans;

    /**
     * @param {DType} dtype
     * @param {readonly number[]} shape
     * @param {NumberArray | readonly (string | Uint8Array)[]} data as many elements as the shape
     *     has; it is not copied
     */
    constructor(dtype, shape, data) {
        if (dtype !== "string" && !Object.hasOwn(ARRAYS, dtype)) {
            throw new InvalidInputError(
                `dtype is ${dtype}; there are ${Object.keys(ARRAYS).join(", ")} and string`);
        }
        for (const size of shape) {
            if (!Number.isSafeInteger(size) || size < 0) {
                throw new InvalidInputError(`shape [${shape}] has ${size} in it; sizes are integers `
                    + "of 0 or more");
            }
        }
        /** @type {DType} */
        this.dtype = dtype;
        /** @type {readonly number[]} */
        this.shape = [...shape];
        /** @type {NumberArray | string[]} */
        this.data = dtype === "string" ? this.#checkStrings(data) : checkNumbers(dtype, data);
        if (this.data.length !== volumeOf(shape)) {
            throw new InvalidInputError(`data has ${this.data.length} elements; `
                + `${named(dtype, shape)} needs ${volumeOf(shape)}`);
        }
    }

    /**
     * A tensor of strings that lie in a message.
     *
     * @internal
     * @param {readonly number[]} shape
     * @param {string[]} texts
     * @param {Uint8Array} message
     * @param {Uint32Array} places where each string begins and ends in it
     */
    static ofSpans(shape, texts, message, places) {
        const made = new Tensor("string", [0], []);
        made.shape = [...shape];
        made.data = texts;
        made.#spans = { message, places };
        return made;
    }

    /** @param {ArrayLike<unknown>} data @returns {string[]} */
    #checkStrings(data) {
        if (!Array.isArray(data)) throw new InvalidInputError("strings come in an array");
        const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
        if (data.some((element) => element instanceof Uint8Array)) {
            this.#bytes = data.map((element) => (
                element instanceof Uint8Array ? element : utf8.encode(checkString(element))));
        }
        return data.map((element) => (
            element instanceof Uint8Array ? decoder.decode(element) : checkString(element)));
    }

    /** The bytes of each string, for a tensor of strings. */
    get bytes() {
        if (this.dtype !== "string") {
            throw new InvalidInputError(`${this} has no strings; its data have a buffer`);
        }
        if (this.#spans) {
            const { message, places } = this.#spans;
            return Array.from({ length: this.data.length },
                (_, i) => message.subarray(places[2 * i], places[2 * i + 1]));
        }
        return this.#bytes ?? /** @type {string[]} */ (this.data).map((text) => utf8.encode(text));
    }

    /** @returns {string} as "float32[1,1000]" */
    toString() {
        return named(this.dtype, this.shape);
    }

    /**
     * The elements as float32, rounded where they are not: a new array, but of a float32 tensor its
     * own.
     *
     * @returns {Float32Array}
     */
    toFloat32() {
        const { dtype, data } = this;
        if (data instanceof Float32Array) return data;
        if (dtype === "float16" || dtype === "bfloat16") {
            return toFloat32(/** @type {Uint16Array} */ (data), dtype);
        }
        if (dtype === "string") throw new InvalidInputError(`${this} has no numbers`);
        return Float32Array.from(/** @type {ArrayLike<any>} */ (data), Number);
    }

    /**
     * The nearest float16s or bfloat16s.
     *
     * @param {"float16" | "bfloat16"} dtype
     * @param {readonly number[]} shape
     * @param {ArrayLike<number>} values
     */
    static fromFloat32(dtype, shape, values) {
        return new Tensor(dtype, shape, fromFloat32(values, dtype));
    }

    /**
     * The elements in arrays of arrays, or the one element of a scalar: numbers, bigints for int64
     * and uint64, booleans, strings.
     *
     * @returns {Nested}
     */
    toNested() {
        const { dtype, shape } = this;
        if (this.data.length === 0
            && shape.reduce((product, size) => product * Math.max(size, 1), 1) > MAX_NESTED) {
            throw new InvalidInputError(`${this} has no elements, and too many rows of none`);
        }
        const isHalf = dtype === "float16" || dtype === "bfloat16";
        const values = isHalf ? this.toFloat32() : this.data;
        let at = 0;
        /** @param {number} axis @returns {Nested} */
        const nest = (axis) => {
            if (axis === shape.length) {
                const value = values[at++];
                return dtype === "bool" ? value === 1 : value;
            }
            return Array.from({ length: shape[axis] }, () => nest(axis + 1));
        };
        return nest(0);
    }
}

/** @param {unknown} value */
function checkString(value) {
    if (typeof value !== "string") {
        throw new InvalidInputError(`a tensor of strings has a ${typeof value} in it; strings and `
            + "Uint8Array can be sent");
    }
    if (/\p{Surrogate}/u.test(value)) {
        throw new InvalidInputError("a string has half a surrogate pair in it, which UTF-8 cannot "
            + "say; send a Uint8Array of its bytes");
    }
    return value;
}

/** @param {Exclude<DType, "string">} dtype @param {unknown} data */
function checkNumbers(dtype, data) {
    const Wanted = ARRAYS[dtype];
    if (data instanceof Wanted) return data;
    const kind = ArrayBuffer.isView(data) || Array.isArray(data) ? data.constructor.name : typeof data;
    throw new InvalidInputError(`data is ${kind}; ${dtype} needs ${Wanted.name}, which tensor() `
        + "makes of arrays");
}

// --- from what programs have ---------------------------------------------------------------

/**
 * The type of a typed array's elements.
 *
 * @param {ArrayBufferView} array
 * @returns {Exclude<DType, "string"> | undefined}
 */
function dtypeOf(array) {
    if (array instanceof Uint8ClampedArray) return "uint8";
    const names = /** @type {Exclude<DType, "string">[]} */ (Object.keys(ARRAYS));
    // the first is the plain one: a Uint16Array is uint16
    return names.find((name) => array instanceof ARRAYS[name]);
}

/**
 * @internal
 * @param {unknown} value a tensor, or a typed array, which has one dimension
 * @param {string} what it is, for errors
 * @returns {Tensor}
 */
export function asTensor(value, what) {
    if (value instanceof Tensor) return value;
    const dtype = ArrayBuffer.isView(value) ? dtypeOf(value) : undefined;
    if (!dtype) {
        throw new InvalidInputError(`${what} is neither a Tensor nor a typed array; tensor() makes one `
            + "of arrays and numbers");
    }
    const { buffer, byteOffset, length } = /** @type {NumberArray} */ (value);
    return new Tensor(dtype, [length], new ARRAYS[dtype](buffer, byteOffset, length));
}

/** @param {Element} value @returns {DType} */
function defaultType(value) {
    switch (typeof value) {
        case "bigint": return "int64";
        case "boolean": return "bool";
        case "string": return "string";
        default: return "float32";
    }
}

/** @param {Nested} nested @returns {number[]} its shape, by the first row of each axis */
function shapeOf(nested) {
    const shape = [];
    for (let row = nested; Array.isArray(row); row = row[0]) shape.push(row.length);
    return shape;
}

/**
 * @param {Nested} nested
 * @param {readonly number[]} shape
 * @returns {Element[]} the elements in order
 */
function flatten(nested, shape) {
    /** @type {Element[]} */
    const elements = [];
    /** @param {Nested} part @param {number} axis */
    const take = (part, axis) => {
        const size = Array.isArray(part) ? part.length : -1;
        if (size !== (shape[axis] ?? -1)) {
            throw new InvalidInputError(`the arrays are uneven: [${shape}] by their first rows, and `
                + `${size < 0 ? "no array" : `${size} elements`} further on`);
        }
        if (Array.isArray(part)) part.forEach((row) => take(row, axis + 1));
        else elements.push(/** @type {Element} */ (part));
    };
    take(nested, 0);
    return elements;
}

/** @param {Element[]} elements @param {Exclude<DType, "string">} dtype @returns {NumberArray} */
function convert(elements, dtype) {
    for (const element of elements) {
        if (typeof element === "string" || element === null || typeof element === "object") {
            throw new InvalidInputError(`${JSON.stringify(element)} is no element of ${dtype}`);
        }
    }
    const numbers = /** @type {(number | bigint | boolean)[]} */ (elements);
    if (dtype === "float16" || dtype === "bfloat16") return fromFloat32(numbers.map(Number), dtype);
    if (dtype === "float32") return Float32Array.from(numbers, Number);
    if (dtype === "float64") return Float64Array.from(numbers, Number);
    const whole = dtype === "int64" || dtype === "uint64" ? toBig : Number;
    const array = new ARRAYS[dtype](numbers.length);
    numbers.forEach((number, i) => {
        const value = whole(number);
        array[i] = /** @type {never} */ (value);
        if (array[i] !== value || (dtype === "bool" && array[i] > 1)) {
            throw new InvalidInputError(`${number} is no element of ${dtype}`);
        }
    });
    return array;
}

/** @param {number | bigint | boolean} value */
function toBig(value) {
    if (typeof value === "number" && !Number.isInteger(value)) {
        throw new InvalidInputError(`${value} is no integer`);
    }
    return BigInt(value);
}

/**
 * A tensor of numbers, booleans or strings, in arrays of arrays or alone. An integer that the type
 * does not have is an error; floats are rounded.
 *
 * @param {Nested} nested
 * @param {DType} [dtype] by default what the first element is: float32, int64 for bigints, bool,
 *     string
 */
export function tensor(nested, dtype) {
    const shape = shapeOf(nested);
    const elements = flatten(nested, shape);
    const type = dtype ?? defaultType(elements[0]);
    if (type !== "string" && !Object.hasOwn(ARRAYS, type)) return new Tensor(type, shape, []);
    const data = type === "string" ? /** @type {string[]} */ (elements) : convert(elements, type);
    return new Tensor(type, shape, data);
}
