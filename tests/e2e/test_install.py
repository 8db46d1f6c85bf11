"""What is installed is enough: another project finds it by CMake and by pkg-config, shared and
static, where it was moved to; the man page and the completions say what --help says."""
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from harness import BUILD, SANITIZE, SOURCE
from needs import need

pytestmark = pytest.mark.skipif(bool(SANITIZE), reason="another project is not instrumented")

CONSUMER = SOURCE / "examples/consumer"
VERSION = re.search(r'GP_VERSION "(.*)"', (SOURCE / "include/graphpipe/version.h").read_text())[1]
ANSWER = f"graphpipe {VERSION}: twice 1 2 3 is 2 4 6\n"
COMMANDS = "serve infer bench inspect decode engines check-config check-rows tune cache".split()


def run(*command, **keywords):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, **keywords)
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The tree, moved after it was installed: nothing in it may say where it is."""
    staging = tmp_path_factory.mktemp("staging")
    run("cmake", "--install", BUILD, "--prefix", "/opt/graphpipe",
        env=os.environ | {"DESTDIR": str(staging)})
    moved = tmp_path_factory.mktemp("moved") / "tree"
    shutil.move(staging / "opt/graphpipe", moved)
    return moved


def library_path(installed):
    return os.environ | {"LD_LIBRARY_PATH": str(installed / "lib")}


@pytest.mark.parametrize("static", ["OFF", "ON"])
def test_cmake_package(installed, tmp_path, static):
    run("cmake", "-S", CONSUMER, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}",
        f"-DSTATIC={static}", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", tmp_path)
    assert run(tmp_path / "consumer") == ANSWER
    needed = run("ldd", tmp_path / "consumer")
    assert ("libgraphpipe-server.so.0" in needed) == (static == "OFF")
    asked = subprocess.run([tmp_path / "ask", "unix:/nowhere"], stderr=subprocess.PIPE, text=True)
    assert asked.returncode == 1 and "/nowhere" in asked.stderr


def test_cmake_package_has_a_version(installed, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.21)\n"
                                             "project(x LANGUAGES C)\n"
                                             "find_package(GraphPipe 99.0)\n"
                                             "message(STATUS found=${GraphPipe_FOUND})\n")
    assert "found=0" in run("cmake", "-S", tmp_path, "-B", tmp_path / "build",
                            f"-DCMAKE_PREFIX_PATH={installed}")


def test_engine_that_is_a_python_program(installed, tmp_path):
    (tmp_path / "model.py").write_text("def infer(inputs): return inputs")
    assert "numpy" in run(installed / "bin/graphpipe", "inspect", tmp_path / "model.py",
                          "--engine-option", f"python={sys.executable}")
    assert not list(installed.glob("lib/graphpipe/**/__pycache__"))


def package_config(installed, *arguments):
    environment = os.environ | {"PKG_CONFIG_PATH": str(installed / "lib/pkgconfig")}
    return shlex.split(run("pkg-config", *arguments, env=environment))


def test_pkg_config_shared(installed, tmp_path):
    program = tmp_path / "consumer"
    run("cc", "-Wall", "-Werror", CONSUMER / "main.c", "-o", program,
        *package_config(installed, "--cflags", "--libs", "graphpipe-server"))
    assert run(program, env=library_path(installed)) == ANSWER
    run("cc", "-Wall", "-Werror", SOURCE / "examples/ask.c", "-o", tmp_path / "ask",
        *package_config(installed, "--cflags", "--libs", "graphpipe"))


def test_pkg_config_static(installed, tmp_path):
    """-static: a program that needs no library at all."""
    program = tmp_path / "consumer"
    run("cc", "-static", CONSUMER / "main.c", "-o", program,
        *package_config(installed, "--static", "--cflags", "--libs", "graphpipe-server"))
    assert run(program) == ANSWER


def test_static_libraries_leave_names_alone(installed, tmp_path):
    """A program may have functions called as the library's inner ones are, and both libraries."""
    source = tmp_path / "names.c"
    source.write_text("#include <graphpipe/client.h>\n"
                      "int pool_take(void);\nint pool_take(void) { return 3; }\n"
                      "int mem_alloc(void);\nint mem_alloc(void) { return 4; }\n"
                      "int main(void) { gp_client_destroy(gp_client_create(\"unix:/x\", NULL, "
                      "NULL)); return pool_take() + mem_alloc() - 7; }\n")
    run("cc", source, "-o", tmp_path / "names", f"-I{installed}/include",
        installed / "lib/libgraphpipe.a", installed / "lib/libgraphpipe-server.a")
    run(tmp_path / "names")


@pytest.mark.parametrize("library", ["graphpipe", "graphpipe-server"])
def test_exported_symbols(installed, library):
    """What the headers declare, with a version, and nothing else."""
    names = ["status", "tensor", "message", "client", "version"]
    names += ["server"] if library == "graphpipe-server" else []
    declared = set()
    for name in names:
        text = (installed / f"include/graphpipe/{name}.h").read_text()
        declared |= set(re.findall(r"^GP_API[^;(]*?\b(gp_\w+)\(", text, re.MULTILINE))
    listed = run("nm", "-D", "--defined-only", installed / f"lib/lib{library}.so")
    exported = set(re.findall(r" T (\S+)", listed))
    assert exported == {f"{name}@@GRAPHPIPE_0.1" for name in declared}


def options_of(installed, command):
    """The long options in its --help, where they begin a line."""
    helped = run(installed / "bin/graphpipe", "help", command)
    return set(re.findall(r"^  (?:-\w, |    )(--[a-z][a-z0-9-]+)", helped, re.MULTILINE))


def test_man_page(installed):
    page = installed / "share/man/man1/graphpipe.1"
    for name in "graphpipe-onnx", "graphpipe-batcher", "graphpipe-echo":
        assert (installed / f"share/man/man1/{name}.1").read_text() == ".so man1/graphpipe.1\n"
    text = page.read_text().replace("\\-", "-").replace("\\&", "")
    for command in [*COMMANDS, "graphpipe-onnx", "graphpipe-batcher", "graphpipe-echo"]:
        for option in options_of(installed, command):
            assert f"\\fB{option}\\fR" in text, f"{command}: {option}"
    if shutil.which("groff"):
        assert run("groff", "-man", "-ww", "-Tascii", "-z", page) == ""


def complete(installed, *words):
    """What bash would offer for the last word."""
    script = f"""source {installed}/share/bash-completion/completions/graphpipe
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _graphpipe; printf '%s\\n' "${{COMPREPLY[@]}}" """
    return run("bash", "-c", script, "bash", *words, cwd=installed).split()


def test_bash_completion(installed):
    assert complete(installed, "graphpipe", "") == ["--help", "--version", "help", *COMMANDS]
    assert complete(installed, "graphpipe", "in") == ["infer", "inspect"]
    assert complete(installed, "graphpipe", "serve", "--max-bo") == ["--max-body"]
    assert complete(installed, "graphpipe", "serve", "--log-format", "") == ["text", "json"]
    assert complete(installed, "graphpipe", "serve", "--log-format", "=", "j") == ["json"]
    assert complete(installed, "graphpipe", "infer", "x", "--save-dir", "l") == ["lib"]
    assert complete(installed, "graphpipe", "infer", "x", "s") == ["share"]
    assert complete(installed, "/bin/graphpipe-onnx", "--mo") == ["--model"]
    for command in COMMANDS:
        assert set(complete(installed, "graphpipe", command, "--")) == options_of(installed, command)


@pytest.mark.parametrize("shell, path", [("zsh", "share/zsh/site-functions/_graphpipe"),
                                         ("fish", "share/fish/vendor_completions.d/graphpipe.fish")])
def test_other_shells(installed, shell, path):
    text = (installed / path).read_text()
    for command in COMMANDS:
        assert command in text
    assert "max-body" in text and "text json" in text
    if shutil.which(shell):
        run(shell, "-n", installed / path)


def test_installed_program_finds_its_engines(installed):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GP_")}
    listed = run(installed / "bin/graphpipe", "engines", env=environment)
    assert str(installed / "lib/graphpipe") in listed


@pytest.mark.parametrize("name, version, files", [
    ("mxnet", "1.9.1", ["libgfortran.so.3", "libmxnet.so", "libopenblas.so.0"]),
    ("cntk", "2.7", ["libCntk.Core-2.7.so", "libCntk.Math-2.7.so", "libCntk.PerformanceProfiler-2.7.so",
                     "libiomp5.so", "libmklml_intel.so", "libmpi.so.12", "libmpi_cxx.so.1"]),
    ("caffe2", "1.7.1", ["lib", "lib/libc10.so", "lib/libgomp-75eea7e8.so.1", "lib/libtorch.so",
                         "lib/libtorch_cpu.so"])])
def test_component_of_a_runtime(installed, name, version, files):
    """Not installed by default, since it is large; then found where it lies."""
    need(name)
    folder = installed / "lib/graphpipe" / name
    assert not folder.exists()
    run("cmake", "--install", BUILD, "--prefix", installed, "--component", name)
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*")) == files
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GP_")}
    listed = run(installed / "bin/graphpipe", "engines", env=environment)
    assert re.search(rf"^{name} +{version} +ready +{folder}/\S+$", listed, re.M), listed
    shutil.rmtree(folder)
