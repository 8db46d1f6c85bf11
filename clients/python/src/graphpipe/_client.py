"""Client and AsyncClient: the same calls, for threads and for asyncio."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Union, overload
from urllib.parse import quote

from . import _message
from ._arrays import Array, to_array, to_tensor
from ._drive import drive
from ._errors import InvalidInput, ProtocolError, one_line, refusal
from ._http import MEDIA_TYPE, NEVER, Steps
from ._message import MAX_MESSAGE_BYTES, Fault, Metadata, Part, decode_answer, decode_metadata
from ._pool import Address, Pool

Inputs = Union[Any, Mapping[str, Any]]
Outputs = Union[None, str, Sequence[str]]
Result = Union[Array, "dict[str, Array]"]

DEFAULT: Any = object()  # the client's timeout


class Calls:
    """What both clients share: calls as steps, which each drives in its own way."""

    def __init__(self, address: str, *, timeout: float | None = 60.0,
                 headers: Mapping[str, str] | None = None,
                 max_answer_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """Makes a client for the server at `address`, and sends nothing yet.

        address: "http://HOST[:PORT][/MODEL]" or "unix:/path/of/socket[:/MODEL]"; the port is 9000
            by default. MODEL is "NAME" or "NAME/versions/N" where the server has several.
        timeout: seconds for a whole call, which the server is told too; None: no limit.
        headers: further fields of each request, for a proxy's tokens for instance.
        max_answer_bytes: a larger answer is refused with ProtocolError.

        Raises InvalidInput for an address that cannot be one.
        """
        self.timeout = timeout
        self._pool = Pool(Address(address), list((headers or {}).items()), max_answer_bytes)
        self._output_names: dict[str, list[str]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pool.address.text!r})"

    def _seconds(self, timeout: Any) -> float | None:
        seconds: float | None = self.timeout if timeout is DEFAULT else timeout
        return seconds

    def _until(self, timeout: float | None) -> float:
        if timeout is not None and not timeout > 0:
            raise InvalidInput(f"timeout is {timeout}; it has to be over 0 seconds")
        return NEVER if timeout is None or timeout > 1e6 else time.monotonic() + timeout

    def _path(self, model: str | None) -> str:
        return self._pool.address.path if model is None else "/" + quote(model.strip("/"))

    def _ask(self, path: str, parts: list[Part], until: float) -> Steps[Array]:
        answer = yield from self._pool.ask(path, parts, until)
        kind = answer.content_type
        if answer.status == 200 and not kind.startswith("text/"):
            return answer.body
        if answer.status == 200:
            raise ProtocolError(f"{self._pool.address.label}: {kind!a} is no answer of GraphPipe")
        code, text = None, ""
        if kind == MEDIA_TYPE:
            with suppress(ProtocolError):  # then the status has to do
                fault = decode_answer(answer.body.data)
                if isinstance(fault, Fault):
                    code, text = fault
        else:
            text = answer.body.tobytes().decode("utf-8", "replace")
        raise refusal(answer.status, code, text)

    def _metadata(self, path: str, until: float) -> Steps[Metadata]:
        body = yield from self._ask(path, _message.encode_metadata_request(), until)
        return decode_metadata(body.data)

    def _names(self, path: str, until: float) -> Steps[list[str]]:
        """The model's outputs, asked for once."""
        if path not in self._output_names:
            metadata = yield from self._metadata(path, until)
            self._output_names[path] = [io.name for io in metadata.outputs]
        return self._output_names[path]

    def _arrays(self, path: str, inputs: Sequence[Any], input_names: Sequence[str],
                output_names: Sequence[str], config: str, until: float) -> Steps[list[Array]]:
        names = input_names or [str(i) for i in range(len(inputs))]
        tensors = [to_tensor(value, f'input "{name}"') for name, value in zip(names, inputs)]
        request = _message.encode_infer(tensors, input_names, output_names, config)
        body = yield from self._ask(path, request, until)
        found = decode_answer(body.data)
        if isinstance(found, Fault):
            raise refusal(200, *found)
        if output_names and len(found) != len(output_names):
            raise ProtocolError(f"answer: {len(found)} outputs, {len(output_names)} were asked for")
        return [to_array(tensor) for tensor in found]

    def _execute(self, inputs: Sequence[Any], input_names: Sequence[str],
                 output_names: Sequence[str], config: str) -> Steps[list[Array]]:
        """The call of 2018, for remote.py: lists in and out."""
        path, until = self._path(None), self._until(self.timeout)
        return self._arrays(path, inputs, input_names, output_names, config, until)

    def _infer(self, inputs: Inputs, outputs: Outputs, config: str, model: str | None,
               timeout: float | None) -> Steps[Result]:
        path, until = self._path(model), self._until(timeout)
        values, names, asked = [inputs], [], []
        if isinstance(inputs, Mapping):
            names, values = list(inputs), list(inputs.values())
        is_one = isinstance(outputs, str) or (outputs is None and not names)
        if outputs is not None:
            asked = [outputs] if isinstance(outputs, str) else list(outputs)
        if not asked and not is_one:
            asked = yield from self._names(path, until)
        try:
            arrays = yield from self._arrays(path, values, names, asked, config, until)
        except InvalidInput:
            self._output_names.pop(path, None)  # the model may be another one now
            raise
        if not is_one:
            return dict(zip(asked or [f"output_{i}" for i in range(len(arrays))], arrays))
        if len(arrays) != 1:
            known = yield from self._names(path, until)
            raise InvalidInput(f"the model has {len(arrays)} outputs; choose with outputs=, of "
                               + one_line(", ".join(known)))
        return arrays[0]


class Client(Calls):
    """Asks the models of a server.

        with graphpipe.Client("http://127.0.0.1:9000") as client:
            scores = client.infer(images)

    Threads may share a client: each call has a connection for itself, which is kept for the next.
    A forked process makes its own. Call close(), or use `with`.
    """

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Calls in other threads finish."""
        self._pool.close()

    @overload
    def infer(self, inputs: Any, *, outputs: str, config: str = ..., model: str | None = ...,
              timeout: float | None = ...) -> Array: ...
    @overload
    def infer(self, inputs: Mapping[str, Any], *, outputs: Sequence[str] | None = ...,
              config: str = ..., model: str | None = ...,
              timeout: float | None = ...) -> dict[str, Array]: ...
    @overload
    def infer(self, inputs: Any, *, outputs: None = ..., config: str = ...,
              model: str | None = ..., timeout: float | None = ...) -> Array: ...
    @overload
    def infer(self, inputs: Any, *, outputs: Sequence[str], config: str = ...,
              model: str | None = ..., timeout: float | None = ...) -> dict[str, Array]: ...

    def infer(self, inputs: Inputs, *, outputs: Outputs = None, config: str = "",
              model: str | None = None, timeout: float | None = DEFAULT) -> Result:
        """Runs a model: an array in, an array out; a dict of arrays by name in, a dict out.

        inputs: anything that numpy can make an array of, in the model's type: nothing is converted
            but the order of bytes. Contiguous arrays are sent from their own memory. Rows come
            first: float32[n, 3, 224, 224] are n pictures. Strings: str, bytes or arrays of them.
        outputs: a name, for an array; several, for a dict. By default all that the metadata lists,
            or the only one.
        config: a text that the model gets as it is.
        model: "NAME" or "NAME/versions/N", instead of the address's.
        timeout: seconds, instead of the client's; None: no limit.

        The arrays are writable and the caller's; those of one call share one block of memory.
        Strings come as arrays of str (dtype object).

        Raises InvalidInput, NotFound, Busy, DeadlineExceeded, Unavailable, ModelError or
        ProtocolError, all of them GraphPipeError.
        """
        return drive(self._infer(inputs, outputs, config, model, self._seconds(timeout)))

    def metadata(self, model: str | None = None) -> Metadata:
        """Asks for the model's names, types and shapes. print() shows them as a table."""
        return drive(self._metadata(self._path(model), self._until(self.timeout)))

    def map(self, batches: Iterable[Inputs], *, in_flight: int = 8, progress: bool = False,
            **options: Any) -> Iterator[Any]:
        """Yields infer(batch, **options) for each batch, in order, with up to `in_flight` of them
        at the server at a time. An error comes where its batch's result would, and is the end.

        progress: shows a bar, if the package tqdm is there.
        """
        waiting: deque[Future[Any]] = deque()
        ask = partial(self.infer, **options)
        with ThreadPoolExecutor(checked(in_flight)) as threads:
            try:
                for batch in with_bar(batches, progress):
                    waiting.append(threads.submit(ask, batch))
                    if len(waiting) == in_flight:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def checked(in_flight: int) -> int:
    if in_flight < 1:
        raise ValueError(f"in_flight is {in_flight}; it has to be 1 or more")
    return in_flight


def with_bar(batches: Any, progress: bool) -> Any:
    try:
        import tqdm
    except ImportError:
        return batches
    return tqdm.tqdm(batches) if progress else batches
