"""Waits for what _http.py asks to wait for: in a thread, or in asyncio's loop."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from typing import TypeVar

from ._http import NEVER, READ, WRITE, Resolve, Steps, Wait

T = TypeVar("T")


def _seconds(until: float) -> float | None:
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
    seconds = _seconds(want.until)
    found = poller.poll(None if seconds is None else seconds * 1000)
    if not found:
        raise TimeoutError
    return found[0][1]


def _resolve(want: Resolve) -> object:
    return socket.getaddrinfo(want.host, want.port, type=socket.SOCK_STREAM)


async def drive_async(steps: Steps[T]) -> T:
    """Runs the steps in a task. If it is cancelled, the connection is closed."""
    try:
        want = next(steps)
        while True:
            try:
                got: object
                if isinstance(want, Wait):
                    got = await _wait_async(want)
                else:
                    got = await _resolve_async(want)
            except (OSError, UnicodeError) as error:
                want = steps.throw(error)
            else:
                want = steps.send(got)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()


async def _result(future: asyncio.Future[T], until: float) -> T:
    try:
        await asyncio.wait([future], timeout=_seconds(until))
        if not future.done():
            raise TimeoutError
        return future.result()
    finally:
        future.cancel()


async def _resolve_async(want: Resolve) -> object:
    loop = asyncio.get_running_loop()
    found = loop.getaddrinfo(want.host, want.port, type=socket.SOCK_STREAM)
    return await _result(asyncio.ensure_future(found), want.until)


async def _wait_async(want: Wait) -> int:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[int] = loop.create_future()

    def tell(event: int) -> None:
        if not ready.done():
            ready.set_result(event)

    if want.events & READ:
        loop.add_reader(want.sock, tell, READ)
    if want.events & WRITE:
        loop.add_writer(want.sock, tell, WRITE)
    try:
        return await _result(ready, want.until)
    finally:
        loop.remove_reader(want.sock)
        loop.remove_writer(want.sock)
