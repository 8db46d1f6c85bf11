"""The model that serve() has the server run: it hands each request to the process that called it.
The server's python engine executes this file; see _serve.py for the other end."""

import os
from multiprocessing.connection import Client
from typing import Any

import graphpipe

_caller = Client(os.environ["GRAPHPIPE_SERVE_SOCKET"], "AF_UNIX",
                 authkey=bytes.fromhex(os.environ["GRAPHPIPE_SERVE_KEY"]))
name, inputs, outputs = _caller.recv()


def infer(inputs: dict[str, Any]) -> Any:
    _caller.send(dict(inputs))
    kind, value = _caller.recv()
    if kind == "refused":
        raise graphpipe.InvalidInput(value)
    if kind == "failed":
        raise RuntimeError(value)
    return value
