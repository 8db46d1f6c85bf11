"""graphpipe infer and decode, against the echo server and what infer sends; NumPy judges the .npy
files."""
import json
import os
import re
import socket
import subprocess
import time

import numpy as np
import pytest

from calls import call, fails, succeeds
from harness import PROGRAM, Server


@pytest.fixture(scope="module")
def echo():
    """The address of an echo server."""
    with Server() as server:
        yield server.addresses[0]


# --- infer ------------------------------------------------------------------------------

ARRAYS = {
    "scalar": np.float64(0.1),
    "vector": np.arange(5, dtype=np.int64),
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)),
    "big": np.arange(6, dtype=">f8").reshape(2, 3),
    "fortran-big": np.asfortranarray(np.arange(6, dtype=">u4").reshape(2, 3)),
    "half": np.array([0.1, 65504, np.inf], np.float16),
    "bool": np.array([[True, False]]),
    "empty": np.zeros((0, 3), np.uint8),
    "unicode": np.array([["a", "héé"], ["", "日本語"]]),
    "bytes": np.array([b"a", b"\xff\xfe", b""]),
    "large": np.random.default_rng(1).random((64, 1000), np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_npy_there_and_back(echo, tmp_path, name):
    there, back = tmp_path / "there.npy", tmp_path / "back.npy"
    np.save(there, ARRAYS[name])
    succeeds("infer", echo, there, "--save", back)
    array = np.load(back, allow_pickle=False)
    assert array.shape == ARRAYS[name].shape
    assert array.dtype.newbyteorder("=") == ARRAYS[name].dtype.newbyteorder("=")
    np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions_on_standard_input(echo, tmp_path, version):
    path = tmp_path / "v.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array(file, ARRAYS["matrix"], version)
    done = call("infer", echo, "-", "--save", "-", stdin=path.read_bytes())
    assert done.returncode == 0 and done.stderr == b""
    (tmp_path / "back.npy").write_bytes(done.stdout)
    np.testing.assert_array_equal(np.load(tmp_path / "back.npy"), ARRAYS["matrix"])


def test_infer_prints(echo, tmp_path):
    bare = echo.removeprefix("http://")
    words = ["float32[1,4]:5.1,3.5,1.4,0.2", 'string[2]:"a, b",c']
    assert (succeeds("infer", bare, *words) ==
            "output0  float32[1,4]  [[5.1, 3.5, 1.4, 0.2]]\n"
            'output1  string[2]  ["a, b", "c"]\n')
    scores = np.full((1, 1000), 1.2e-7, np.float32)
    scores[0, [504, 968, 967]] = 0.573, 0.156, 0.077
    np.save(tmp_path / "scores.npy", scores)
    assert (succeeds("infer", echo, tmp_path / "scores.npy", "-o", "probabilities") ==
            "probabilities  float32[1,1000]  min 1.2e-07  max 0.573  "
            "top: 504 0.573, 968 0.156, 967 0.077\n")
    assert succeeds("infer", echo) == "no outputs\n"


def test_infer_names(echo):
    text = succeeds("infer", echo, "a:0=int8[1]:1", "-i", "b=int8[1]:2", "-o", "x",
                    "-o", "y")
    assert text == "x  int8[1]  [1]\ny  int8[1]  [2]\n"
    assert "int8[1]  [3]" in succeeds("infer", echo, "w[0]=int8[1]:3")
    assert '"a=b"' in succeeds("infer", echo, 'string[1]:"a=b"')
    assert "1 of 2" in fails(1, "infer", echo, "a=int8:1", "int8:1")


def test_infer_raw_files(echo, tmp_path):
    (tmp_path / "x.raw").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    text = succeeds("infer", echo, "x=float32[2,-1]:@x.raw", cwd=tmp_path)
    assert "[[0, 1], [2, 3]]" in text
    assert '"hi"' in succeeds("infer", echo, "string[1]:@-", stdin=b"hi")
    assert "does not fit" in fails(1, "infer", echo, "float32[5]:@x.raw", cwd=tmp_path)
    assert "No such file" in fails(1, "infer", echo, "float32[5]:@gone.raw", cwd=tmp_path)


def test_infer_files_without_an_end(echo):
    """What the type says is read of them, or what a message may have."""
    assert "/dev/zero: more than 16 bytes" in fails(1, "infer", echo, "float32[1,4]:@/dev/zero")
    assert "/dev/zero: more than 0 bytes" in fails(1, "infer", echo, "float32[0]:@/dev/zero")
    assert "/dev/zero: more than 67108864 bytes" in fails(1, "check-config", "/dev/zero")


def test_infer_json(echo):
    text = succeeds("infer", echo, "--json", "float32[4]:nan,inf,-inf,0.1",
                    "string:\"é\"", "uint64[1]:18446744073709551615", "bool[1]:true",
                    "float64[1]:0.1")
    answer = json.loads(text)
    assert isinstance(answer["time_ms"], float)
    outputs = answer["outputs"]
    assert outputs[0] == {"name": "output0", "dtype": "float32", "shape": [4],
                          "data": ["NaN", "Infinity", "-Infinity", 0.1]}
    assert outputs[1]["data"] == ["é"] and outputs[1]["shape"] == []
    assert outputs[2]["data"] == [2**64 - 1]
    assert outputs[3]["data"] == [True]


def test_infer_json_is_exact(echo, tmp_path):
    bits = np.random.default_rng(2).integers(0, 2**32, 50000, np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    np.save(tmp_path / "x.npy", values)
    data = json.loads(succeeds("infer", echo, tmp_path / "x.npy", "--json"))
    back = np.array(data["outputs"][0]["data"], np.float64).astype(np.float32)
    np.testing.assert_array_equal(back, values)


def test_infer_save_dir(echo, tmp_path):
    succeeds("infer", echo, "int8:1", "int8:2", "int8:3", "--save-dir", tmp_path / "d",
             "-o", "a/b:0", "-o", "c", "-o", "c")
    assert sorted(os.listdir(tmp_path / "d")) == ["a_b_0.npy", "c-2.npy", "c.npy"]
    assert np.load(tmp_path / "d" / "c-2.npy") == 3
    assert "--save-dir" in fails(1, "infer", echo, "int8:1", "int8:2", "--save", "x.npy",
                                 cwd=tmp_path)
    assert fails(1, "infer", echo, "int8:1", "--save", tmp_path / "gone" / "x.npy")


def test_infer_errors(echo, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.array([1j]))
    assert "bad.npy: it ends within the header" in fails(1, "infer", echo,
                                                         tmp_path / "bad.npy")
    assert "Python objects" in fails(1, "infer", echo, tmp_path / "objects.npy")
    assert "<c16" in fails(1, "infer", echo, tmp_path / "complex.npy")
    assert "gone.npy: No such file" in fails(1, "infer", echo, "gone.npy")
    assert 'unknown type "flot32"' in fails(1, "infer", echo, "flot32[1]:1")
    assert "refused" in fails(1, "infer", "http://127.0.0.1:1", "int8:1")
    assert fails(1, "infer", f"unix:{tmp_path}/gone.sock", "int8:1")
    assert fails(1, "infer", "https://127.0.0.1", "int8:1")
    assert "2" in fails(1, "infer", echo, "int8:1", "-o", "a", "-o", "b")


def test_infer_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        fails(1, "infer", "127.0.0.1:%d" % silent.getsockname()[1], "int8:1", "--timeout",
              "300ms")
        assert time.monotonic() - start >= 0.3


# --- decode -----------------------------------------------------------------------------


def captured(*words):
    """The bytes that "graphpipe infer" sends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        client = subprocess.Popen([PROGRAM, "infer", address, *words],
                                  stderr=subprocess.DEVNULL)
        connection, _ = listener.accept()
        with connection:
            got = b""
            while b"\r\n\r\n" not in got:
                got += connection.recv(65536)
            head, _, body = got.partition(b"\r\n\r\n")
            size = int(re.search(rb"content-length: *(\d+)", head, re.I).group(1))
            while len(body) < size:
                body += connection.recv(65536)
        client.terminate()
        client.wait()
    return head + b"\r\n\r\n", body


def test_decode_request(tmp_path):
    head, body = captured("x=float64[3]:1,2,3", "s=string[2]:ab,c", "-o", "y",
                          "--config", "c")
    path = tmp_path / "captured.bin"
    path.write_bytes(body)
    text = succeeds("decode", path)
    assert text == (f'inference request, {len(body)} bytes\nconfig  "c"\ninputs\n'
                    "  [0] x  float64[3]  24 bytes  [1, 2, 3]\n"
                    '  [1] s  string[2]  3 bytes  ["ab", "c"]\n'
                    "requested outputs\n  [0] y\n")
    assert succeeds("decode", "-", stdin=body) == text
    assert succeeds("decode", "-", stdin=head + body) == text
    assert succeeds("decode", "--as", "request", path) == text
    assert fails(1, "decode", "--as", "metadata", path).startswith("error: ")
    chunked = (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
               b"5\r\n" + body[:5] + b"\r\n%x\r\n" % (len(body) - 5) + body[5:] +
               b"\r\n0\r\n\r\n")
    assert succeeds("decode", "-", stdin=chunked) == text
    for cut in [chunked[:-30], (head + body)[:-1], head[:-5]]:
        assert fails(1, "decode", "-", stdin=cut).startswith("error: ")


def test_decode_says_where_it_is_broken():
    _, body = captured("x=float64[3]:1,2,3", "y=float64[3]:4,5,6")
    three = (3).to_bytes(8, "little")
    at = body.index(three)
    seen = set()
    while at >= 0:
        broken = body[:at] + (4).to_bytes(8, "little") + body[at + 8:]
        seen.add(fails(1, "decode", "-", stdin=broken))
        at = body.find(three, at + 1)
    assert seen == {f"error: request.input_tensors[{i}].data holds 24 bytes, "
                    "but float64[4] needs 32\n" for i in range(2)}


def test_decode_survives_any_cut():
    _, body = captured("x=float64[3]:1,2,3")
    for size in range(0, len(body), 7):
        done = call("decode", "-", stdin=body[:size])
        assert done.returncode in (0, 1)


def post(address, body, kind):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                       b"Accept: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)) +
                       body)
        got = b""
        while more := client.recv(65536):
            got += more
    return got


def test_decode_response(echo):
    _, body = captured("x=float32[2]:1,2", "-o", "y")
    answer = post(echo, body, b"application/x-graphpipe")
    text = succeeds("decode", "-", stdin=answer)
    assert re.fullmatch(r"inference response, \d+ bytes\noutputs\n"
                        r"  \[0\] float32\[2\]  8 bytes  \[1, 2\]\n", text)
    assert succeeds("decode", "-", stdin=answer.partition(b"\r\n\r\n")[2]) == text
    refused = post(echo, b"nonsense", b"application/x-graphpipe")
    assert re.search(r"^error  \d+ \(malformed\)  request", succeeds("decode", "-",
                                                                   stdin=refused), re.M)
    assert fails(1, "decode", "-", stdin=b"").startswith("error: ")
    assert "No such file" in fails(1, "decode", "gone.bin")
