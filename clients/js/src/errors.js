/**
 * What a call can throw. Each error carries the server's own words, on one line.
 *
 * @module
 */

/** The base of all errors of a call. */
export class GraphPipeError extends Error {
    /**
     * @param {string} message
     * @param {number | null} [code] the number of the error in docs/protocol.md ("Errors"), or
     *     null where the failure is on this side or the server did not say
     * @param {unknown} [cause] the error that led to this one
     */
    constructor(message, code = null, cause) {
        super(message, cause === undefined ? undefined : { cause });
        this.name = new.target.name;
        this.code = code;
    }
}

/** The request does not fit the model, or cannot be sent: a name, type, shape or size. */
export class InvalidInputError extends GraphPipeError {}

/** The server has no such model, version or path. */
export class NotFoundError extends GraphPipeError {}

/** No connection, a connection that was lost, or a server that is shutting down. */
export class UnavailableError extends GraphPipeError {}

/** The server has no room now; the request was not run and may be sent again later. */
export class BusyError extends UnavailableError {}

/** The time for the call is over. */
export class DeadlineExceededError extends GraphPipeError {}

/** The model or the server failed on a valid request. */
export class ModelError extends GraphPipeError {}

/** The answer is not GraphPipe's, or is broken. */
export class ProtocolError extends GraphPipeError {}

/** @type {Record<number, typeof GraphPipeError>} */
const BY_CODE = {
    1: InvalidInputError,
    2: InvalidInputError,
    4: NotFoundError,
    6: DeadlineExceededError,
    7: InvalidInputError,
    8: InvalidInputError,
    9: ModelError,
    10: ModelError,
    11: ModelError,
    12: UnavailableError,
    13: BusyError,
    14: BusyError,
    15: UnavailableError,
    16: DeadlineExceededError,
};

/** @type {Record<number, typeof GraphPipeError>} */
const BY_STATUS = {
    400: InvalidInputError,
    404: NotFoundError,
    408: DeadlineExceededError,
    413: InvalidInputError,
    429: BusyError,
    431: InvalidInputError,
    500: ModelError,
    501: ModelError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineExceededError,
};

const MAX_CHARACTERS = 500;

/**
 * Somebody else's text as one line of visible characters.
 *
 * @param {string} text
 * @returns {string}
 */
export function oneLine(text) {
    const cut = [...text.slice(0, 2 * MAX_CHARACTERS).trim()].slice(0, MAX_CHARACTERS).join("");
    return cut.replace(/(?! )[\p{C}\p{Z}]/gu, (character) => {
        if (/\s/.test(character)) return " ";
        const number = /** @type {number} */ (character.codePointAt(0)).toString(16);
        return number.length < 3 ? `\\x${number.padStart(2, "0")}` : `\\u{${number}}`;
    });
}

/**
 * The error for an answer with this HTTP status, and the code and words of its body.
 *
 * @param {number} status
 * @param {number | null} code
 * @param {string} text
 * @returns {GraphPipeError}
 */
export function refusal(status, code, text) {
    const Kind = BY_CODE[code ?? 0] ?? BY_STATUS[status] ?? GraphPipeError;
    return new Kind(oneLine(text) || `HTTP ${status}, without a reason`, code);
}
