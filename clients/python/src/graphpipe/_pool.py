"""Where a server is, and the connections to it: one for each call at a time, kept for the next."""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections import deque
from collections.abc import Sequence
from urllib.parse import quote

from ._errors import DeadlineExceeded, InvalidInput, Unavailable
from ._http import MEDIA_TYPE, NEVER, WRITE, Answer, Connection, Lost, Resolve, Steps, Wait
from ._message import Part

_CONNECT_SECONDS = 5.0

# --- addresses --------------------------------------------------------------------------


_HTTP_ADDRESS = re.compile(r"(?:http://)?(\[[\w:.%]+\]|[\w.~-]+)(?::(\d{1,5}))?(?:/([^#]*))?", re.A)


class Address:
    """http://HOST[:PORT][/PATH] or unix:/path/of/socket[:/PATH]. The port is 9000 by default; an
    IPv6 host is in brackets. PATH is that of the model that calls are for."""

    def __init__(self, text: str) -> None:
        self.text, self.host, self.port, self.socket_path = text, "", 0, ""
        if not text.isprintable():
            raise InvalidInput(f"address {text!r} has control characters")
        if text.startswith("https:"):
            raise InvalidInput(f"address {text!r}: there is no TLS yet; put a proxy beside you")
        if text.startswith("unix:"):
            path, _, target = text[5:].partition(":/")
            self.socket_path = re.sub("^//+", "/", path)
            self.host_field = "localhost"
            self.label = f"unix:{self.socket_path}"
            if not self.socket_path:
                raise InvalidInput(f"address {text!r} has no path after unix:")
        else:
            found = _HTTP_ADDRESS.fullmatch(text)
            if not found or not 0 < int(found[2] or 9000) < 65536:
                raise InvalidInput(f"address {text!r} is neither http://HOST[:PORT][/PATH] nor "
                                   "unix:/path/of/socket[:/PATH]")
            self.host, self.port = found[1].strip("[]"), int(found[2] or 9000)
            target = found[3] or ""
            self.host_field = f"{re.sub('%.*]', ']', found[1])}:{self.port}"
            self.label = f"http://{self.host_field}"
        self.path = "/" + quote(target.lstrip("/"), safe="/?=&%:@+,;!$'()*")


# --- connections ------------------------------------------------------------------------


def _open_socket(family: int, target: object, until: float) -> Steps[socket.socket]:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = sock.connect_ex(target)  # type: ignore[arg-type]
        if error == errno.EINPROGRESS:
            yield Wait(sock, WRITE, until)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        return sock
    except BaseException:
        sock.close()
        raise


def connect(address: Address, until: float) -> Steps[Connection]:
    """A new connection, to the first of the host's addresses that takes it."""
    deadline, until = until, min(until, time.monotonic() + _CONNECT_SECONDS)
    why: Exception = OSError("the name has no address")
    try:
        found: object = [(socket.AF_UNIX, 0, 0, "", address.socket_path)]
        if not address.socket_path:
            found = yield Resolve(address.host, address.port, until)
        for family, _, _, _, target in found:  # type: ignore[attr-defined]
            try:
                return Connection((yield from _open_socket(family, target, until)), address.label)
            except OSError as error:
                why = error
    except (OSError, UnicodeError) as error:
        why = error
    if isinstance(why, TimeoutError) and until == deadline:
        raise DeadlineExceeded(f"{address.label}: the time is up while connecting")
    reason = "no answer in time" if isinstance(why, TimeoutError) else getattr(why, "strerror", why)
    raise Unavailable(f"cannot connect to {address.label}: {reason or why}")


class Pool:
    """The connections to a server that no call uses now. Any thread may call it."""

    def __init__(self, address: Address, fields: Sequence[tuple[str, str]], limit: int) -> None:
        self.address, self.limit = address, limit
        self.idle: deque[Connection] = deque()
        self.is_closed = False
        self.fields = "".join(f"{name}: {value}\r\n" for name, value in fields)
        if not all(text.isprintable() and text.isascii() for field in fields for text in field):
            raise InvalidInput("headers have characters that are not printable ASCII")

    def close(self) -> None:
        self.is_closed = True
        while self.idle:
            self.idle.pop().close()

    def _take(self) -> Connection | None:
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                return None
            if connection.is_fresh():
                return connection
            connection.close()

    def _give(self, connection: Connection) -> None:
        self.idle.append(connection)
        if self.is_closed:
            self.close()

    def _head(self, path: str, size: int, until: float) -> bytes:
        head = (f"POST {path} HTTP/1.1\r\nHost: {self.address.host_field}\r\n"
                f"Accept: {MEDIA_TYPE}\r\nContent-Type: {MEDIA_TYPE}\r\n"
                f"Content-Length: {size}\r\n{self.fields}")
        if until != NEVER:
            left = max(1, min(int((until - time.monotonic()) * 1000 + 0.999), 0xFFFFFFFF))
            head += f"X-GraphPipe-Timeout-Ms: {left}\r\n"
        return (head + "\r\n").encode("latin-1")

    def ask(self, path: str, parts: Sequence[Part], until: float) -> Steps[Answer]:
        """One request and its answer, whatever its HTTP status. A kept connection that the server
        has closed meanwhile is replaced, and the request sent again if it cannot have been run."""
        if self.is_closed:
            raise RuntimeError("the client is closed")
        size, may_keep = sum(map(len, parts)), True
        while True:
            if time.monotonic() >= until:
                raise DeadlineExceeded(
                    f"{self.address.label}: the time was up before the request was sent"
                )
            kept = self._take() if may_keep else None
            connection = kept or (yield from connect(self.address, until))
            keeps = False
            try:
                whole = [self._head(path, size, until), *parts]
                answer, keeps = yield from connection.ask(whole, self.limit, until)
                return answer
            except Lost:
                if not kept or not connection.cannot_have_run():
                    raise
                may_keep = False
            finally:
                if keeps:
                    self._give(connection)
                else:
                    connection.close()
