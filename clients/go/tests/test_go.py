"""The Go client's own tests, its examples and those of the documents. go builds offline, and keeps what
it makes under build/."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from examples import ADDRESS, of_document
from harness import BUILD, SANITIZE, SOURCE, Server
from needs import need

CLIENT = SOURCE / "clients/go"
EXAMPLES = SOURCE / "examples/go"
DEPS = SOURCE / ".deps/go/bin"
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ['PATH']}:{DEPS}", "GOCACHE": str(SOURCE / "build/go"),
               "GOFLAGS": "-mod=mod -buildvcs=false", "GOPROXY": "off", "GOTOOLCHAIN": "local",
               "GP_SOURCE_DIR": str(SOURCE), "GP_BUILD_DIR": str(BUILD)}


def version():
    """(1, 21) of the go that is there, or (0, 0)."""
    if not shutil.which("go", path=ENVIRONMENT["PATH"]):
        return 0, 0
    said = subprocess.run(["go", "env", "GOVERSION"], env=ENVIRONMENT, stdout=subprocess.PIPE,
                          text=True).stdout
    return tuple(map(int, re.match(r"go(\d+)\.(\d+)", said).groups()))


pytestmark = pytest.mark.skipif(version() < (1, 21), reason="there is no Go 1.21: tools/setup go")


def go(*arguments, cwd=CLIENT, **more):
    done = subprocess.run(["go", *map(str, arguments)], cwd=cwd, env={**ENVIRONMENT, **more}, text=True,
                          timeout=280, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-20000:]
    return done.stdout


def go_test(*arguments, **more):
    """Runs the tests: there are some, and none is skipped but for want of a set-up."""
    done = subprocess.run(["go", "test", "-count=1", "-json", *arguments, "./..."], cwd=CLIENT,
                          env={**ENVIRONMENT, **more}, text=True, timeout=280,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = "".join(event["Output"] for event in events if event["Action"].endswith("output"))
    assert done.returncode == 0, said[-20000:] or done.stdout
    passed = {event["Test"] for event in events if event["Action"] == "pass" and "Test" in event}
    skipped = {event["Test"] for event in events if event["Action"] == "skip" and "Test" in event}
    why = "".join(event["Output"] for event in events
                  if event["Action"] == "output" and event.get("Test") in skipped)
    assert len(passed) > 30
    reasons = set(re.findall(r"\w+_test\.go:\d+: (.*)", why))
    assert len(skipped) == 0 or reasons
    for reason in reasons - {"-short: no large memory"}:
        pytest.skip(reason)


def test_go_test():
    go_test()


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler: tools/setup test")
def test_races():
    """The race detector keeps shadows of all memory, so the tests of large ones are left out."""
    go_test("-race", "-short", CGO_ENABLED="1")


def test_without_cgo():
    """It is Go all through, and builds for 32 bits too, where less of Linux is known."""
    go("build", "./...", CGO_ENABLED="0", GOOS="linux", GOARCH="386")


@pytest.mark.parametrize("path", ["README.md", "docs/clients.md", "clients/go/README.md"])
def test_documents(path, tmp_path):
    """What is no program is run within fragment.go.txt."""
    frame = (CLIENT / "tests/fragment.go.txt").read_text()
    (code,) = of_document(SOURCE / path, "go")
    if not code.startswith("package"):
        code = frame.replace("// EXAMPLE", code)
    module = (EXAMPLES / "go.mod").read_text().replace("../../clients/go", str(CLIENT))
    (tmp_path / "go.mod").write_text(module)
    with Server() as server:
        (tmp_path / "main.go").write_text(code.replace(ADDRESS, server.addresses[0]))
        go("run", ".", cwd=tmp_path)
        assert server.metrics()['requests_total{code="200"}'] >= 1


def test_classify():
    """The picture of `make demo`, decoded and asked for in Go."""
    need("onnx")
    model = SOURCE / "build/models/efficientnet-lite0.onnx"
    if not model.exists():
        pytest.skip("the demo's model is missing: tools/setup demo")
    with Server(engine="onnx", model=model) as server:
        said = go("run", "./classify", server.url, SOURCE / "examples/mug.png", cwd=EXAMPLES)
    found = re.findall(r"^  (0\.\d+)  class (\d+)$", said, re.M)
    assert len(found) == 5 and found[0][1] == "504" and abs(float(found[0][0]) - 0.573) <= 0.005, said


def test_serve(tmp_path):
    """A Go function is a model, to the program too."""
    program = pathlib.Path(tmp_path / "serve")
    go("build", "-o", program, "./serve", cwd=EXAMPLES)
    with subprocess.Popen([program, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.match("listening on (.*)", server.stdout.readline())[1]
            out = subprocess.run([BUILD / "bin/graphpipe", "infer", address, "float32[1,2]:1.5,-2"],
                                 stdout=subprocess.PIPE, text=True, check=True).stdout
        finally:
            server.kill()
    assert out == "y  float32[1,2]  [[3, -4]]\n"
