#!/usr/bin/env python3
"""The same answers from every engine: serves each model of models.py, asks it through the wire, and
compares with what its framework says in this process. `make test-engines` sets up and runs it.

usage: make test-engines FLAGS="[--markdown FILE] [--az4 FOLDER] [--squeezenet FOLDER] [WORD]..."
"""
import argparse
import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("GP_BUILD_DIR", str(ROOT / "build/release"))
for folder in "tests/e2e", "tests/conformance":
    sys.path.insert(0, str(ROOT / folder))

import numpy as np  # noqa: E402

import client  # noqa: E402
import here  # noqa: E402
import models  # noqa: E402
from harness import PROGRAM, Server, start_fails  # noqa: E402

COLUMNS = ["model", "format", "engine", "batch", "top class", "max difference", "compared with",
           "limit", "ok"]


def engines():
    """{name: (version, whether it is ready, where it is or what is missing)}. The engine python is
    to find this Python."""
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    listed = subprocess.run([PROGRAM, "engines"], capture_output=True, text=True,
                            env=os.environ | {"PATH": path}).stdout
    found = {}
    for line in listed.splitlines():
        name, version, state, where = re.split(r"\s{2,}", line.strip(), maxsplit=3)
        found[name] = version, state == "ready", f"{state}: {where}"
    return found


def left_out(case, known):
    """Why a case cannot be run here, or None."""
    if case.engine not in known:
        return f"SKIPPED, there is no engine {case.engine} in this release"
    _, is_ready, where = known[case.engine]
    return None if is_ready else f"NOT TESTED, {where}"


# --- asking -----------------------------------------------------------------------------

def to_tensor(x):
    elements = list(x.ravel()) if x.dtype == object else x.tobytes()
    return "string" if x.dtype == object else x.dtype.name, x.shape, elements


def from_tensor(tensor):
    dtype, shape, elements = tensor
    if dtype != "string":
        return np.frombuffer(elements, dtype).reshape(shape)
    return np.array(elements, object).reshape(shape)


def serve(case):
    options = [word for option in case.options for word in ("--engine-option", option)]
    return Server(*options, engine=case.engine, model=case.path)


def ask(server):
    """infer(inputs) -> outputs through the C client, inputs by position."""
    return lambda inputs: [from_tensor(tensor) for tensor in client.infer(
        server.addresses[0], [("", to_tensor(x)) for x in inputs])]


def difference(ours, theirs):
    """The largest between two numbers; infinite where a shape, a type or a text differs."""
    if [y.shape for y in ours] != [y.shape for y in theirs]:
        return float("inf")
    largest = 0.0
    for a, b in zip(ours, theirs):
        if a.dtype != b.dtype:
            return float("inf")
        if a.dtype == object:
            if (a != b).any():
                return float("inf")
        elif a.size:
            largest = np.maximum(largest, np.abs(a - b).max())  # of a NaN and a number: NaN
    return float(largest)


def is_same_class(ours, theirs):
    a, b = ours[0], theirs[0]
    return a.dtype == object or a.ndim != 2 or (a.argmax(1) == b.argmax(1)).all()


def check(case):
    """The rows of a case, as they come."""
    with serve(case) as server:
        theirs = case.talk(case.reference())
        for (what, outputs), (_, wanted) in zip(case.talk(ask(server)), theirs, strict=True):
            found = difference(outputs, wanted)
            is_ok = found <= case.limit and is_same_class(outputs, wanted)
            yield [case.model, case.format, case.engine, str(what), case.says(outputs),
                   f"{found:.1e}", case.framework, f"{case.limit:g}", "yes" if is_ok else "NO"]


# --- what a .pt2 refuses ----------------------------------------------------------------

def refusals(case):
    """(what, whether that is as it should be, what was said) of native code, which checks nothing
    by itself."""
    line = start_fails("--engine", case.engine, "--model", case.path.relative_to(ROOT),
                       "--listen", "127.0.0.1:0", cwd=ROOT)
    yield "serve without --allow-native-code", "--allow-native-code" in line, line
    with serve(case) as server:
        infer = ask(server)
        for what, x in {"a picture of another size": np.zeros((1, 3, 200, 224), np.float32),
                        "channels last": np.zeros((1, 224, 224, 3), np.float32),
                        "a dimension less": np.zeros((3, 224, 224), np.float32),
                        "float64": np.zeros((1, 3, 224, 224))}.items():
            try:
                infer([x])
                yield what, False, "it was answered"
            except client.Failure as failure:
                yield what, "image" in str(failure), str(failure)
        said = models.classes(infer([models.batch(1)]))
        yield "then a picture as it should be", said == "coffee mug", said


# --- the table --------------------------------------------------------------------------

def markdown(rows, refused, not_run, known, options):
    versions = {name: version for name, (version, _, _) in known.items() if version != "-"}
    frameworks = sorted({row[6] for row in rows})
    folders = "".join(f" --{name} FOLDER" for name in ("az4", "squeezenet")
                      if getattr(options, name))
    lines = ["# Engines, tested", "",
             "What the [engines](engines.md) answer, next to their frameworks: each row is a request "
             "to a server, and how much its answer differs from that of the framework in Python. "
             "EfficientNet-Lite0 is one network, with the same weights in every format.", "",
             f'`make test-engines FLAGS="--markdown docs/engines-tested.md{folders}"` '
             "wrote this, with", "",
             "- engines: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
             "- compared with: " + ", ".join(f"{name} {here.version_of(name)}"
                                             for name in frameworks),
             "", f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    if refused:
        lines += ["", "An AOTInductor package checks nothing by itself:", "",
                  "| asked | answer | ok |", "|---|---|---|"]
        lines += [f"| {what} | {said} | {'yes' if is_ok else 'NO'} |"
                  for what, is_ok, said in refused]
    lines += ["", *(f"- {line}" for line in not_run)] if not_run else []
    return "\n".join(lines) + "\n"


def show(row):
    widths = 20, 24, 11, 8, 40, 8, 16, 7, 3
    print(" ".join(cell[:width].ljust(width) for cell, width in zip(row, widths)).rstrip(),
          flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("words", nargs="*", metavar="WORD",
                        help="only cases with these words in model, format or engine")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the table there, too")
    parser.add_argument("--az4", type=pathlib.Path, help="a folder with az4.*.pb")
    parser.add_argument("--squeezenet", type=pathlib.Path,
                        help="a folder with squeezenet.predict_net.pb of Caffe2's model zoo")
    return parser.parse_args()


def run(case):
    """(rows, refusals, failures); what the server logged is shown where something failed."""
    rows, refused, failures, log = [], [], [], io.StringIO()
    try:
        with contextlib.redirect_stdout(log):
            rows = list(check(case))
            if case.format == "AOTInductor":
                refused = list(refusals(case))
    except Exception as error:
        failures.append(f"FAILED: {error}")
    for row in rows:
        show(row)
    for what, is_ok, said in refused:
        print(f"  {'ok' if is_ok else 'WRONG'}, {what}: {said}")
    failures += [row for row in rows if row[-1] != "yes"] + [r for r in refused if not r[1]]
    if failures:
        print(*(failure for failure in failures if isinstance(failure, str)), log.getvalue(),
              sep="\n", flush=True)
    return rows, refused, failures


def main():
    options, begun, known = parse(), time.monotonic(), engines()
    rows, refused, failures, not_run = [], [], [], []
    show(COLUMNS)
    for case in models.every(options.az4, options.squeezenet):
        name = f"{case.model}, {case.format}, {case.engine}"
        if not all(word.lower() in name.lower() for word in options.words):
            continue
        if why := left_out(case, known):
            not_run.append(f"{name}: {why}")
            print(not_run[-1], flush=True)
            continue
        for whole, part in zip((rows, refused, failures), run(case)):
            whole += part
    if options.markdown:
        options.markdown.write_text(markdown(rows, refused, not_run, known, options))
    n_not_tested = sum("NOT TESTED" in line for line in not_run)
    print(f"test-engines: {len(rows)} answers compared, {len(refused)} refusals and such, "
          f"{len(failures)} wrong; {len(not_run)} cases left out, {n_not_tested} of them NOT "
          f"TESTED for want of a runtime; {time.monotonic() - begun:.0f} s")
    return 1 if failures or n_not_tested or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
