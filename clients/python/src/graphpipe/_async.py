"""AsyncClient: the calls of Client for asyncio."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, overload

from ._arrays import Array
from ._client import DEFAULT, Calls, Inputs, Outputs, Result, checked, with_bar
from ._drive import seconds_until
from ._http import READ, WRITE, Resolve, Steps, Wait
from ._message import Metadata

T = TypeVar("T")


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
        await asyncio.wait([future], timeout=seconds_until(until))
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


class AsyncClient(Calls):
    """The same for asyncio: `async with`, and `await` before each call.

    Its calls may run beside each other in one event loop. Cancelling one closes its connection, at
    which the server stops the run.
    """

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections that no call uses; the others when they are done."""
        self._pool.close()

    @overload
    async def infer(self, inputs: Any, *, outputs: str, config: str = ..., model: str | None = ...,
                    timeout: float | None = ...) -> Array: ...
    @overload
    async def infer(self, inputs: Mapping[str, Any], *, outputs: Sequence[str] | None = ...,
                    config: str = ..., model: str | None = ...,
                    timeout: float | None = ...) -> dict[str, Array]: ...
    @overload
    async def infer(self, inputs: Any, *, outputs: None = ..., config: str = ...,
                    model: str | None = ..., timeout: float | None = ...) -> Array: ...
    @overload
    async def infer(self, inputs: Any, *, outputs: Sequence[str], config: str = ...,
                    model: str | None = ..., timeout: float | None = ...) -> dict[str, Array]: ...

    async def infer(self, inputs: Inputs, *, outputs: Outputs = None, config: str = "",
                    model: str | None = None, timeout: float | None = DEFAULT) -> Result:
        """As Client.infer()."""
        steps = self._infer(inputs, outputs, config, model, self._seconds(timeout))
        return await drive_async(steps)

    async def metadata(self, model: str | None = None) -> Metadata:
        """As Client.metadata()."""
        return await drive_async(self._metadata(self._path(model), self._until(self.timeout)))

    async def map(self, batches: Iterable[Inputs] | AsyncIterable[Inputs], *, in_flight: int = 8,
                  progress: bool = False, **options: Any) -> AsyncIterator[Any]:
        """As Client.map(), of an iterable or an async one."""
        waiting: deque[asyncio.Task[Any]] = deque()
        checked(in_flight)
        try:
            async for batch in _each(with_bar(batches, progress)):
                waiting.append(asyncio.ensure_future(self.infer(batch, **options)))
                if len(waiting) == in_flight:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def _each(batches: Iterable[Inputs] | AsyncIterable[Inputs]) -> AsyncIterator[Inputs]:
    if isinstance(batches, AsyncIterable):
        async for batch in batches:
            yield batch
    else:
        for batch in batches:
            yield batch
