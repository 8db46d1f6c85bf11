/**
 * What the tests share: the real program, a server that follows a script, golden messages. The paths
 * come from the environment that ctest sets.
 */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const SOURCE = process.env.GP_SOURCE_DIR ?? fileURLToPath(new URL("../../..", import.meta.url));
export const BUILD = process.env.GP_BUILD_DIR ?? join(SOURCE, "build/release");
export const PROGRAM = process.env.GP_BIN ?? join(BUILD, "bin/graphpipe");
export const MODELS = join(SOURCE, "tests/models");
export const PACKAGES = join(SOURCE, ".deps/js/node_modules");

const PATIENCE_MS = 60_000; // far more than anything takes on a busy machine

/** A package that tools/setup js brought. */
export const installed = (name) => createRequire(join(PACKAGES, "x.js"))(name);

/** @returns {string | false} why a test that needs a set-up cannot run */
export function lacks(what, path, setup) {
    return existsSync(path) ? false : `${what} is missing: tools/setup ${setup}`;
}

const hasOnnx = existsSync(join(BUILD, "lib/graphpipe/graphpipe-engine-onnx.so"))
    && existsSync(join(SOURCE, ".deps/onnxruntime/VERSION"));
export const lacksOnnx = hasOnnx ? false
    : "the onnx engine is not built: tools/setup onnx, then make";

export const temporary = () => mkdtempSync(join(tmpdir(), "gp-js-"));

export async function eventually(isSo, what) {
    for (const until = Date.now() + PATIENCE_MS; !(await isSo());) {
        if (Date.now() > until) throw new Error(`never came: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
}

// --- the program --------------------------------------------------------------------------

/** Serves until stop(), on a port that the system chooses, unless `listen` names one. */
export class Server {
    static async start(args = ["--engine", "echo"], listen = "127.0.0.1:0") {
        const server = new Server();
        server.process = spawn(PROGRAM, ["serve", ...args, "--listen", listen],
            { stdio: ["ignore", "ignore", "pipe"] });
        server.said = "";
        server.process.stderr.setEncoding("utf8").on("data", (text) => {
            server.said += text;
        });
        server.ended = once(server.process, "close");
        await eventually(() => server.url !== undefined || server.process.exitCode !== null,
            "a listening server");
        if (!server.url) throw new Error(server.said);
        return server;
    }

    get url() {
        return /listening on (http:\S+)/.exec(this.said)?.[1];
    }

    /** A number of /metrics, summed over its labels. */
    async metric(name) {
        const text = await (await fetch(`${this.url}/metrics`)).text();
        const lines = text.matchAll(new RegExp(`^graphpipe_${name}(?:{.*})? (\\S+)$`, "gm"));
        return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
    }

    async stop() {
        this.process.kill("SIGTERM");
        const timer = setTimeout(() => this.process.kill("SIGKILL"), PATIENCE_MS);
        const [status] = await this.ended;
        clearTimeout(timer);
        if (status !== 0) throw new Error(`the server ended with ${status}:\n${this.said}`);
    }
}

/** Runs a test's body beside a server. */
export async function withServer(args, body) {
    const server = await Server.start(args);
    try {
        return await body(server);
    } finally {
        await server.stop();
    }
}

/** The same beside the server of the demo's model, which is made if it is not there. */
export function withDemo(args, body) {
    execFileSync(join(SOURCE, ".deps/venv/bin/python"), ["-B", "tools/zoo/write_onnx.py"],
        { cwd: SOURCE, stdio: "pipe" });
    const model = join(SOURCE, "build/models/efficientnet-lite0.onnx");
    return withServer(["--model", model, ...args], body);
}

/** The classes that an example names. */
export const classes = (said) => [...said.matchAll(/class (\d+)/g)].map(([, number]) => Number(number));

// --- a server that follows a script -------------------------------------------------------

const utf8 = (text) => Buffer.from(text, "latin1");

export function answer(body = "", { status = "200 OK", kind = "application/x-graphpipe" } = {}) {
    return Buffer.concat([utf8(`HTTP/1.1 ${status}\r\nContent-Type: ${kind}\r\n`
        + `Content-Length: ${body.length}\r\n\r\n`), Buffer.from(body)]);
}

/** An accepted connection, as a script sees it. */
class Peer {
    constructor(server, socket) {
        Object.assign(this, { server, socket, received: Buffer.alloc(0), isEnded: false });
        socket.on("data", (piece) => {
            this.received = Buffer.concat([this.received, piece]);
        });
        socket.on("error", () => {}); // the client may have seen enough
        this.ended = new Promise((resolve) => {
            socket.on("close", () => {
                this.isEnded = true;
                resolve();
            });
        });
    }

    /** Reads a request's head; false at the end of the connection. */
    async head() {
        await eventually(() => this.isEnded || this.received.includes("\r\n\r\n"), "a head");
        const end = this.received.indexOf("\r\n\r\n");
        if (end < 0) return false;
        const head = this.received.subarray(0, end).toString("latin1");
        this.received = this.received.subarray(end + 4);
        this.left = Number(/^content-length: (\d+)$/im.exec(head)[1]);
        this.lastHead = head;
        this.server.heads.push(head);
        return true;
    }

    /** Reads a whole request; false at the end of the connection. */
    async request() {
        if (!(await this.head())) return false;
        await eventually(() => this.isEnded || this.received.length >= this.left, "a body");
        if (this.received.length < this.left) return false;
        this.received = this.received.subarray(this.left);
        this.server.nRequests += 1;
        return true;
    }

    send(bytes) {
        this.socket.write(bytes);
    }
}

/** Runs a script, a function of a Peer, for each connection, and ends the connection then. */
export class Scripted {
    static async start(...scripts) {
        const server = new Scripted();
        Object.assign(server, { heads: [], nRequests: 0, nConnections: 0, runs: [], peers: [] });
        server.listener = createServer((socket) => {
            const script = scripts[server.nConnections++] ?? scripts.at(-1);
            const peer = new Peer(server, socket);
            server.peers.push(peer);
            const run = Promise.resolve(script(peer)).finally(() => socket.end());
            server.runs.push(run.catch((error) => {
                server.error = error;
            }));
        });
        server.listener.listen(0, "127.0.0.1");
        await once(server.listener, "listening");
        server.url = `http://127.0.0.1:${server.listener.address().port}`;
        return server;
    }

    /** Ends what the client would keep. */
    async stop() {
        this.listener.close();
        this.peers.forEach(({ socket }) => socket.destroy());
        await Promise.all(this.runs);
        if (this.error) throw this.error;
    }
}

/** Runs a test's body beside a scripted server. */
export async function withScript(scripts, body) {
    const server = await Scripted.start(...[scripts].flat());
    try {
        return await body(server);
    } finally {
        await server.stop();
    }
}

/** Scripts: one request, or each, is answered by these bytes. */
export const once_ = (...pieces) => async (peer) => {
    if (await peer.request()) pieces.forEach((piece) => peer.send(piece));
};
export const always = (...pieces) => async (peer) => {
    while (await peer.request()) pieces.forEach((piece) => peer.send(piece));
};

// --- golden messages ----------------------------------------------------------------------

const VECTORS = join(SOURCE, "tests/golden/vectors");
const manifest = (name) => JSON.parse(readFileSync(join(VECTORS, name), "utf8"));

/** What other libraries wrote, as their manifests tell it. */
export const CASES = [...manifest("manifest.json"), ...manifest("manifest-go.json")];

export const golden = (name) => new Uint8Array(readFileSync(join(VECTORS, name)));

/** Runs the C library's reader or writer. */
export const codec = (...args) => execFileSync(join(BUILD, "tests/golden_codec"), args,
    { maxBuffer: 2 ** 28, encoding: "utf8" });
