"""Finds the examples: code in the opening comments of the public headers, and the fenced blocks of
the documents."""
import pathlib
import re
import subprocess
import sys
import textwrap

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
from harness import BUILD, SANITIZE, SOURCE, Server  # noqa: E402, F401

FRAMES = SOURCE / "tests/docs"
SOCKET = "127.0.0.1:9000"
ADDRESS = "http://127.0.0.1:9000"
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Werror", "-pthread", f"-I{SOURCE}/include"]


def of_header(path):
    """The lines that its opening comment indents as code; "" for none."""
    opening = path.read_text().partition("*/")[0].splitlines()
    lines = [line.removeprefix(" *") for line in opening]
    code = [i for i, line in enumerate(lines) if line.startswith(" " * 5) and line.strip()]
    if not code:
        return ""
    return "".join(line[5:] + "\n" for line in lines[code[0]:code[-1] + 1]
                   if not line.strip() or line.startswith(" " * 5))


def of_document(path, *languages):
    """The fenced blocks of these languages; "" is that of blocks that name none."""
    return [block for said, block in re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(),
                                                re.MULTILINE | re.DOTALL) if said in languages]


def documents():
    found = [*SOURCE.glob("*.md")]
    for folder in "docs", "bench", "examples":
        found += SOURCE.glob(f"{folder}/**/*.md")
    return sorted(path for path in found if "```" in path.read_text())


def compiler():
    cache = (BUILD / "CMakeCache.txt").read_text()
    return re.search(r"^CMAKE_C_COMPILER:\w+=(.+)$", cache, re.MULTILINE)[1]


def compiled(frame, code, folder, *more):
    """The program (or, with -shared, plug-in) that the example makes within its frame."""
    (folder / "example.inc").write_text(textwrap.indent(code, "    "))
    program = folder / f"graphpipe-engine-{frame}.so"
    sanitize = [f"-fsanitize={SANITIZE}"] if SANITIZE else []
    done = subprocess.run([compiler(), *FLAGS, *sanitize, f"-I{folder}", FRAMES / f"{frame}.c",
                           "-o", program, *more, f"-L{BUILD}/lib", f"-Wl,-rpath,{BUILD}/lib",
                           "-lgraphpipe-server"], text=True, timeout=240,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return program
