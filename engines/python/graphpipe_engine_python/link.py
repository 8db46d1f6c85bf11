"""The link to the server: the records of src/engine/record.h over a socket. No number is trusted
before it is checked. This file must parse in Python 2 and not need numpy: an unsuitable interpreter
reports its error through it."""
import logging
import os
import socket
import struct
import threading

# record.h, engine.h, status.h and tensor.h; tests/e2e/test_python_records.py compares them.
CONTRACT, MAX_BYTES, INLINE, SMALL_BYTES = 4, 1 << 20, (1 << 64) - 1, 4096
OPEN, OPENED, RUN, ALLOC, PLACE, DONE, FAILED, LOG = range(1, 9)
INVALID, NOT_FOUND, TOO_LARGE, INTERNAL, ENGINE = 1, 4, 7, 9, 10
UNSUPPORTED, NO_MEMORY, UNAVAILABLE = 11, 14, 15
LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG = range(4)
MAX_RANK, MAX_TENSORS = 32, 4096
DTYPES = ("null", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
          "float16", "float32", "float64", "string", "bool", "bfloat16")
STRIDES = (0, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 16, 1, 2)
STRING, BFLOAT16 = DTYPES.index("string"), DTYPES.index("bfloat16")
ANY_RANK = 2
ANY_INPUTS, ANY_OUTPUT, WRITES_OUTPUTS = 2, 4, 16

SOCKET, INPUTS, OUTPUTS, CANCEL = range(3, 7)  # the descriptors that are found
HEAD = struct.Struct("<IIQ")


class Failure(Exception):
    """An error for the server: a status, and a line for people; and a traceback for the log."""

    def __init__(self, status, message, trace=""):
        Exception.__init__(self, message)
        self.status, self.trace = status, trace


class Nonsense(Failure):
    """The bytes are not a record of the server."""

    def __init__(self):
        Failure.__init__(self, INTERNAL, "the worker does not understand its server")


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def text(value):
    """Bytes go unchanged; characters of a str that UTF-8 lacks are escaped."""
    if not isinstance(value, bytes):
        value = value.encode("utf-8", "backslashreplace")
    value = value.replace(b"\0", b"?")
    return u32(len(value)) + value + b"\0"


def failure(status, message):
    """The body of FAILED: the message as one line."""
    return u32(status) + text(" ".join(message.split())[:480])


class Record(object):
    """A received record. Reading beyond its end raises Nonsense."""

    def __init__(self, kind, run, body):
        self.kind, self.run, self.body, self.at = kind, run, body, 0

    def take(self, n):
        at, self.at = self.at, self.at + n
        if self.at > len(self.body):
            raise Nonsense()
        return self.body[at:self.at]

    def u32(self):
        return struct.unpack("<I", self.take(4))[0]

    def u64(self):
        return struct.unpack("<Q", self.take(8))[0]

    def shape(self):
        rank = self.u32()
        if rank > MAX_RANK:
            raise Nonsense()
        return struct.unpack("<%dq" % rank, self.take(8 * rank))

    def text(self):
        value = self.take(self.u32() + 1)
        if value.find(b"\0") != len(value) - 1:
            raise Nonsense()
        return value[:-1].decode("utf-8", "surrogateescape")  # a path may be no UTF-8

    def texts(self):
        return [self.text() for _ in range(self.u32())]


class Link(object):
    """The socket; EOFError when the server has gone. Any thread may log; one at a time reads."""

    def __init__(self):
        self.socket = socket.fromfd(SOCKET, socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.setblocking(True)
        os.close(SOCKET)
        self.lock = threading.RLock()
        self.received = bytearray()

    def fill(self, n):
        while len(self.received) < n:
            try:
                piece = self.socket.recv(65536)
            except EnvironmentError:
                piece = b""
            if not piece:
                raise EOFError()
            self.received += piece

    def read(self):
        """The next record."""
        self.fill(HEAD.size)
        kind, size, run = HEAD.unpack(bytes(self.received[:HEAD.size]))
        if not OPEN <= kind <= LOG or size > MAX_BYTES:
            raise Nonsense()
        end = HEAD.size + size
        self.fill(end)
        record = Record(kind, run, bytes(self.received[HEAD.size:end]))
        del self.received[:end]
        return record

    def send(self, kind, run, body):
        try:
            with self.lock:
                self.socket.sendall(HEAD.pack(kind, len(body), run) + body)
        except EnvironmentError:
            raise EOFError()

    def log(self, level, words):
        """Sends lines, each short enough to be sent whole; without room they are dropped."""
        for line in words.splitlines():
            body = u32(level) + text(line[:500])
            try:
                with self.lock:
                    self.socket.send(HEAD.pack(LOG, len(body), 0) + body, socket.MSG_DONTWAIT)
            except EnvironmentError:
                pass


class LogHandler(logging.Handler):
    """Passes a model's log on to the server's, unless the model sets up logging itself."""

    def __init__(self, link):
        logging.Handler.__init__(self)
        self.link = link

    def emit(self, record):
        levels = ((40, LOG_ERROR), (30, LOG_WARNING), (20, LOG_INFO))
        level = next((ours for theirs, ours in levels if record.levelno >= theirs), LOG_DEBUG)
        self.link.log(level, self.format(record))
