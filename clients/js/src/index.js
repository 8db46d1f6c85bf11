/**
 * GraphPipe's client: sends tensors to served models and brings tensors back.
 *
 * @module
 */

export { Client } from "./client.js";
export { BusyError, DeadlineExceededError, GraphPipeError, InvalidInputError, ModelError,
    NotFoundError, ProtocolError, UnavailableError } from "./errors.js";
export { fromFloat32, toFloat32 } from "./half.js";
export { Tensor, tensor } from "./tensor.js";

/** @typedef {import("./client.js").CallOptions} CallOptions */
/** @typedef {import("./client.js").ClientOptions} ClientOptions */
/** @typedef {import("./client.js").InferOptions} InferOptions */
/** @typedef {import("./client.js").Input} Input */
/** @typedef {import("./reader.js").IO} IO */
/** @typedef {import("./reader.js").Metadata} Metadata */
/** @typedef {import("./types.js").DType} DType */
/** @typedef {import("./types.js").NumberArray} NumberArray */
