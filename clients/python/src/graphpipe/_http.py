"""One request over HTTP/1.1, on a connection that is kept for the next.

The code is written once for threads and for asyncio: it is a generator that yields what it has to
wait for, and whoever drives it (_drive.py) waits. Sockets never block. A request's parts are sent
from where they lie, and an answer's body is received into the memory that the caller's arrays get.
"""

from __future__ import annotations

import os
import re
import select
import socket
import struct
from collections import deque
from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeVar, Union

from ._arrays import Array, aligned_buffer
from ._errors import DeadlineExceeded, ProtocolError, Unavailable
from ._message import Part

READ, WRITE = select.POLLIN, select.POLLOUT
NEVER = float("inf")
MEDIA_TYPE = "application/x-graphpipe"

_CONNECT_SECONDS = 5.0
_MAX_HEAD_BYTES, _MAX_LINE_BYTES, _MAX_INTERIM = 65536, 4096, 32
_MAX_REASON_BYTES = 1 << 20
_READ_BYTES = 16384
_PARTS_AT_ONCE = 128  # far below IOV_MAX


class Wait(NamedTuple):
    """For the socket, until a time of time.monotonic(); then TimeoutError is thrown."""

    sock: socket.socket
    events: int
    until: float


class Resolve(NamedTuple):
    """For the results of getaddrinfo; OSError is thrown."""

    host: str
    port: int
    until: float


T = TypeVar("T")
Steps = Generator[Union[Wait, Resolve], object, T]


class Answer(NamedTuple):
    status: int
    content_type: str  # in lower case, without parameters
    body: Array


class Lost(Unavailable):
    """The connection ended before a byte of an answer came."""


# --- a connection -----------------------------------------------------------------------


class Connection:
    """A socket, and what came of the answer with its head."""

    def __init__(self, sock: socket.socket, label: str) -> None:
        self.sock, self.label = sock, label
        self.pid = os.getpid()  # a child that was forked must not use it
        self.n_sent = 0
        self.has_answered = self.is_sent = self.was_reset = False
        self.received = bytearray()
        self.n_interim = 0

    def close(self) -> None:
        self.sock.close()

    def is_fresh(self) -> bool:
        """False once the server has closed it, or said something unasked."""
        poller = select.poll()
        poller.register(self.sock, READ)
        return self.pid == os.getpid() and not poller.poll(0)

    def cannot_have_run(self) -> bool:
        """True if the server has certainly not received the whole request: not all was sent, or its
        kernel has not acknowledged it, or says that bytes were unread when it was closed."""
        if not self.is_sent or self.sock.family == socket.AF_UNIX:
            return not self.is_sent or self.was_reset
        try:
            info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
            n_acknowledged: int = struct.unpack_from("<Q", info, 120)[0]
        except (AttributeError, OSError, struct.error):  # not on Linux
            return False
        return n_acknowledged < self.n_sent  # it may count 1 for the beginning

    def _lost(self, error: OSError | None) -> Unavailable:
        if self.has_answered:
            return Unavailable(f"{self.label}: the connection ended in the middle of the answer")
        self.was_reset = isinstance(error, ConnectionResetError)
        return Lost(f"{self.label}: the server closed the connection without an answer")

    def wait(self, events: int, until: float, doing: str) -> Steps[int]:
        try:
            return (yield Wait(self.sock, events, until))  # type: ignore[return-value]
        except TimeoutError:
            raise DeadlineExceeded(f"{self.label}: the time is up while {doing}") from None

    # --- sending ---

    def send(self, parts: Sequence[Part], until: float) -> Steps[Head | None]:
        """Sends until all is sent or an answer has come, whose head it returns: a server may refuse
        a request before it has read all of it, and its words matter more than a broken pipe."""
        rest = deque(memoryview(part) for part in parts if len(part))
        while rest:
            try:
                n = self.sock.sendmsg([rest[i] for i in range(min(len(rest), _PARTS_AT_ONCE))])
            except BlockingIOError:
                if (yield from self.wait(READ | WRITE, until, "sending the request")) & ~WRITE:
                    yield from self.fill(until)
                    head = self._parse_head()
                    if head:
                        return head
                continue
            except (BrokenPipeError, ConnectionResetError):
                return None  # the server may have said why
            self.n_sent += n
            while rest and n >= len(rest[0]):
                n -= len(rest.popleft())
            if n:
                rest[0] = rest[0][n:]
        self.is_sent = True
        return None

    # --- receiving ---

    def receive_into(self, buffer: memoryview, until: float) -> Steps[int]:
        """Some bytes, at least one."""
        while True:
            yield from self.wait(READ, until, "waiting for the answer")
            try:
                n = self.sock.recv_into(buffer)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._lost(error) from error
            if n == 0:
                raise self._lost(None)
            self.has_answered = True
            return n

    def fill(self, until: float) -> Steps[None]:
        """Some more bytes to `received`."""
        piece = bytearray(_READ_BYTES)
        n = yield from self.receive_into(memoryview(piece), until)
        self.received += piece[:n]

    def _parse_head(self) -> Head | None:
        """The head of the final answer, once all of it has come. Interim ones are dropped."""
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = Head(bytes(self.received[:end]))
            del self.received[: end + 4]
            self.n_interim += 1
            if head.status >= 200:
                return head
            if head.status == 101 or self.n_interim > _MAX_INTERIM:
                raise ProtocolError("answer: no final answer came")
        if len(self.received) > _MAX_HEAD_BYTES:
            raise ProtocolError(f"answer: a head of over {_MAX_HEAD_BYTES} bytes")
        return None

    def line(self, until: float) -> Steps[bytes]:
        """The line of a chunk's size, or of a trailer."""
        while (end := self.received.find(b"\r\n")) < 0:
            if len(self.received) > _MAX_LINE_BYTES:
                raise ProtocolError(f"answer: a line of over {_MAX_LINE_BYTES} bytes in its chunks")
            yield from self.fill(until)
        line = bytes(self.received[:end])
        del self.received[: end + 2]
        return line

    def take(self, buffer: Array, until: float) -> Steps[None]:
        """Fills the buffer."""
        n = min(len(buffer), len(self.received))
        buffer[:n] = memoryview(self.received)[:n]
        del self.received[:n]
        while n < len(buffer):
            n += yield from self.receive_into(buffer.data[n:], until)

    def body(self, head: Head, limit: int, until: float) -> Steps[Array]:
        """The body, in one buffer. The buffer of a body without a known length grows with it."""
        if head.is_chunked:
            return (yield from self._chunks(limit, until))
        if head.length > limit:
            raise ProtocolError(f"answer: {head.length} bytes, over the limit of {limit}")
        buffer = aligned_buffer(head.length)
        yield from self.take(buffer, until)
        return buffer

    def _chunks(self, limit: int, until: float) -> Steps[Array]:
        buffer, used = aligned_buffer(_READ_BYTES), 0
        while True:
            line = yield from self.line(until)
            size = line.split(b";")[0].strip()
            if not re.fullmatch(b"[0-9a-fA-F]{1,8}", size):
                raise ProtocolError("answer: a chunk without a size")
            n = int(size, 16)
            if n > limit - used:
                raise ProtocolError(f"answer: over the limit of {limit} bytes")
            if n == 0:
                break
            while n:
                piece = min(n, max(used, _READ_BYTES))
                if used + piece > len(buffer):
                    larger = aligned_buffer(2 * (used + piece))
                    larger[:used] = buffer[:used]
                    buffer = larger
                yield from self.take(buffer[used : used + piece], until)
                used, n = used + piece, n - piece
            if (yield from self.line(until)):
                raise ProtocolError("answer: a chunk is longer than its size")
        for _ in range(_MAX_INTERIM):
            if not (yield from self.line(until)):
                return buffer[:used]
        raise ProtocolError("answer: too many trailers")

    def ask(self, parts: Sequence[Part], limit: int, until: float) -> Steps[tuple[Answer, bool]]:
        """Sends a request and receives its answer; and whether the connection can be kept."""
        self.has_answered = self.is_sent = False
        self.n_interim = 0
        head = yield from self.send(parts, until)
        while head is None:
            yield from self.fill(until)
            head = self._parse_head()
        keeps, is_good = head.keeps, head.status == 200
        try:
            body = yield from self.body(head, limit if is_good else _MAX_REASON_BYTES, until)
        except (ProtocolError, Unavailable):
            if is_good:
                raise
            body, keeps = aligned_buffer(0), False  # the status says more than half a reason
        keeps = keeps and self.is_sent and not self.received
        return Answer(head.status, head.content_type, body), keeps


_STATUS = re.compile(r"HTTP/1\.([01]) ([0-9]{3})(?: .*)?")
_FIELD = re.compile(r"([!-9;-~]+):(.*)")


class Head:
    """What matters of an answer's head."""

    def __init__(self, data: bytes) -> None:
        first, *lines = data.decode("latin-1").split("\r\n")
        found = _STATUS.fullmatch(first)
        if not found:
            raise ProtocolError(f"answer: it begins with {first[:40]!a}, which is not HTTP/1.1")
        self.status = int(found[2])
        fields: dict[str, str] = {}
        for line in lines:
            field = _FIELD.fullmatch(line)
            if not field:
                raise ProtocolError(f"answer: {line[:40]!a} is no field of a head")
            name, value = field[1].lower(), field[2]
            if name in fields and name in ("content-length", "transfer-encoding"):
                raise ProtocolError(f"answer: {name} came twice")
            fields[name] = value.strip(" \t")
        coding, length = fields.get("transfer-encoding"), fields.get("content-length")
        self.is_chunked = (coding or "").lower() == "chunked"
        if coding is not None and (not self.is_chunked or length is not None):
            raise ProtocolError(f"answer: transfer-encoding {coding[:40]!a}")
        if length is None and self.status != 200:
            length = "0"
        if coding is None and not re.fullmatch("[0-9]{1,15}", length or ""):
            raise ProtocolError("answer: it has neither a length nor chunks")
        self.length = int(length or 0)
        self.content_type = fields.get("content-type", "").split(";")[0].strip().lower()
        options = fields.get("connection", "").lower()
        self.keeps = (
            "close" not in options
            and (found[1] == "1" or "keep-alive" in options)
            and (self.is_chunked or "content-length" in fields)
        )
