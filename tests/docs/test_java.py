"""The Java of the documents is compiled and run, and so is the example that knows a coffee mug."""
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from examples import ADDRESS, SOURCE, Server, documents, of_document
from needs import need

pytestmark = pytest.mark.skipif(not shutil.which("javac"),
                                reason="no JDK is there: tools/setup java")
MUG = SOURCE / "examples/mug.png"

FRAME = """\
import dev.graphpipe.*;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

class Example {
    public static void main(String[] arguments) throws Exception {
        float[] pixels = new float[3 * 224 * 224];
        Tensor image = Tensor.of(pixels, 1, 3, 224, 224);
CODE
    }
}
"""


def run(*command):
    done = subprocess.run(["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                           *map(str, command)], text=True, timeout=240,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    sources = sorted((SOURCE / "clients/java/src/main").rglob("*.java"))
    subprocess.run(["javac", "--release", "11", "-encoding", "UTF-8", "-d", folder, *sources],
                   check=True, timeout=240)
    return folder


@pytest.mark.parametrize("path", [path for path in documents() if of_document(path, "java")],
                         ids=lambda path: path.name)
def test_document(path, classes, tmp_path):
    with Server() as server:
        for code in of_document(path, "java"):
            code = code.replace(ADDRESS, server.addresses[0])
            (tmp_path / "Example.java").write_text(
                FRAME.replace("CODE", textwrap.indent(code, " " * 8)))
            run("-cp", classes, tmp_path / "Example.java")
        assert server.metrics()['requests_total{code="200"}'] >= 1


def test_mug(classes):
    need("onnx")
    subprocess.run([sys.executable, "-B", SOURCE / "tools/zoo/write_onnx.py"], check=True,
                   cwd=SOURCE, timeout=240)
    with Server(engine="onnx", model=SOURCE / "build/models/efficientnet-lite0.onnx") as server:
        said = run("-cp", classes, SOURCE / "examples/Classify.java", server.url, MUG)
    first, *others = re.findall(r"^  (0[.,]\d+)  class (\d+)$", said, re.MULTILINE)
    assert first[1] == "504" and abs(float(first[0].replace(",", ".")) - 0.573) <= 0.005
    assert len(others) == 4
