"""Writes the seeds of the fuzz targets: python3 tests/fuzz/make_seeds.py FOLDER makes
FOLDER/<target>/*. Messages are those of tests/golden/vectors, as other libraries wrote
them; answers to a client are those behind heads of HTTP. What a target's first bytes mean
is said in its source."""

import itertools
import pathlib
import sys

VECTORS = pathlib.Path(__file__).parents[1] / "golden/vectors"
MESSAGES = {path.stem: path.read_bytes() for path in sorted(VECTORS.glob("*.bin"))}

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUESTS = [
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /metrics?a=b HTTP/1.1\r\nHost: [::1]:9000\r\nAccept: application/json;q=0.5, */*"
    b"\r\n\r\nGET /is_ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\nHEAD / HTTP/1.1\r\n"
    b"Host: b\r\nConnection: close\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
    b"\r\n3\r\nabc\r\n1f;name=\"value\"\r\n" + b"x" * 31 + b"\r\n0\r\nTrailer: t\r\n\r\n"
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\nX: \t y \t\r\n\r\n",
    b"POST http://host:1/path?x HTTP/1.1\r\nHost: host\r\nContent-Length: 0\r\n"
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nrest",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
    b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A:b\r\n" * 101 + b"\r\n",
    CHUNKED + b"3;" + b"e" * 4000 + b"\r\nabc\r\n0\r\n\r\n",
    CHUNKED + b"0\r\nTrailer:" + b"t" * 4100 + b"\r\n\r\n",
]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-graphpipe\r\n"
RESPONSES = [
    b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER + b"Content-Length: 2\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\ntry again\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 404\r\nTransfer-Encoding: chunked\r\n\r\n00000004\r\nnone\r\n0\r\n\r\n",
    b"HTTP/1.1 500 X\r\nConnection: close\r\nContent-Length: 1\r\n\r\n!",
]
LITERALS = [
    b"float32[2,2]:1,2.5,-3e8,nan", b"int64[-1]:1,-2,9223372036854775807", b"bool:true",
    b'string[2]:"a, \\"b\\\\",c', b"uint8[2,-1,3]:@x\0abcdef", b"string:@f\0text",
    b"bfloat16[3]:1,inf,-0.1", b"float16[2]:65504,6e-8", b"uint64:18446744073709551615",
    b"int8[0]:", b"bool[2]:0,false", b"float64[1,1]:0x1p-1074", b"float32[2]:@f\0abcdefgh",
]


def chunked(body, size):
    cut = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in cut) + b"0\r\n\r\n"


def npy(version, header, data):
    text = header.encode()
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def npy_files():
    types = "b1 u1 i1 u2 <i2 >i2 u4 >i4 u8 >i8 <f2 >f2 <f4 >f4 f8 S3 <U2 >U2 O".split()
    for number, kind in enumerate(types):
        size = int(kind[-1]) * (4 if "U" in kind else 1) if kind != "O" else 8
        for order, shape, n in (("False", "()", 1), ("True", "(2, 3,)", 6), ("False", "(0,)", 0)):
            header = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}\n"
            data = b"A\0\0\0" * (n * size // 4) if "<U" in kind else bytes(n * size)
            yield npy(1 + number % 3, header, data)
            yield bytes([1 + number % 3]) + header.encode() + b"\0" + data


def answers():
    for name, message in MESSAGES.items():
        if not name.startswith("resp"):
            continue
        first = bytes([1 if "metadata" in name else 0])
        known = ANSWER + b"Content-Length: %d\r\n\r\n" % len(message) + message
        coded = ANSWER + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(message, 50)
        yield first + b"\0" + known
        yield bytes([first[0] | 0x46]) + b"\1" + coded + known
        yield bytes([first[0] | 0x88]) + b"\2" + known * 3
        yield bytes([first[0] | 0xE0]) + b"\3" + ANSWER + b"\r\n" + message
        yield first + b"\4HTTP/1.1 400 Bad\r\n" + known.split(b"\r\n", 1)[1]
    for number, response in enumerate(RESPONSES):
        yield bytes([number * 40 % 256, number]) + response * 2


VALUE = b"$20\r\n0123456789abcdefrow!\r\n"
REPLIES = [b"+PONG\r\n", VALUE + b"$-1\r\n" + VALUE, b"$0\r\n\r\n$1\r\n\n\r\n", b"-MOVED 1 h:1\r\n" + VALUE,
           b"-NOAUTH \x1b[2J\r\n+OK\r\n", b"$5\r\nabcdeXY", b"*1\r\n" + VALUE, b"$99999999\r\n",
           b"$40000\r\n" + bytes(9000), b"+" + b"x" * 4090 + b"\r\n" + VALUE]
URLS = [b"redis://me:p%40ss@host:1/2", b"rediss://[::1]:6380?cacert=/a%20b", b"unix:///s?db=1&user=u&password=p"]


def seeds():
    yield "message", MESSAGES.values()
    cuts = itertools.cycle([b"\x00\x01", b"\x0a\x02", b"\x0e\x03"])
    yield "http", itertools.chain(
        (cut + text for cut, text in zip(cuts, REQUESTS)),
        (bytes([cut[0] | 1, 7]) + text for cut, text in zip(cuts, RESPONSES)),
    )
    yield "npy", npy_files()
    yield "literal", LITERALS
    yield "client", answers()
    yield "redis", itertools.chain(
        (bytes([number * 40 % 250, number]) + replies for number, replies in enumerate(REPLIES)),
        (b"\xff" + url for url in URLS))


for target, inputs in seeds():
    folder = pathlib.Path(sys.argv[1]) / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(inputs):
        (folder / f"seed-{number:03}").write_bytes(seed)
