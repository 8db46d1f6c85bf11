"""The engine python: what is refused before anything is served, interpreters, and the processes."""
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from harness import encode, eventually, http, read_all, start_fails
from python_models import (ECHO, PYTHON, floats, refused, run, serve, strings,  # noqa: F401
                           words, write)

# --- models and files -------------------------------------------------------------------

BAD = {
    "def infer(inputs:\n": "line 1: SyntaxError: ",
    "x = 1\nimport nosuch\n": f"line 2: ModuleNotFoundError: No module named 'nosuch' (in {sys.executable})",
    "\n\nraise ValueError('at\\nimport')": "line 3: ValueError: at import",
    "import sys\nsys.exit(4)": "line 2: SystemExit: 4",
    "x = 1": "neither a function infer(inputs) nor a class",
    "class A:\n  infer = 1\nclass B(A): pass": "several classes",
    "class A:\n  def __init__(self, x): pass\n  def infer(self, i): pass": "TypeError",
    "class A:\n  def load(self): 1/0\n  def infer(self, i): pass": "line 2: ZeroDivisionError",
    "inputs = {'x': 'float32'}\ndef infer(i): pass": "inputs['x'] is 'float32'; wanted is (",
    "inputs = {'x': ('float31', [1])}\ndef infer(i): pass": "inputs['x']",
    "inputs = {'x': ('float32', [-2])}\ndef infer(i): pass": "inputs['x']",
    "outputs = {'y': (complex, None)}\ndef infer(i): pass": "outputs['y']",
    "outputs = ['y']\ndef infer(i): pass": "outputs is ['y']; wanted is dict",
    "version = 2\ndef infer(i): pass": "version is 2; wanted is str",
    "max_batch = -1\ndef infer(i): pass": "max_batch is -1",
    "import os\nos._exit(5)": f"(exit status 5) when {sys.executable} opened the model",
    b"x = '\xff'": "SyntaxError",
    b"x = 1\0": "null bytes",
}


@pytest.mark.parametrize("source", BAD)
def test_models_that_are_refused_before_listening(tmp_path, source):
    path = tmp_path / "bad.py"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    line = start_fails(*PYTHON, path)
    assert BAD[source] in line and ("bad.py: " in line or "exit status" in line)


def test_files_and_options_that_are_refused(tmp_path):
    write(tmp_path, ECHO)
    assert "No such file" in start_fails(*PYTHON, tmp_path / "none.py")
    assert "No such file" in start_fails("--engine", "python", *PYTHON, tmp_path / "none.py")
    assert "is a folder" in start_fails("--engine", "python", *PYTHON, tmp_path)
    assert "needs a model" in start_fails("--engine", "python", *PYTHON)
    line = start_fails(*PYTHON, "--engine-option", "speed=1", tmp_path / "model.py")
    assert 'no option "speed=1"; it has python=PATH' in line
    done = run("inspect", tmp_path / "none.py", *PYTHON)
    assert done.returncode == 1 and "No such file" in done.stderr


# --- interpreters -----------------------------------------------------------------------

def venv(folder, with_numpy):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    if with_numpy:
        (site / "numpy.pth").write_text(str(pathlib.Path(np.__file__).parents[1]))
    return folder / "bin"


def script(folder, text):
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


PREFIX = "import sys\ndef infer(inputs): return sys.prefix\n"


def test_virtual_environments_by_path_and_activated(serve, tmp_path, monkeypatch):
    folder = venv(tmp_path / "venv", with_numpy=True)
    with serve(PREFIX, python=("--python", folder / "python")) as server:
        assert words(server.infer()) == str(folder.parent)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with serve(PREFIX, python=()) as server:
        assert words(server.infer()) == str(folder.parent)


def test_interpreters_that_do_not_do(tmp_path):
    model = write(tmp_path, ECHO)
    bare = venv(tmp_path / "bare", with_numpy=False) / "python"
    old = script(tmp_path, f"""exec '{sys.executable}' -c 'import runpy, sys
sys.version_info = (3, 7, 1, "final", 0); del sys.argv[0]; runpy.run_path(sys.argv[0], None,
"__main__")' "$@" """)
    between = tmp_path / "between"
    between.mkdir()
    for python, *said in (
            ["/nowhere/python", 'cannot start the interpreter "/nowhere/python": No such file'],
            [bare, f"{bare} has no numpy: {bare} -m pip install numpy"],
            [old, "is Python 3.7.1; the python engine needs 3.8 or newer"],
            ["/bin/false", "/bin/false", "exit status 1"],
            [script(between, f"'{sys.executable}' \"$@\"; exit"), "between the server and it"]):
        option = ("--engine-option", f"python={python}")
        line = start_fails(*option, model)
        assert all(part in line for part in said), line
        if python in ("/nowhere/python", bare, old):
            listed = run("engines", *option).stdout
            assert "runtime not installed" in listed and said[0] in listed
    assert f"numpy {np.__version__}" in run("engines", *PYTHON).stdout
    assert f"numpy {np.__version__}" in run("engines", "--python", sys.executable).stdout


def test_threads_of_libraries(serve):
    source = "import os\ndef infer(inputs): return os.environ['OPENBLAS_NUM_THREADS']\n"
    for arguments, threads in (("--threads", 3), 3), ((), None):
        with serve(source, *arguments) as server:
            assert words(server.infer()) == str(threads or server.n_cores)


# --- the process ------------------------------------------------------------------------

BREAKS = """
    import os, signal, time
    def infer(inputs):
        what = inputs["x"][0].decode()
        if what == "exit": os._exit(7)
        if what == "crash": os.kill(os.getpid(), signal.SIGSEGV)
        while what.startswith("/") and not os.path.exists(what): time.sleep(0.001)
        if what == "hang": time.sleep(1000)
        return what
"""


@pytest.mark.parametrize("what, said", {"exit": "exit status 7", "crash": "signal 11"}.items())
def test_a_process_that_ends_starts_again(serve, gate, what, said):
    with serve(BREAKS, n=2) as server, server.connect() as other:
        other.send(http("POST", "/", encode(strings(bytes(gate)))))
        eventually(lambda: server.metrics()["in_flight"] >= 2)
        refused(server.infer(strings(what.encode())), 503, said, "starts again")
        eventually(lambda: server.metrics()['children{state="ready"}'] == 2)
        assert server.metrics()["child_restarts_total"] == 1
        gate.touch()
        assert words(other.answer()) == str(gate)
        assert words(server.infer(strings(b"well"))) == "well"
        assert what == "exit" or server.logged("Fatal Python error: Segmentation fault")


def test_deadlines(serve, gate):
    """A run cannot be stopped: its process is late, and ended when it does not come back."""
    late = {"X-GraphPipe-Timeout-Ms": 100}
    with serve(BREAKS, "--hang-timeout", "1h") as server:
        refused(server.infer(strings(bytes(gate)), fields=late), 504)
        assert server.metrics()['children{state="late"}'] == 1
        gate.touch()
        assert words(server.infer(strings(b"next"))) == "next"
        assert server.metrics()["child_restarts_total"] == 0
    with serve(BREAKS, "--hang-timeout", "1s") as server:
        refused(server.infer(strings(b"hang"), fields=late), 504)
        assert words(server.infer(strings(b"next"))) == "next"
        assert server.metrics()['child_ended_total{reason="hang"}'] == 1


def test_what_is_printed_and_logged(serve):
    source = """
        import logging, sys
        print("at import")
        def infer(inputs):
            print("out"); print("err", file=sys.stderr)
            logging.getLogger("mine").warning("two\\nlines")
            return sys.stdin.read()
    """
    with serve(source) as server:
        assert words(server.infer()) == ""
        for line in ("at import", "out", "err"):
            eventually(lambda: f"engine: slot 0: {line}" in server.lines)
        assert server.logged("warning: engine: two") and server.logged("warning: engine: lines")


def test_processes_of_the_models_have_no_descriptors_and_end_with_it(serve):
    source = """
        import os, signal, subprocess
        import graphpipe
        def infer(inputs):
            listed = subprocess.run(["ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE,
                                    close_fds=False).stdout.decode()
            pid = os.fork()
            if pid == 0:
                open = os.listdir("/proc/self/fd")
                sockets = [fd for fd in open if os.path.islink("/proc/self/fd/" + fd)
                           and "socket:" in os.readlink("/proc/self/fd/" + fd)]
                graphpipe.empty(10000)
                os._exit(len(sockets))
            status = os.waitpid(pid, 0)[1]
            child = subprocess.Popen(["sleep", "1000"])
            if "x" in inputs: os.kill(os.getpid(), signal.SIGKILL)
            child.kill()
            child.wait()
            return [str(status), str("socket" in listed), str("memfd" in listed)]
    """
    with serve(source) as server:
        assert words(server.infer()) == "0 False False"
        group = server.children()[0]
        assert running(group)
        refused(server.infer(floats(1), input_names=["x"]), 503, "signal 9")
        eventually(lambda: not running(group))


def running(group):
    """The processes of a group, without those that only wait to be waited for."""
    found = []
    for path, stat in read_all(pathlib.Path("/proc").glob("[0-9]*/stat")).items():
        state, _, its_group = stat.rsplit(") ", 1)[1].split()[:3]
        if int(its_group) == group and state != "Z":
            found.append(path.parent.name)
    return found


def test_no_process_outlives_the_server(serve):
    """Neither one that waits nor one that is busy."""
    with serve(BREAKS, n=2) as server, server.connect() as connection:
        pids = server.children()
        connection.send(http("POST", "/", encode(strings(b"hang"))))
        eventually(lambda: server.metrics()["in_flight"] >= 2)
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
        server.wait(5)
        server.expect_status(-signal.SIGKILL)


def test_stopping_does_not_wait_for_a_run_that_hangs(serve):
    with serve(BREAKS, "--drain-timeout", "500ms") as server, server.connect() as connection:
        connection.send(http("POST", "/", encode(strings(b"hang"))))
        eventually(lambda: server.metrics()["in_flight"] >= 2)
        server.signal()
        server.ends(5)
