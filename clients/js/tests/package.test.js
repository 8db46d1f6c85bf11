/** The package as npm makes it, installed in an empty project: its types, and the example. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync,
    writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { classes, lacks, lacksOnnx, PACKAGES, SOURCE, temporary, withDemo } from "./support.js";

const PACKAGE = join(SOURCE, "clients/js");
const TSC = join(PACKAGES, "typescript/bin/tsc");
const skip = lacks("TypeScript", TSC, "js");

let project;

/** Packs a copy of the sources, since packing writes the types beside them, and unpacks it. */
before(() => {
    if (skip) return;
    project = temporary();
    const copy = join(project, "copy");
    cpSync(PACKAGE, copy, { recursive: true,
        filter: (path) => !/^\/(node_modules|types|tests)$/.test(path.slice(PACKAGE.length)) });
    symlinkSync(PACKAGES, join(copy, "node_modules"));
    execFileSync("npm", ["pack", "--offline", "--silent", "--pack-destination", project],
        { cwd: copy, env: { ...process.env, npm_config_cache: join(project, "cache") } });
    const { version } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
    const installed = join(project, "node_modules/graphpipe");
    mkdirSync(installed, { recursive: true });
    execFileSync("tar", ["-xzf", join(project, `graphpipe-${version}.tgz`), "-C", installed,
        "--strip-components=1"]);
    writeFileSync(join(project, "package.json"), '{"type": "module"}');
});

after(() => project && rmSync(project, { recursive: true }));

test("TypeScript knows what goes in and what comes out", { skip }, () => {
    writeFileSync(join(project, "program.ts"), `
        import { BusyError, Client, DType, Metadata, Tensor, tensor } from "graphpipe";
        const client = new Client("http://x", { timeoutMs: 5 });
        const one: Tensor = await client.infer(tensor([[1]], "float32"));
        const dtype: DType = one.dtype;
        const two: Record<string, Tensor> = await client.infer({ a: one, b: new Float32Array(2) });
        const named: Tensor = await client.infer({ a: one }, { outputs: "y", config: dtype });
        const several: Record<string, Tensor> = await client.infer(one, { outputs: ["p"] });
        const metadata: Metadata = await client.metadata({ model: "m" });
        const size: number | null = metadata.inputs[0].shape[0];
        const error: Error & { code: number | null } = new BusyError("x");
        // @ts-expect-error: arrays are made tensors first
        await client.infer([1, 2]);
        // @ts-expect-error: there is no such type
        tensor([1], "complex64");
        // @ts-expect-error: a tensor comes out
        const wrong: number = await client.infer(one);
        export { two, named, several, size, error, wrong };`);
    execFileSync(process.execPath, [TSC, "--strict", "--noEmit", "--target", "es2022", "--module",
        "nodenext", "program.ts"], { cwd: project, stdio: "pipe", encoding: "utf8" });
});

test("the package has what runs, and nothing else", { skip }, () => {
    const installed = join(project, "node_modules/graphpipe");
    for (const name of ["src/index.js", "types/index.d.ts", "README.md"]) {
        assert.ok(existsSync(join(installed, name)), name);
    }
    assert.ok(!existsSync(join(installed, "tests")));
    const listed = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
    assert.equal(listed.dependencies, undefined);
});

test("examples/classify.mjs knows the mug", { skip: skip || lacksOnnx }, () => withDemo([], (server) => {
    copyFileSync(join(SOURCE, "examples/classify.mjs"), join(project, "classify.mjs"));
    symlinkSync(join(PACKAGES, "pngjs"), join(project, "node_modules/pngjs"));
    const said = execFileSync(process.execPath, ["classify.mjs", server.url,
        join(SOURCE, "examples/mug.png")], { cwd: project, encoding: "utf8" });
    assert.deepEqual(classes(said).slice(0, 3), [504, 968, 967], said);
}));
