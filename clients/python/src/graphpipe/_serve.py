"""Serves a function of this process, by the program graphpipe."""

from __future__ import annotations

import ctypes
import inspect
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, Listener
from typing import Any

from ._errors import InvalidInput

IOs = Mapping[str, "tuple[Any, Sequence[int] | None]"]

_PR_SET_PDEATHSIG = 1


def serve(function: Callable[..., Any], listen: str = "127.0.0.1:9000", *, name: str | None = None,
          inputs: IOs | None = None, outputs: IOs | None = None, instances: int = 1,
          options: Sequence[str] = (), program: str = "graphpipe") -> None:
    """Serves a function until the process is interrupted (SIGINT).

        graphpipe.serve(lambda x: x * 2, listen="127.0.0.1:9001")

    function: gets an array for each of its parameters, read-only, and returns an array, a tuple of
        arrays, or a dict of them by name. It runs here, in threads: closures and what is in memory
        work as they are. InvalidInput refuses a request; other exceptions are logged here.
    listen: "HOST:PORT", ":PORT" or "unix:/path".
    inputs, outputs: by name, ("float32", [-1, 3]) with -1 or None for any size; by default the
        function's parameters without defaults, and what it returns, of any type and shape.
    instances: how many calls may run at a time, each in a thread of its own.
    options: further ones of `graphpipe serve`, ["--max-batch", "32"] for instance.
    program: its name or path.

    Arrays are copied between the server and this process; a model that is a file of its own, given
    to `graphpipe serve`, is not, and has a process for each instance.

    Raises FileNotFoundError without the program, and RuntimeError if the server cannot start.
    """
    path = shutil.which(program)
    if not path:
        raise FileNotFoundError(f"there is no program {program}: install GraphPipe's server, or "
                                "say where it is with program=")
    names = list(inputs or _parameters(function))
    about = (name or getattr(function, "__name__", "").strip("<>") or "function",
             inputs or dict.fromkeys(names, (None, None)), outputs)
    key = secrets.token_bytes(16)
    with tempfile.TemporaryDirectory() as folder, \
            Listener(f"{folder}/socket", "AF_UNIX", authkey=key) as listener:
        threading.Thread(target=_accept, args=(listener, function, names, about),
                         daemon=True).start()
        command = [path, "serve", "--engine", "python", "--python", sys.executable,
                   "--instances", str(instances), "--listen", listen, *options,
                   os.path.join(os.path.dirname(__file__), "_served.py")]
        status = _run(command, {"GRAPHPIPE_SERVE_SOCKET": f"{folder}/socket",
                                "GRAPHPIPE_SERVE_KEY": key.hex()})
    if status:
        raise RuntimeError(f"graphpipe serve ended with status {status}")


def _run(command: Sequence[str], more: Mapping[str, str]) -> int:
    """Runs the server, which ends when this process does."""
    libc = ctypes.CDLL(None)
    server = subprocess.Popen(command, env={**os.environ, **more}, start_new_session=True,
                              preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM))
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        return server.wait()
    finally:
        server.kill()


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of a builtin
        return ["x"]
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


def _accept(listener: Listener, function: Callable[..., Any], names: Sequence[str],
            about: object) -> None:
    while True:
        try:
            connection = listener.accept()
        except OSError:  # it was closed
            return
        threading.Thread(target=_answer, args=(connection, function, names, about),
                         daemon=True).start()


def _answer(connection: Connection[Any, Any], function: Callable[..., Any], names: Sequence[str],
            about: object) -> None:
    """Answers one process of the server."""
    with connection:
        connection.send(about)
        while True:
            try:
                inputs = connection.recv()
            except (EOFError, ConnectionError):
                return
            try:
                answer = "done", function(*(inputs[name] for name in names))
            except InvalidInput as error:
                answer = "refused", str(error)
            except Exception as error:
                logging.getLogger("graphpipe").exception("the served function failed")
                answer = "failed", f"{type(error).__name__}: {error}"
            connection.send(answer)
