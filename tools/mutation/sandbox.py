"""Runs one test program that may do anything, since a mutant may: in a namespace of processes of its
own, so that it sees nobody else's, and nothing that it started outlives it; with a /tmp of its own;
as the first that the kernel ends when memory runs out; and bounded in time and memory."""

import functools
import os
import pathlib
import select
import signal
import subprocess
import time

MEMORY_BYTES = 2 << 30  # of a test and what it started; the unit tests need a tenth of it
LOOK_S = 0.2
SCRIPT = """ulimit -c 0; echo 1000 >/proc/self/oom_score_adj
[ "$1" ] || mount -t tmpfs -o size=256m tmpfs /tmp
shift; "$@"; exit $?"""


@functools.cache
def namespaces():
    """The words that put a command into them; None where the machine does not let us."""
    words = ["unshare", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        words[1:1] = ["--user", "--map-root-user"]
    tried = subprocess.run([*words, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return words if tried.returncode == 0 else None


def confined(command):
    words = namespaces()
    if not words:
        return command
    in_tmp = pathlib.Path.cwd().is_relative_to("/tmp")  # then a new /tmp would hide the build
    return [*words, "sh", "-c", SCRIPT, "sh", "in /tmp" if in_tmp else "", *command]


def memory_of(pid):
    """Bytes that a process and its descendants have in memory; shared ones count for each."""
    total = 0
    try:
        total = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            total += sum(map(memory_of, (task / "children").read_text().split()))
    except (OSError, IndexError):
        pass  # it ended meanwhile
    return total


def verdict(process, limit_s):
    """Reads what the process prints until it ends, or shows that it would fail."""
    end, tail = time.monotonic() + limit_s, b""
    while True:
        if select.select([process.stdout], [], [], LOOK_S)[0]:
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                break
            tail = tail[-32:] + piece
            if b"[  FAILED  ]" in tail:  # cmocka goes on with its other tests
                return "failed"
        if time.monotonic() > end:
            return "hung"
        if memory_of(process.pid) > MEMORY_BYTES:
            return "memory"
    try:
        return "failed" if process.wait(max(1, end - time.monotonic())) else "passed"
    except subprocess.TimeoutExpired:  # it has closed its output
        return "hung"


def run(command, environment, cwd, limit_s):
    """"passed", "failed", "hung" or "memory"."""
    with subprocess.Popen(confined(command), env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True) as process:
        try:
            return verdict(process, limit_s)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
