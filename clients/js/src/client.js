/**
 * The client: calls of models by their address.
 *
 * @module
 */

import { InvalidInputError, oneLine, ProtocolError, refusal } from "./errors.js";
import { Deadline, exchange, LostError, MEDIA_TYPE } from "./exchange.js";
import { decodeAnswer, decodeMetadata } from "./reader.js";
import { asTensor, Tensor } from "./tensor.js";
import { MAX_MESSAGE_BYTES } from "./types.js";
import { encodeInfer, encodeMetadataRequest } from "./writer.js";

/** @typedef {import("./reader.js").Metadata} Metadata */
/** @typedef {import("./types.js").NumberArray} NumberArray */
/** @typedef {Tensor | NumberArray | Uint8ClampedArray} Input a typed array has one dimension */

/**
 * @typedef {object} ClientOptions
 * @property {number} [timeoutMs] for a whole call, which the server is told too: 60 000 by default;
 *     Infinity is no limit, but Node's own fetch() waits 300 s for an answer to begin
 * @property {HeadersInit} [headers] further fields of each request, for a token for instance
 * @property {number} [maxAnswerBytes] a larger answer is refused with ProtocolError
 * @property {typeof globalThis.fetch} [fetch] instead of the global one
 */

/**
 * @typedef {object} CallOptions
 * @property {string} [model] "NAME" or "NAME/versions/N", instead of the address's
 * @property {AbortSignal} [signal] stops the call, and the run in the server; its reason is thrown
 * @property {number} [timeoutMs] instead of the client's
 */

/**
 * @typedef {CallOptions & { config?: string }} InferOptions `config` is a text that the model gets as
 *     it is
 */

/** @param {string} address @returns {URL} */
function parseAddress(address) {
    let url;
    try {
        // a page may leave out its own origin
        url = new URL(address, globalThis.location?.href);
    } catch {
        url = undefined;
    }
    if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password) {
        throw new InvalidInputError(`address ${JSON.stringify(oneLine(String(address)))} is not `
            + "http://HOST[:PORT][/MODEL] or https://...; a token goes into the option headers");
    }
    url.hash = "";
    return url;
}

/**
 * Asks the models of a server.
 *
 *     const client = new Client("http://127.0.0.1:9000");
 *     const scores = await client.infer(images);
 *
 * Calls may overlap. There is nothing to close: connections are fetch()'s.
 */
export class Client {
    /** @type {Map<string, string[]>} the outputs of each model that was asked for them */
    #outputNames = new Map();
    #url;
    #fetch;
    #headers;
    #timeoutMs;
    #maxAnswerBytes;

    /**
     * Makes a client, and sends nothing yet.
     *
     * @param {string | URL} address "http://HOST[:PORT][/MODEL]", or with https. MODEL is "NAME" or
     *     "NAME/versions/N" where the server has several. In a page it may be relative to the page.
     * @param {ClientOptions} [options]
     */
    constructor(address, options = {}) {
        this.#url = parseAddress(String(address));
        this.#fetch = options.fetch ?? globalThis.fetch;
        this.#timeoutMs = options.timeoutMs ?? 60_000;
        this.#maxAnswerBytes = Math.min(options.maxAnswerBytes ?? MAX_MESSAGE_BYTES,
            MAX_MESSAGE_BYTES);
        try {
            this.#headers = new Headers(options.headers);
        } catch (error) {
            throw new InvalidInputError(`headers: ${oneLine(String(error))}`, null, error);
        }
        this.#headers.set("Accept", MEDIA_TYPE);
        this.#headers.set("Content-Type", MEDIA_TYPE);
        // Browsers choose this for themselves; elsewhere an answer comes as the server wrote it.
        this.#headers.set("Accept-Encoding", "identity");
    }

    /**
     * Runs a model: a tensor in, a tensor out; tensors by name in, an object of tensors out.
     *
     * Nothing is converted: the type has to be the model's. A typed array is a tensor of one
     * dimension. Rows come first: float32[n,3,224,224] are n pictures.
     *
     * `outputs` is a name, for a tensor; several, for an object. By default all that the metadata
     * lists, or the only one.
     *
     * The promise is rejected with an InvalidInputError, NotFoundError, BusyError, UnavailableError,
     * DeadlineExceededError, ModelError or ProtocolError, all of them GraphPipeErrors, or with the
     * reason of the signal.
     *
     * @overload
     * @param {Input} inputs
     * @param {InferOptions & { outputs?: string }} [options]
     * @returns {Promise<Tensor>}
     */
    /**
     * @overload
     * @param {Record<string, Input>} inputs
     * @param {InferOptions & { outputs: string }} options
     * @returns {Promise<Tensor>}
     */
    /**
     * @overload
     * @param {Record<string, Input>} inputs
     * @param {InferOptions & { outputs?: readonly string[] }} [options]
     * @returns {Promise<Record<string, Tensor>>}
     */
    /**
     * @overload
     * @param {Input} inputs
     * @param {InferOptions & { outputs: readonly string[] }} options
     * @returns {Promise<Record<string, Tensor>>}
     */
    /**
     * @param {Input | Record<string, Input>} inputs
     * @param {InferOptions & { outputs?: string | readonly string[] }} [options]
     * @returns {Promise<Tensor | Record<string, Tensor>>}
     */
    async infer(inputs, options = {}) {
        const { outputs, config = "" } = options;
        const url = this.#urlOf(options.model);
        const { names, tensors } = takeInputs(inputs);
        const isOne = typeof outputs === "string" || (outputs === undefined && names.length === 0);
        return this.#within(options, async (deadline) => {
            let asked = typeof outputs === "string" ? [outputs] : [...(outputs ?? [])];
            if (!isOne && asked.length === 0) asked = await this.#namesOf(url, deadline);
            const request = encodeInfer(tensors, names, asked, config);
            const found = await this.#inferOnce(url, request, deadline);
            if (asked.length && found.length !== asked.length) {
                throw new ProtocolError(`answer: ${found.length} outputs, ${asked.length} were asked `
                    + "for");
            }
            if (!isOne) {
                return Object.fromEntries(found.map((one, i) => [asked[i] ?? `output_${i}`, one]));
            }
            if (found.length !== 1) {
                const known = await this.#namesOf(url, deadline);
                throw new InvalidInputError(`the model has ${found.length} outputs; choose with the `
                    + `option outputs, of ${oneLine(known.join(", "))}`);
            }
            return found[0];
        });
    }

    /**
     * Asks for the model's names, types and shapes.
     *
     * @param {CallOptions} [options]
     * @returns {Promise<Metadata>}
     */
    async metadata(options = {}) {
        const url = this.#urlOf(options.model);
        return this.#within(options, (deadline) => this.#metadataOf(url, deadline));
    }

    /** @param {string | undefined} model */
    #urlOf(model) {
        if (model === undefined) return this.#url;
        const path = model.split("/").filter(Boolean).map(encodeURIComponent).join("/");
        return new URL(`/${path}`, this.#url);
    }

    /**
     * @template T
     * @param {CallOptions} options
     * @param {(deadline: Deadline) => Promise<T>} call
     * @returns {Promise<T>}
     */
    async #within(options, call) {
        const deadline = new Deadline(options.timeoutMs ?? this.#timeoutMs, options.signal);
        try {
            return await call(deadline);
        } finally {
            deadline.finish();
        }
    }

    /** @param {URL} url @param {Uint8Array<ArrayBuffer>} request @param {Deadline} deadline */
    async #ask(url, request, deadline) {
        const { status, contentType, bytes } = await exchange(this.#fetch, url, request,
            this.#headers, deadline, this.#maxAnswerBytes);
        if (status !== 200) throw refused(status, contentType, bytes);
        if (contentType.startsWith("text/")) {
            throw new ProtocolError(`${url.origin}: "${oneLine(contentType)}" is no answer of `
                + "GraphPipe");
        }
        return bytes;
    }

    /** @param {URL} url @param {Uint8Array<ArrayBuffer>} request @param {Deadline} deadline */
    async #inferOnce(url, request, deadline) {
        try {
            const found = decodeAnswer(await this.#ask(url, request, deadline));
            if (!Array.isArray(found)) throw refusal(200, found.code, found.message);
            return found;
        } catch (error) {
            // the model may be another one now
            if (error instanceof InvalidInputError) this.#outputNames.delete(url.pathname);
            throw error;
        }
    }

    /** @param {URL} url @param {Deadline} deadline @returns {Promise<Metadata>} */
    async #metadataOf(url, deadline) {
        const request = encodeMetadataRequest();
        const bytes = await this.#ask(url, request, deadline).catch((error) => {
            // Nothing is run for it, so that it may be sent again: maybe the server had closed the
            // connection that fetch() kept.
            if (error instanceof LostError) return this.#ask(url, request, deadline);
            throw error;
        });
        return decodeMetadata(bytes);
    }

    /** @param {URL} url @param {Deadline} deadline */
    async #namesOf(url, deadline) {
        const known = this.#outputNames.get(url.pathname);
        if (known) return known;
        const { outputs } = await this.#metadataOf(url, deadline);
        const names = outputs.map(({ name }) => name);
        this.#outputNames.set(url.pathname, names);
        return names;
    }
}

/** @param {Input | Record<string, Input>} inputs */
function takeInputs(inputs) {
    if (inputs instanceof Tensor || ArrayBuffer.isView(inputs) || Array.isArray(inputs)
        || inputs === null || typeof inputs !== "object") {
        return { names: [], tensors: [asTensor(inputs, "the input")] };
    }
    const names = Object.keys(inputs);
    return { names, tensors: names.map((name) => asTensor(inputs[name], `input "${name}"`)) };
}

/** @param {number} status @param {string} contentType @param {Uint8Array<ArrayBuffer>} bytes */
function refused(status, contentType, bytes) {
    if (contentType !== MEDIA_TYPE) return refusal(status, null, new TextDecoder().decode(bytes));
    try {
        const found = decodeAnswer(bytes);
        if (!Array.isArray(found)) return refusal(status, found.code, found.message);
    } catch (error) {
        if (!(error instanceof ProtocolError)) throw error; // otherwise the status has to do
    }
    return refusal(status, null, "");
}
