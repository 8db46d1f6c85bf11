"""What the end-to-end tests share: the real program as a context manager, raw connections that
send exact bytes and read one answer at a time, messages as plain values, and waiting that polls.
Only loopback and sockets in temporary folders are used."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

SOURCE = pathlib.Path(os.environ.get("GP_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("GP_BUILD_DIR", SOURCE / "build/release"))
PROGRAM = os.environ.get("GP_BIN", str(BUILD / "bin/graphpipe"))
SANITIZE = os.environ.get("GP_SANITIZE", "")
MODELS = SOURCE / "tests/models"
CORES = len(os.sched_getaffinity(0))

# What takes this many times as long as on a quick machine with nothing else to do is taken to hang.
# No test asks how quick anything is; bench/ does.
PATIENCE = 24 if SANITIZE else 12

sys.path.insert(0, str(SOURCE / "tests/golden"))
from messages import Modules2018, Request, Tensor  # noqa: E402
from messages import finish, read_metadata, read_response, write_request  # noqa: E402

REPORT = re.compile("AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:")
MESSAGE = "application/x-graphpipe"


def plugin(name):
    """The path of a test plug-in, by the name of its file in tests/engines."""
    return str(BUILD / f"lib/graphpipe-test/graphpipe-engine-{name}.so")


def eventually(condition, within=5.0, what="the condition"):
    """Polls until the condition holds, and gives its value."""
    end = time.monotonic() + within * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come within {within * PATIENCE} s"
        time.sleep(0.005)


def read_all(paths):
    """{path: its text} of those that are still there when their turn comes: a file of another process, or
    a thread's, may go between the listing and the reading."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[path] = path.read_text(errors="surrogateescape")
    return found


# --- messages ---------------------------------------------------------------------------

def encode(*tensors, input_names=(), output_names=(), config=""):
    return write_request(Modules2018(), Request(list(tensors), list(input_names),
                                                list(output_names), config))


def encode_metadata_request():
    import flatbuffers
    fb = Modules2018()
    builder = flatbuffers.Builder(64)
    fb.MetadataRequest.MetadataRequestStart(builder)
    empty = fb.MetadataRequest.MetadataRequestEnd(builder)
    fb.Request.RequestStart(builder)
    fb.Request.RequestAddReqType(builder, 2)
    fb.Request.RequestAddReq(builder, empty)
    return finish(builder, fb.Request.RequestEnd(builder))


def decode(body):
    """The tensors and errors of an answer."""
    return read_response(Modules2018(), bytearray(body))


def decode_metadata(body):
    return read_metadata(Modules2018(), bytearray(body))


def uint8(data):
    return Tensor("uint8", [len(data)], bytes(data))


SMALL = uint8(b"small")


# --- HTTP -------------------------------------------------------------------------------

@dataclass
class Answer:
    status: int
    fields: dict
    body: bytes

    @property
    def text(self):
        return self.body.decode()

    @property
    def tensors(self):
        assert self.status == 200 and self.fields["content-type"] == MESSAGE, self
        answer = decode(self.body)
        assert not answer.errors
        return answer.tensors

    @property
    def error(self):
        """(code, message) of an answer that is a message with one error."""
        assert self.fields["content-type"] == MESSAGE, self
        answer = decode(self.body)
        assert not answer.tensors and len(answer.errors) == 1
        return answer.errors[0]


class Truncated(Exception):
    """The connection ended inside an answer."""


class Closed(Exception):
    """The connection ended before the first byte of an answer."""


def http(method="POST", target="/", body=b"", fields=(), version="1.1", length=True):
    """A request's bytes. `fields` is a dict or a list of pairs."""
    fields = list(dict(fields).items() if isinstance(fields, dict) else fields)
    names = [name.lower() for name, _ in fields]
    if "host" not in names and version == "1.1":
        fields.insert(0, ("Host", "localhost"))
    if length and (body or method == "POST") and not {"content-length",
                                                      "transfer-encoding"} & set(names):
        fields.append(("Content-Length", str(len(body))))
    head = f"{method} {target} HTTP/{version}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    return head.encode("latin-1") + body


def chunked(body, size=None, extension=b"", trailers=b""):
    """The body in chunks of `size` bytes."""
    size = size or len(body) or 1
    parts = [body[at:at + size] for at in range(0, len(body), size)]
    coded = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return coded + b"0\r\n" + trailers + b"\r\n"


class Connection:
    """A socket to the server, and what of its answers is not read yet."""

    def __init__(self, address, timeout=10, receive_buffer=None, source=None):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self.socket = socket.socket(family, socket.SOCK_STREAM)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(timeout * PATIENCE)
        self.socket.connect(address)
        self.received = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves without goodbye: the peer gets a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.socket.close()

    def send(self, *pieces):
        for piece in pieces:
            self.socket.sendall(piece)

    def receive(self):
        """Some more bytes, or b"" when the peer has ended or reset the connection."""
        try:
            piece = self.socket.recv(1 << 20)
        except ConnectionError:
            piece = b""
        self.received += piece
        return piece

    def answer(self, is_head=False):
        """Reads one answer, with its body, and no byte of the next."""
        while b"\r\n\r\n" not in self.received:
            if not self.receive():
                raise Truncated(bytes(self.received)) if self.received else Closed()
        head, _, _ = bytes(self.received).partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z ]+", line)[1])
        fields = {}
        for name, value in (text.split(": ", 1) for text in lines):
            assert name.lower() not in fields, f"{name} came twice"
            fields[name.lower()] = value
        size = 0 if is_head or status < 200 or status == 204 else int(fields["content-length"])
        end = len(head) + 4 + size
        while len(self.received) < end:
            if not self.receive():
                raise Truncated(f"{len(self.received)} of {end} bytes")
        body = bytes(self.received[len(head) + 4:end])
        del self.received[:end]
        return Answer(status, fields, body)

    def ask(self, *arguments, **keywords):
        """Sends one request made by http() and reads its answer."""
        self.send(http(*arguments, **keywords))
        return self.answer(is_head=arguments[:1] == ("HEAD",))

    def is_ended(self):
        """Waits for the end; true when nothing came before it."""
        return not self.received and not self.receive()


class Metrics(dict):
    """{'requests_total{model="echo",...,code="200"}': 3.0, ...}, without the prefix. Asked for
    fewer labels, or for none, it gives the sum over the others, as PromQL's sum by() does."""

    def __init__(self, text):
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        super().__init__((name.removeprefix("graphpipe_"), float(value)) for name, value in lines)

    def __missing__(self, key):
        name, labels = self.parts(key)
        found = [value for other, value in self.items()
                 if self.parts(other)[0] == name and labels <= self.parts(other)[1]]
        if not found:
            raise KeyError(key)
        return sum(found)

    def get(self, key, default=None):
        try:
            return self[key]
        except KeyError:
            return default

    @staticmethod
    def parts(key):
        name, _, labels = key.partition("{")
        return name, set(re.findall(r'(\w+="(?:\\.|[^"\\])*")', labels))


# --- the server -------------------------------------------------------------------------

class Server:
    """The program serving, from entering to leaving: then SIGTERM, exit status 0 and no report of
    a sanitizer are demanded, unless the test has ended it otherwise."""

    def __init__(self, *arguments, engine="echo", model=None, listen=("127.0.0.1:0",), **popen):
        self.command = [PROGRAM, "serve", "--engine", engine]
        for where in listen:
            self.command += ["--listen", where]
        self.command += ["--model", str(model)] if model else []
        self.command += map(str, arguments)
        self.n_listeners = len(listen)
        self.popen = popen
        self.lines = []
        self.addresses = []
        self.is_told_to_end = False

    def __enter__(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GP_")}
        if "cntk" in self.command:  # LeakSanitizer crashes where CNTK's libraries are
            environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env=environment, text=True, errors="replace",
                                        **self.popen)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            eventually(lambda: len(self.addresses) == self.n_listeners
                       or self.process.poll() is not None, 10, "listening")
            assert self.process.poll() is None, self.stderr
        except BaseException:
            self.process.kill()
            raise
        return self

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            found = re.search(r"listening on (\S+)", line)
            if found:
                self.addresses.append(found[1])

    def __exit__(self, kind, *_):
        try:
            if self.process.poll() is None and not self.is_told_to_end:
                self.process.send_signal(signal.SIGTERM)  # a second one would end it at once
            status = self.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join(5)
            print("\n".join(self.lines[-100:]))
        assert not REPORT.search(self.stderr), self.stderr
        if kind is None:
            assert status == getattr(self, "expected_status", 0), self.stderr

    @property
    def stderr(self):
        """What was read of it so far: a line is written by another thread than the one that answered, and
        read by another than the one that asks here. Whoever wants one that must come takes `logged`."""
        return "\n".join(self.lines)

    def logged(self, *any_of, within=10):
        """True once one of these texts stands in it, or fails."""
        def is_there():
            ended = not self.reader.is_alive()
            return any(text in self.stderr for text in any_of) or ended
        eventually(is_there, within, f"{any_of} in {self.lines[-5:]}")
        assert any(text in self.stderr for text in any_of), self.stderr
        return True

    @property
    def place(self):
        """The line about cores and the pool."""
        (line,) = [line for line in self.lines if re.search(r"\bcores?\b.*, pool \d", line)]
        return line

    @property
    def n_cores(self):
        """That it found to be its own: under a CPU quota fewer than the affinity says."""
        return int(re.match(r"\d+", self.place)[0])

    @property
    def url(self):
        return self.addresses[0] + "/"

    @property
    def address(self):
        return self.address_of(0)

    @property
    def port(self):
        return self.address[1]

    def address_of(self, index):
        """What socket.connect takes."""
        text = self.addresses[index]
        if text.startswith("unix:"):
            return text[len("unix:"):]
        host, port = re.fullmatch(r"http://\[?([^\]]*)\]?:(\d+)", text).groups()
        return host, int(port)

    def connect(self, index=0, **keywords):
        return Connection(self.address_of(index), **keywords)

    def ask(self, *arguments, **keywords):
        """One request on a connection of its own."""
        with self.connect() as connection:
            return connection.ask(*arguments, **keywords)

    def infer(self, *tensors, fields=(), **keywords):
        return self.ask("POST", "/", encode(*tensors, **keywords), fields)

    def metrics(self):
        return Metrics(self.ask("GET", "/metrics").text)

    def signal(self, number=signal.SIGTERM):
        self.is_told_to_end |= number in (signal.SIGTERM, signal.SIGINT)
        self.process.send_signal(number)

    def wait(self, within):
        """The exit status; fails when the process has not ended in time."""
        try:
            return self.process.wait(within * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within * PATIENCE} s") from None

    def ends(self, within):
        """The process ends by itself: with 0, or with 1 where the machine has other work, and a second
        after the drain limit is too short to end tidily."""
        status = self.wait(within)
        assert status in (0, 1)
        self.expect_status(status)

    def expect_status(self, status):
        """The process will end with this instead of 0."""
        self.expected_status = status

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def of_threads(self, name):
        """The texts of /proc/PID/task/*/NAME."""
        return read_all(pathlib.Path(f"/proc/{self.pid}/task").glob(f"*/{name}")).values()

    def children(self):
        """The ids of its processes, whichever of its threads has started them."""
        return sorted(int(pid) for pids in self.of_threads("children") for pid in pids.split())

    def cpu_ticks(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def activity(self):
        """How often its threads have gone to sleep, each time after something had woken them, and for how
        many nanoseconds they have run: one that spins does not sleep."""
        sleeps = (re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1]
                  for status in self.of_threads("status"))
        return sum(map(int, sleeps)), self.run_ns()

    def run_ns(self):
        """The processor time of its threads."""
        return sum(int(times.split()[0]) for times in self.of_threads("schedstat"))

    def fall_asleep(self):
        """Waits until nothing has woken it for a while."""
        # ThreadSanitizer has a thread of its own, which wakes ten times a second
        count = self.cpu_ticks if "thread" in SANITIZE else self.activity

        def is_asleep():
            before = count()
            time.sleep(0.3)
            return count() == before
        eventually(is_asleep, what="a server without wake-ups")


def serve_slow(*arguments, **keywords):
    return Server(*arguments, engine=plugin("slow"), **keywords)


def start_fails(*arguments, **popen):
    """Runs `serve` where it cannot start: the line that it says, with the exit status 1."""
    run = subprocess.run([PROGRAM, "serve", *map(str, arguments)], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, timeout=10 * PATIENCE, **popen)
    assert run.returncode == 1, run.stderr
    assert run.stdout == ""
    assert not REPORT.search(run.stderr), run.stderr
    assert run.stderr.count("\n") == 1 and run.stderr.endswith("\n"), run.stderr
    return run.stderr.rstrip("\n")


def assert_serves(server):
    """It still answers, on a new connection."""
    data = bytes(range(16))
    assert server.infer(uint8(data)).tensors == [uint8(data)]


# --- what tests of load ask for ---------------------------------------------------------

def slow(config, data=b"small", fields=()):
    """A request to the slow engine."""
    return http("POST", "/", encode(uint8(data), config=config), fields)


def held(gate, data=b"small", fields=()):
    """A request to the slow engine whose run lasts until the file `gate` is there."""
    return slow(f"until={gate}", data, fields)


def echoed(answer):
    """The bytes of the only tensor of an answer."""
    (tensor,) = answer.tensors
    return tensor.data


def begun(server, n):
    """Waits until the heads of n requests have arrived, without taking a slot."""
    eventually(lambda: server.metrics()["in_flight"] - 1 >= n, what=f"{n} requests in flight")


def report(server):
    """The slow engine's own count: runs begun, ended, stopped, most at a time."""
    (tensor,) = server.infer(SMALL, config="report").tensors
    return struct.unpack("<4Q", tensor.data)


def settle(server):
    """Waits until nobody else is connected; the metrics of then."""
    return eventually(lambda: (m := server.metrics())["connections"] == m["in_flight"] == 1 and m)


def settle_empty(server):
    """Likewise, and until nothing of the pool is used: a client that has left may not be accepted yet."""
    eventually(lambda: (m := server.metrics())["connections"] == m["in_flight"] == 1
               and m['pool_bytes{state="used"}'] == 0, what="an empty pool")
