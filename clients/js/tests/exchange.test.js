/** Servers that answer whatever they like, and connections that end at every moment. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { BusyError, Client, DeadlineExceededError, GraphPipeError, InvalidInputError, ModelError,
    NotFoundError, ProtocolError, tensor, UnavailableError } from "graphpipe";

import { always, answer, golden, once_, SOURCE, withScript } from "./support.js";

const ONE = answer(golden("resp_float32.bin"));
const TWO = answer(golden("resp_two.bin"));
const METADATA = answer(golden("resp_metadata.bin"));
const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;
const X = new Float32Array(3);
const LARGE = new Uint8Array(20 * 2 ** 20); // more than sockets hold

const isSafe = (message) => !/(?! )[\p{C}\p{Z}]/u.test(message);

async function fails(call, Kind, words = /./) {
    const error = await call.then(() => assert.fail("it did not fail"), (reason) => reason);
    assert.ok(error instanceof Kind, error.stack);
    assert.match(error.message, words);
    assert.ok(isSafe(error.message) && error.message.length < 700, error.message);
    return error;
}

// --- what is sent again, and what is not -----------------------------------------------------

test("a connection that was closed after an answer is replaced", async () => {
    await withScript([once_(ONE), once_(ONE), once_(ONE)], async (server) => {
        const client = new Client(server.url);
        for (let i = 0; i < 3; i++) {
            assert.equal((await client.infer(X)).dtype, "float32");
            await server.runs[i];
        }
        assert.equal(server.nRequests, 3);
    });
});

for (const beginning of ["", "H", "HTTP/1.1 100 Continue\r\n\r\n", ONE.subarray(0, 60),
    ONE.subarray(0, -1)]) {
    const what = `an answer that ends after ${beginning.length} bytes`;
    test(`${what}: the request may have run, and is not sent again`, async () => {
        await withScript([once_(beginning), always(ONE)], async (server) => {
            await fails(new Client(server.url).infer(X), UnavailableError,
                /no answer came|in the middle of the answer/);
            assert.equal(server.nRequests, 1);
        });
    });
    test(`${what}: metadata are asked for once more`, async () => {
        await withScript([once_(beginning), always(METADATA)], async (server) => {
            assert.equal((await new Client(server.url).metadata()).outputs.length, 1);
            assert.equal(server.nRequests, 2);
        });
        await withScript([once_(beginning), once_(beginning)], async (server) => {
            await fails(new Client(server.url).metadata(), UnavailableError);
            assert.equal(server.nRequests, 2);
        });
    });
}

test("a connection that is closed before the request, or within it", async () => {
    for (const script of [async () => {}, async (peer) => { await peer.head(); }]) {
        await withScript(script, (server) => (
            fails(new Client(server.url).infer(LARGE), UnavailableError)));
    }
});

test("a refusal is heard while the request is sent", async () => {
    const script = async (peer) => {
        await peer.head();
        peer.send(answer("too long: 7\n", { status: "413 Payload Too Large", kind: "text/plain" }));
        await peer.ended;
    };
    await withScript(script, (server) => (
        fails(new Client(server.url).infer(LARGE), InvalidInputError, /^too long: 7$/)));
});

// --- answers ---------------------------------------------------------------------------------

test("chunks and interim answers", async () => {
    const body = golden("resp_float32.bin");
    const chunk = (bytes) => Buffer.concat([Buffer.from(`${bytes.length.toString(16)};a=b\r\n`), bytes,
        Buffer.from("\r\n")]);
    const chunked = Buffer.concat([Buffer.from(CHUNKED), chunk(body.subarray(0, 7)),
        chunk(body.subarray(7)), Buffer.from("0\r\nTrailer: x\r\n\r\n")]);
    for (const text of [chunked, Buffer.concat([Buffer.from("HTTP/1.1 102 x\r\n\r\n"), ONE])]) {
        await withScript(once_(...text.toString("latin1").split("").map((c) => Buffer.from(c, "latin1"))),
            async (server) => assert.equal((await new Client(server.url).infer(X)).dtype, "float32"));
    }
});

for (const text of [
    "\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 101 Switch\r\n\r\n",
    `${OK}NoColon\r\n\r\n`, `${OK}X: ${"x".repeat(100000)}`, `${OK}Content-Length: -1\r\n\r\n`,
    `${OK}Content-Length: 4\r\nContent-Length: 5\r\n\r\n....`, `${OK}Content-Length: 2147483648\r\n\r\n`,
    `${OK}Content-Length: 99999999999999999999\r\n\r\n`, `${OK}Transfer-Encoding: gzip\r\n\r\n`,
    `${OK}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n....`,
    `${CHUNKED}-1\r\n`, `${CHUNKED}1\r\nab\r\n`, `${CHUNKED}FFFFFFFFFFFFFFFFFF\r\n`,
    `${CHUNKED}0\r\n\r\n`, answer(), answer("x".repeat(100)), answer("<html>", { kind: "text/html" }),
    TWO, answer("", { kind: "text/\x1b[31m" }), `${OK}\x1b[31m: x\r\n\r\n`, "HTTP/1.1 \x1b[31m\r\n\r\n",
]) {
    const name = JSON.stringify(String(text).slice(0, 60)).replaceAll("#", "");
    test(`broken: ${name}`, async () => {
        await withScript([once_(text), always(METADATA)], async (server) => {
            const client = new Client(server.url, { timeoutMs: 50_000 });
            const error = await fails(client.infer(X), GraphPipeError);
            assert.ok(!(error instanceof DeadlineExceededError), error.stack);
            assert.ok((await client.metadata()).inputs.length);
        });
    });
}

for (const [text, Kind, words] of [
    [answer(golden("resp_error.bin"), { status: "503 x" }), GraphPipeError, /./],
    [answer("", { status: "404 Not Found" }), NotFoundError, /HTTP 404, without a reason/],
    [answer("garbage", { status: "500 x" }), ModelError, /HTTP 500, without/],
    [answer("two\nlines \x1b[31m\n", { status: "429 x", kind: "text/plain" }), BusyError,
        /^two lines \\x1b\[31m$/],
    [answer("x".repeat(4_000_000), { status: "502 x", kind: "text/plain" }), UnavailableError, /without/],
    ["HTTP/1.1 400 x\r\nContent-Length: 100\r\n\r\nlost", InvalidInputError, /HTTP 400/],
    ["HTTP/1.1 504 x\r\nContent-Length: 0\r\n\r\n", DeadlineExceededError, /HTTP 504/],
    ["HTTP/1.1 302 x\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", GraphPipeError, /HTTP 302/],
]) {
    test(`an error: ${String(text).slice(0, 12)}`, () => (
        withScript(once_(text), (server) => fails(new Client(server.url).infer(X), Kind, words))));
}

test("several outputs for one tensor", async () => {
    const script = async (peer) => {
        while (await peer.request()) peer.send(peer.server.nRequests === 1 ? TWO : METADATA);
    };
    await withScript(script, (server) => fails(new Client(server.url).infer(X), InvalidInputError,
        /2 outputs; choose with the option outputs, of y/));
});

test("an output's name cannot reach an object's prototype", async () => {
    await withScript(once_(TWO), async (server) => {
        const found = await new Client(server.url).infer(X, { outputs: ["__proto__", "b"] });
        assert.deepEqual(Object.keys(found), ["__proto__", "b"]);
        assert.equal(Object.getPrototypeOf(found), Object.prototype);
    });
});

test("an answer that is only announced takes no memory", async () => {
    for (const announced of [`${OK}Content-Length: 2147483647\r\n\r\n`, `${CHUNKED}7fffffff\r\n`]) {
        await withScript(once_(announced, "x".repeat(100_000)), async (server) => {
            let most = 0;
            const timer = setInterval(() => {
                most = Math.max(most, process.memoryUsage().arrayBuffers);
            }, 1);
            const before = process.memoryUsage().arrayBuffers;
            await fails(new Client(server.url).infer(X), UnavailableError, /in the middle/);
            clearInterval(timer);
            assert.ok(most - before < 2 ** 26, `${most - before}`);
        });
    }
});

test("the limit of an answer", async () => {
    await withScript(once_(ONE), (server) => fails(new Client(server.url, { maxAnswerBytes: 7 }).infer(X),
        ProtocolError, /over the limit of 7/));
    await withScript(async (peer) => {
        await peer.request();
        peer.send(`${CHUNKED}8\r\n12345678\r\n`);
        await peer.ended;
    }, async (server) => {
        await fails(new Client(server.url, { maxAnswerBytes: 7 }).infer(X), ProtocolError,
            /over the limit of 7/);
        await Promise.all(server.runs); // the client has closed it
    });
});

// --- time ------------------------------------------------------------------------------------

const silent = async (peer) => {
    await peer.request();
    await peer.ended; // that it is closed is what the server stops its run by
};

test("a server that never answers", async () => {
    await withScript(silent, async (server) => {
        await fails(new Client(server.url, { timeoutMs: 300 }).infer(X), DeadlineExceededError,
            /the 300 ms of the call are over/);
        // it may have been over before anything was sent
        const told = /x-graphpipe-timeout-ms: (\d+)/i.exec(server.heads[0] ?? "x-graphpipe-timeout-ms: 1");
        assert.ok(told[1] > 0 && told[1] <= 300);
        await Promise.all(server.runs); // the connection was closed
    });
});

test("an answer that drips", async () => {
    const drip = async (peer) => {
        await peer.request();
        peer.send(`${OK}Content-Length: 1000000\r\n\r\n`);
        const timer = setInterval(() => peer.send("x"), 10);
        await peer.ended;
        clearInterval(timer);
    };
    await withScript(drip, (server) => (
        fails(new Client(server.url).infer(X, { timeoutMs: 500 }), DeadlineExceededError)));
});

test("a call is stopped by its caller, with the caller's reason", async () => {
    await withScript(silent, async (server) => {
        const controller = new AbortController();
        const call = new Client(server.url).infer(X, { signal: controller.signal });
        while (!server.nRequests) await new Promise((resolve) => setTimeout(resolve, 5));
        controller.abort(new RangeError("enough"));
        await assert.rejects(call, { name: "RangeError", message: "enough" });
        await Promise.all(server.runs);
    });
    const call = new Client("http://127.0.0.1:1").metadata({ signal: AbortSignal.abort() });
    await assert.rejects(call, { name: "AbortError" });
});

test("no limit of time is one that the server is told nothing of", async () => {
    await withScript(always(ONE), async (server) => {
        const client = new Client(server.url);
        for (const timeoutMs of [Infinity, 1e300, 2 ** 31]) await client.infer(X, { timeoutMs });
        assert.deepEqual(server.heads.map((head) => /timeout-ms/i.test(head)), [false, false, true]);
        for (const timeoutMs of [0, -1, NaN]) {
            await fails(client.infer(X, { timeoutMs }), InvalidInputError, /timeoutMs/);
        }
    });
});

// --- what can be said -------------------------------------------------------------------------

test("addresses and headers that cannot be", () => {
    for (const address of ["", "ftp://x", "http://", "x:0", "http://x:65536", "http://a:b@x", "unix:/x",
        "http://x y", "\n"]) {
        assert.throws(() => new Client(address), InvalidInputError, address);
    }
    assert.throws(() => new Client("http://x", { headers: { X: "a\r\nEvil: b" } }), InvalidInputError);
});

test("fields and the path of a request", async () => {
    await withScript(always(ONE), async (server) => {
        const client = new Client(`${server.url}/a/versions/1?k=v`, { headers: { Authorization: "t" } });
        await client.infer(X);
        await client.infer(X, { model: "b c/versions/ä" });
        const [first, second] = server.heads;
        assert.match(first, /^POST \/a\/versions\/1\?k=v HTTP\/1.1\r\n/);
        assert.match(first, /\r\nauthorization: t\r\n/i);
        assert.match(first, /\r\naccept: application\/x-graphpipe\r\n/i);
        assert.match(first, /\r\naccept-encoding: identity\r\n/i);
        assert.match(second, /^POST \/b%20c\/versions\/%C3%A4 HTTP/);
    });
});

test("what cannot be sent is refused before anything is", async () => {
    const client = new Client("http://127.0.0.1:1");
    for (const [inputs, words] of [[[1], /the input is neither.*tensor\(\)/], [{ a: [1] }, /input "a"/],
        [null, /the input/], [3, /the input/], [new DataView(new ArrayBuffer(1)), /neither/]]) {
        await fails(client.infer(inputs), InvalidInputError, words);
    }
    const large = new Uint8Array(2 ** 31);
    await fails(client.infer(large), InvalidInputError, /messages end at 2147483647/);
    await fails(client.infer(X), UnavailableError, /no answer came: .*(ECONNREFUSED|bad port)/);
});

test("another fetch is used", async () => {
    const seen = [];
    const fake = async (url, { headers }) => {
        seen.push(`${url} ${headers.get("accept")}`);
        return new Response(golden("resp_float32.bin"));
    };
    await new Client("http://nobody.invalid:1", { fetch: fake }).infer(tensor(["x"]));
    assert.deepEqual(seen, ["http://nobody.invalid:1/ application/x-graphpipe"]);
});

// --- what was found by fuzzing the C client -----------------------------------------------------

test("the corpus of the C client", async () => {
    const folder = join(SOURCE, "tests/fuzz/corpus/client");
    const names = readdirSync(folder);
    assert.ok(names.length > 100);
    // each file is what a server sends; its first two bytes are for the C client's target
    const script = async (peer) => {
        if (!(await peer.request())) return;
        const [, name] = /^POST \/(\w+)/.exec(peer.lastHead);
        peer.send(readFileSync(join(folder, name)).subarray(2));
    };
    await withScript(script, async (server) => {
        let nRead = 0;
        const ask = async (model, i) => {
            const client = new Client(server.url, { timeoutMs: 50_000 });
            const options = { model, outputs: "y" };
            await (i % 2 ? client.metadata(options) : client.infer(X, options)).then(() => {
                nRead += 1;
            }, (error) => {
                assert.ok(error instanceof GraphPipeError, error.stack);
                assert.ok(!/ms of the call/.test(error.message) && isSafe(error.message), error.message);
            });
        };
        for (let i = 0; i < names.length; i += 16) {
            await Promise.all(names.slice(i, i + 16).map((name, j) => ask(name, i + j)));
        }
        assert.ok(nRead > 0 && nRead < names.length, `${nRead} of ${names.length}`);
    });
});
