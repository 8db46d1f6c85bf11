/**
 * One request over fetch(), and its answer: limits of time and size, and what went wrong.
 *
 * fetch() keeps connections, and shows nothing of them. A request goes out as one array, which gets it
 * a Content-Length, by which a server can make room before the body comes.
 *
 * @module
 */

import { DeadlineExceededError, GraphPipeError, InvalidInputError, oneLine, ProtocolError,
    UnavailableError } from "./errors.js";

export const MEDIA_TYPE = "application/x-graphpipe";

const MAX_REASON_BYTES = 2 ** 20;
const FIRST_BYTES = 2 ** 16;
const MAX_TIMER_MS = 2 ** 31 - 1; // a longer one would fire at once
const MAX_TOLD_MS = 2 ** 32 - 1;

/** Nobody knows whether the server has run the request. */
export class LostError extends UnavailableError {
    /** @param {string} message @param {unknown} cause */
    constructor(message, cause) {
        super(message, null, cause);
        this.name = "UnavailableError";
    }
}

/** The time that a call has, and its caller's signal: one AbortSignal for all its requests. */
export class Deadline {
    #controller = new AbortController();
    #isOver = false;

    /** @param {number} timeoutMs @param {AbortSignal | undefined} signal */
    constructor(timeoutMs, signal) {
        if (!(timeoutMs > 0)) {
            throw new InvalidInputError(`timeoutMs is ${timeoutMs}; it has to be over 0 (Infinity: no `
                + "limit)");
        }
        this.timeoutMs = timeoutMs;
        this.until = performance.now() + timeoutMs;
        this.signal = this.#controller.signal;
        this.caller = signal;
        this.onAbort = () => this.#controller.abort();
        signal?.throwIfAborted();
        signal?.addEventListener("abort", this.onAbort);
        this.timer = timeoutMs > MAX_TIMER_MS ? undefined : setTimeout(() => {
            this.#isOver = true;
            this.#controller.abort();
        }, timeoutMs);
    }

    /** To be called when the call is over. */
    finish() {
        clearTimeout(this.timer);
        this.caller?.removeEventListener("abort", this.onAbort);
    }

    /** What the server is told, in milliseconds; undefined for no limit. */
    get leftMs() {
        const left = Math.max(1, Math.ceil(this.until - performance.now()));
        return left > MAX_TOLD_MS ? undefined : left;
    }

    /** Throws why the call was stopped, if it was. @param {string} label */
    check(label) {
        this.caller?.throwIfAborted();
        if (this.#isOver) {
            throw new DeadlineExceededError(`${label}: the ${this.timeoutMs} ms of the call are over`);
        }
    }
}

/** @param {unknown} error @returns {{ code: string, message: string }} of what lies deepest */
function causeOf(error) {
    let { code = "", message = "" } = /** @type {any} */ (error) ?? {};
    for (let at = /** @type {any} */ (error)?.cause; at; at = at.cause ?? at.errors?.[0]) {
        code = at.code ?? code;
        message = at.message || message;
    }
    return { code: String(code), message: oneLine(String(message)) };
}

/**
 * The error for what fetch() threw, which names what Node's says beneath it.
 *
 * @param {unknown} error
 * @param {string} label
 * @param {string} doing
 */
function failure(error, label, doing) {
    const { code, message } = causeOf(error);
    if (/^(HPE_|Z_|UND_ERR_HEADERS_OVERFLOW|UND_ERR_RES)/.test(code)) {
        return new ProtocolError(`answer: ${message}`, null, error);
    }
    if (/^UND_ERR_(HEADERS|BODY)_TIMEOUT$/.test(code)) {
        return new DeadlineExceededError(`${label}: fetch() waits no longer: ${message}`, null, error);
    }
    const { location } = globalThis;
    const hint = location ? ` (or the server has no --cors-origin ${location.origin})` : "";
    return new LostError(`${label}: ${doing}: ${message}${hint}`, error);
}

/**
 * Receives a body. The memory for it grows as it comes, to less than twice what has come.
 *
 * @param {Response} response
 * @param {number} limit
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function receive(response, limit) {
    const announced = Number(response.headers.get("content-length")) || 0;
    const tooLarge = () => new ProtocolError(`answer: over the limit of ${limit} bytes`);
    if (announced > limit) {
        response.body?.cancel().catch(() => {});
        throw tooLarge();
    }
    let bytes = new Uint8Array(Math.min(announced || FIRST_BYTES, FIRST_BYTES));
    let used = 0;
    const reader = response.body?.getReader();
    for (;;) {
        const piece = await reader?.read();
        if (!piece || piece.done) return bytes.subarray(0, used);
        const needed = used + piece.value.length;
        if (needed > limit) {
            reader?.cancel().catch(() => {});
            throw tooLarge();
        }
        if (needed > bytes.length) {
            const wanted = 2 * needed < announced || needed > announced ? 2 * needed : announced;
            const larger = new Uint8Array(Math.min(wanted, limit));
            larger.set(bytes.subarray(0, used));
            bytes = larger;
        }
        bytes.set(piece.value, used);
        used = needed;
    }
}

/**
 * @typedef {{ status: number, contentType: string, bytes: Uint8Array<ArrayBuffer> }} Answer
 *     contentType is in lower case, without parameters
 */

/**
 * Sends a request and receives its answer. It throws GraphPipeErrors, and the reason of the caller's
 * signal.
 *
 * @param {typeof globalThis.fetch} fetch
 * @param {URL} url
 * @param {Uint8Array<ArrayBuffer>} body
 * @param {Headers} headers
 * @param {Deadline} deadline
 * @param {number} limit of the answer, in bytes
 * @returns {Promise<Answer>}
 */
export async function exchange(fetch, url, body, headers, deadline, limit) {
    const label = url.origin;
    const { signal, leftMs } = deadline;
    deadline.check(label);
    const fields = new Headers(headers);
    if (leftMs) fields.set("X-GraphPipe-Timeout-Ms", String(leftMs));
    let doing = "no answer came";
    try {
        const response = await fetch(url, {
            method: "POST", body, headers: fields, signal, redirect: "manual", cache: "no-store",
        });
        doing = "the connection ended in the middle of the answer";
        if (response.type === "opaqueredirect") {
            throw new GraphPipeError(`${label}: the server sends the call elsewhere, where a body `
                + "does not go: name that address");
        }
        const { status } = response;
        const isGood = status === 200;
        const contentType = (response.headers.get("content-type") ?? "").split(";")[0];
        const bytes = await receive(response, isGood ? limit : MAX_REASON_BYTES).catch((error) => {
            if (isGood || signal.aborted) throw error;
            return new Uint8Array(0); // the status says more than half a reason
        });
        return { status, contentType: contentType.trim().toLowerCase(), bytes };
    } catch (error) {
        deadline.check(label);
        throw error instanceof GraphPipeError ? error : failure(error, label, doing);
    }
}
