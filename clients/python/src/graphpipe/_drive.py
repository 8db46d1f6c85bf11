"""Waits, in this thread, for what _http.py asks to wait for."""

from __future__ import annotations

import queue
import select
import socket
import threading
import time
from typing import TypeVar

from ._http import NEVER, Resolve, Steps, Wait

T = TypeVar("T")


def seconds_until(until: float) -> float | None:
    return None if until == NEVER else max(0.0, until - time.monotonic())


def drive(steps: Steps[T]) -> T:
    """Runs the steps in this thread."""
    try:
        want = next(steps)
        while True:
            try:
                got: object = _wait(want) if isinstance(want, Wait) else _resolve(want)
            except (OSError, UnicodeError) as error:
                want = steps.throw(error)
            else:
                want = steps.send(got)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()


def _wait(want: Wait) -> int:
    poller = select.poll()
    poller.register(want.sock, want.events)
    seconds = seconds_until(want.until)
    found = poller.poll(None if seconds is None else seconds * 1000)
    if not found:
        raise TimeoutError
    return found[0][1]


def _resolve(want: Resolve) -> object:
    """In a thread of its own, since getaddrinfo() knows no limit of time."""
    results: queue.SimpleQueue[object] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            results.put(socket.getaddrinfo(want.host, want.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            results.put(error)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        found = results.get(timeout=seconds_until(want.until))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found
