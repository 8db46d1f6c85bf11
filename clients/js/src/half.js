/**
 * Floats of 16 bits, for which JavaScript has no arrays everywhere yet: their bits lie in a
 * Uint16Array. float16 is IEEE's half (5 bits of exponent, 10 of fraction); bfloat16 is the upper
 * half of a float32. Numbers are rounded to the nearest, and ties to the even one.
 *
 * @module
 */

/** @typedef {"float16" | "bfloat16"} HalfType */

/** @type {Float32Array | undefined} */
let float16Values; // by their bits; made when first needed

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** @param {number} half the bits of a float16 */
function float16Value(half) {
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/**
 * @param {number} value of 0 or more
 * @returns {number} the nearest integer; of two that are as near the even one
 */
function roundToEven(value) {
    const below = Math.floor(value);
    const rest = value - below;
    return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/** @param {number} value a float32 @returns {number} the bits of the nearest float16 */
function float16Bits(value) {
    float[0] = value;
    const sign = (bits[0] >>> 16) & 0x8000;
    const rest = bits[0] & 0x7fffffff;
    if (rest > 0x7f800000) return sign | 0x7e00;
    if (rest >= 0x477ff000) return sign | 0x7c00; // 65520 and beyond
    if (rest < 0x38800000) return sign | roundToEven(Math.abs(float[0]) * 2 ** 24);
    return sign | ((rest - 0x38000000 + 0xfff + ((rest >>> 13) & 1)) >>> 13);
}

/** @param {number} value a float32 @returns {number} the bits of the nearest bfloat16 */
function bfloat16Bits(value) {
    float[0] = value;
    if ((bits[0] & 0x7fffffff) > 0x7f800000) return (bits[0] >>> 16) | 0x40;
    return (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) >>> 16;
}

/**
 * The numbers that the bits of float16 or bfloat16 stand for; none is rounded.
 *
 * @param {Uint16Array} halves
 * @param {HalfType} dtype
 * @returns {Float32Array}
 */
export function toFloat32(halves, dtype) {
    if (dtype === "bfloat16") {
        return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
    }
    float16Values ??= Float32Array.from({ length: 65536 }, (_, half) => float16Value(half));
    const table = float16Values;
    return Float32Array.from(halves, (half) => table[half]);
}

/**
 * The bits of float16 or bfloat16 that are nearest to these numbers.
 *
 * @param {ArrayLike<number>} values
 * @param {HalfType} dtype
 * @returns {Uint16Array}
 */
export function fromFloat32(values, dtype) {
    return Uint16Array.from(values, dtype === "bfloat16" ? bfloat16Bits : float16Bits);
}
