/**
 * The client as it is, imported by a page in a real, headless Chromium. The page's origin is another
 * than the server's, so the browser asks the server first (OPTIONS) and keeps answers from pages that
 * --cors-origin does not name.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { after, before, test } from "node:test";

import { classes, installed, lacks, lacksOnnx, PACKAGES, Server, SOURCE, withDemo } from "./support.js";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
    .find((path) => existsSync(path)) ?? "/usr/bin/chromium";
const skip = lacks("Chromium", CHROMIUM, "js")
    || lacks("playwright-core", join(PACKAGES, "playwright-core"), "js");

const PAGE = `<!doctype html><meta charset="utf-8"><title>client</title>
<script type="importmap">{"imports": {"graphpipe": "/clients/js/src/index.js"}}</script>
<script type="module">window.graphpipe = await import("graphpipe");</script>`;
const KINDS = { ".js": "text/javascript", ".html": "text/html", ".png": "image/png" };

/** Serves PAGE at /, and the tree. */
async function servePages() {
    const pages = createServer(({ url }, answer) => {
        const path = join(SOURCE, new URL(url, "http://x").pathname);
        const isFile = url !== "/" && existsSync(path);
        answer.writeHead(isFile || url === "/" ? 200 : 404,
            { "Content-Type": KINDS[extname(path)] ?? "text/html" });
        answer.end(isFile ? readFileSync(path) : PAGE);
    });
    pages.listen(0, "127.0.0.1");
    await once(pages, "listening");
    return pages;
}

let pages;
let origin;
let browser;
let server;
let page;

before(async () => {
    if (skip) return;
    pages = await servePages();
    origin = `http://127.0.0.1:${pages.address().port}`;
    server = await Server.start(["--engine", "echo", "--cors-origin", origin]);
    browser = await installed("playwright-core").chromium.launch(
        { executablePath: CHROMIUM, args: ["--no-sandbox"], timeout: 120_000 });
    page = await open(origin);
});

after(async () => {
    await browser?.close();
    pages?.close();
    await server?.stop();
});

async function open(from) {
    const opened = await browser.newPage();
    opened.setDefaultTimeout(60_000);
    await opened.goto(from);
    await opened.waitForFunction(() => window.graphpipe !== undefined);
    return opened;
}

test("every type comes back to a page of another origin", { skip }, async () => {
    const found = await page.evaluate(async (url) => {
        const { Client, tensor } = window.graphpipe;
        const client = new Client(url, { headers: { Authorization: "Bearer x" } });
        const shown = {};
        for (const [dtype, nested] of [["float32", [[1, 2.5], [3, 4]]], ["uint8", [255]],
            ["int64", [-5]], ["float16", [0.5]], ["bfloat16", [-2]], ["bool", [true, false]],
            ["string", ["grüße", "nul\0"]], ["float64", 7], ["int16", []]]) {
            const back = await client.infer(tensor(nested, dtype), { timeoutMs: 30_000 });
            shown[dtype] = [String(back), JSON.stringify(back.toNested(), (_, value) => (
                typeof value === "bigint" ? `${value}n` : value))];
        }
        const large = new Float32Array(1 << 20).fill(3);
        shown.large = (await client.infer(large)).data.every((number) => number === 3);
        shown.server = (await client.metadata()).server;
        return shown;
    }, server.url);
    assert.match(found.server, /^graphpipe /);
    delete found.server;
    assert.deepEqual(found, {
        float32: ["float32[2,2]", "[[1,2.5],[3,4]]"],
        uint8: ["uint8[1]", "[255]"],
        int64: ["int64[1]", '["-5n"]'],
        float16: ["float16[1]", "[0.5]"],
        bfloat16: ["bfloat16[1]", "[-2]"],
        bool: ["bool[2]", "[true,false]"],
        string: ["string[2]", '["grüße","nul\\u0000"]'],
        float64: ["float64[]", "7"],
        int16: ["int16[0]", "[]"],
        large: true,
    });
});

/** What a call of a page ends with. */
const failure = (in_, url, options) => in_.evaluate(([address, given]) => (
    new window.graphpipe.Client(address).infer(new Float32Array(3), given)
        .then(() => "an answer", ({ name, message }) => `${name}: ${message}`)), [url, options]);

test("a page reads why it was refused", { skip }, async () => {
    const said = await failure(page, server.url, { outputs: ["a", "b"] });
    assert.match(said, /^InvalidInputError: 2 outputs were asked for/);
});

test("a page that the server does not name is refused by its browser", { skip }, async () => {
    const other = await open(origin.replace("127.0.0.1", "localhost"));
    const said = await failure(other, server.url, {});
    assert.match(said, /^UnavailableError: .*no --cors-origin http:\/\/localhost:\d+\)/);
    await other.close();
});

test("a page is told that nobody listens, and that the time is up", { skip }, async () => {
    assert.match(await failure(page, "http://127.0.0.1:9", {}), /^UnavailableError: /);
    assert.match(await failure(page, server.url, { timeoutMs: 1e-3 }), /^DeadlineExceededError: /);
});

test("examples/classify.html knows the mug", { skip: skip || lacksOnnx }, () => (
    withDemo(["--cors-origin", origin], async ({ url }) => {
        const example = await browser.newPage();
        example.setDefaultTimeout(60_000);
        await example.goto(`${origin}/examples/classify.html`);
        await example.fill("#address", url);
        await example.setInputFiles("#picture", join(SOURCE, "examples/mug.png"));
        await example.waitForFunction(() => document.getElementById("result").textContent !== "");
        const said = await example.textContent("#result");
        assert.deepEqual(classes(said).slice(0, 3), [504, 968, 967], said);
        await example.close();
    })));
