"""What the tests of this folder share: our codec as a program, and the official
FlatBuffers library with code that flatc makes of schema/graphpipe.fbs."""

import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ.get("GP_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("GP_BUILD_DIR", SOURCE / "build/release"))
SCHEMA = SOURCE / "schema/graphpipe.fbs"


class Codec:
    """golden_codec: every message crosses as a file."""

    def __init__(self, folder):
        self.folder = folder
        self.n_files = 0

    def run(self, *arguments):
        command = [str(BUILD / "tests/golden_codec"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, timeout=240)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def file(self, message=None):
        self.n_files += 1
        path = self.folder / f"{self.n_files}.bin"
        if message is not None:
            path.write_bytes(message)
        return path

    def decode(self, kind, message):
        (answer,) = self.run("decode", kind, self.file(message))
        return answer

    def recode(self, kind, message, *flags):
        """The message as we write it."""
        out = self.file()
        answer = self.run("recode", kind, self.file(message), out, *flags)
        assert answer == []
        return bytearray(out.read_bytes())


@pytest.fixture(scope="session")
def codec(tmp_path_factory):
    return Codec(tmp_path_factory.mktemp("messages"))


def flatc(folder, *options):
    """Code for our schema, in a namespace of its own: the 2018 package is `graphpipe`."""
    if not shutil.which("flatc"):
        pytest.skip("flatc is missing: tools/setup test")
    schema = folder / "ours.fbs"
    schema.write_text(
        SCHEMA.read_text().replace("namespace graphpipe;", "namespace ours;")
    )
    subprocess.run(["flatc", *options, "-o", str(folder), str(schema)], check=True)


@pytest.fixture(scope="session")
def ours(tmp_path_factory):
    """The modules that flatc makes of our schema, by their tables' names."""
    folder = tmp_path_factory.mktemp("flatc")
    flatc(folder, "--python")
    sys.path.insert(0, str(folder))

    class Modules:
        def __getattr__(self, name):
            return importlib.import_module("ours." + name)

    yield Modules()
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def verifier(tmp_path_factory):
    """Runs FlatBuffers' own C++ verifier, which checks alignment too."""
    folder = tmp_path_factory.mktemp("verifier")
    flatc(folder, "--cpp")
    program = folder / "verify"
    made = subprocess.run(
        [
            "g++",
            "-O1",
            "-w",
            f"-I{folder}",
            "-o",
            str(program),
            str(SOURCE / "tests/golden/official_verify.cc"),
        ],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("the C++ FlatBuffers library is missing: tools/setup test")

    def verify(kind, message):
        path = folder / "message.bin"
        path.write_bytes(message)
        return subprocess.run([str(program), kind, str(path)]).returncode == 0

    return verify
