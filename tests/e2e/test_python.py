"""The engine python: what a model may be, its tensors, and its errors, asked over HTTP.
test_python_start.py has interpreters and processes; in test_python_worker.py the test plays the
server, and sees what is copied."""
import concurrent.futures
import os
import subprocess
import sys

import numpy as np
import pytest
from graphpipe import remote

from harness import (MESSAGE, SOURCE, Server, Tensor, chunked, decode_metadata, encode,
                     encode_metadata_request)
from python_models import (ECHO, PYTHON, floats, numbers, refused, run, serve, strings,  # noqa: F401
                           tensor, words, write)

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
          "float16", "float32", "float64"]
MIB = 1 << 20
TWICE = (SOURCE / "examples/python/twice.py").read_text()


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    with Server("--instances", 1, *PYTHON, engine="python",
                model=write(tmp_path_factory.mktemp("echo"), ECHO)) as server:
        yield server


def metadata(server):
    return decode_metadata(server.ask("POST", "/", encode_metadata_request()).body)


# --- what a model may be ----------------------------------------------------------------

def test_async_functions(serve, tmp_path):
    """They share a loop, so that what load begins goes on between the runs."""
    with serve(f"""
        import asyncio
        class Model:
            async def load(self):
                self.queue, self.n = asyncio.Queue(), 0
                self.task = asyncio.create_task(self.work())
            async def work(self):
                while True:
                    future, x = await self.queue.get()
                    self.n += 1
                    future.set_result(x * self.n)
            async def infer(self, inputs):
                if inputs["x"][0] < 0:
                    await asyncio.sleep(0)
                    raise ValueError("negative")
                future = asyncio.get_running_loop().create_future()
                await self.queue.put((future, inputs["x"]))
                return await asyncio.wait_for(future, 10)
            async def close(self):
                await asyncio.sleep(0)
                open({str(tmp_path / "closed")!r}, "w")
    """) as server:
        assert numbers(server.infer(floats(1, 2))) == [1, 2]
        assert refused(server.infer(floats(-1)), 500, "ValueError: negative")
        assert numbers(server.infer(floats(1, 2))) == [2, 4]
    assert (tmp_path / "closed").exists()


def test_pickle_that_a_script_wrote(serve, tmp_path):
    """Its classes are known as the script's: __main__.Scale."""
    code = """
class Scale:
    def __init__(self, by):
        self.by = by
    def __call__(self, x):
        return x * self.by
"""
    subprocess.run([sys.executable, "-c", code + f"""
import pickle
with open({str(tmp_path / 'scale.pickle')!r}, "wb") as out:
    pickle.dump(Scale(3), out)
"""], check=True)
    with serve(code + f"""
import pickle
with open({str(tmp_path / 'scale.pickle')!r}, "rb") as file:
    scale = pickle.load(file)
def infer(inputs):
    return pickle.loads(pickle.dumps(scale))(inputs["x"])
if __name__ == "__main__":
    raise RuntimeError("this is no script here")
""") as server:
        assert numbers(server.infer(floats(1, 2))) == [3, 6]


def test_function_of_two_lines(serve):
    with serve(TWICE) as server:
        assert numbers(server.infer(floats(1, 2))) == [2, 4]
        assert numbers(server.infer(floats(1), input_names=["x"], output_names=["y"])) == [2]
        assert server.infer(floats(1), output_names=["y", "y"]).tensors == [floats(2)] * 2
        done = run("infer", server.url, "float32[3]:1,2,3", "-o", "y")
        assert done.stdout == "y  float32[3]  [2, 4, 6]\n", done.stderr
        x = np.random.RandomState(1).rand(7, 3)
        assert np.array_equal(remote.execute(server.url, x), 2 * x)
        assert np.array_equal(remote.execute(server.url, x, "x", "y"), 2 * x)
        said = metadata(server)
        assert said["name"] == "model" and said["inputs"] == said["outputs"] == []
        assert server.logged("python 3.") and server.logged(f"numpy {np.__version__}")


def test_names_that_a_function_does_not_have(serve):
    with serve(TWICE) as server:
        refused(server.infer(floats(1), input_names=["z"]), 400, '"x"', "has: z")
        refused(server.infer(floats(1), floats(1)), 400, '"x"', "has: input_0, input_1")
        refused(server.infer(floats(1), output_names=["z"]), 400, '"z"', "y")
        refused(server.infer(floats(1), floats(1), input_names=["x", "x"]), 400, "twice")


@pytest.mark.parametrize("gives, shapes", {
    "np.ones((2, 3))": [[2, 3]], "(np.ones(2), np.ones(3))": [[2], [3]], "[1.5, 2]": [[2]],
    "1.5": [[]], "{}": [], "()": [], "{'a': 1.0, 'b': [[2.0]]}": [[], [1, 1]],
    "np.ones((4, 6))[::2, ::-3]": [[2, 2]], "np.ones((2, 3), '>f8').T": [[3, 2]],
    "np.float64(1)": [[]], "np.ones((0, 3))": [[0, 3]], "np.matrix([[1.0]])": [[1, 1]],
}.items())
def test_what_infer_may_give(serve, gives, shapes):
    with serve(f"import numpy as np\ndef infer(inputs): return {gives}\n") as server:
        got = server.infer().tensors
        assert [t.shape for t in got] == shapes
        assert all(t.type == "float64" for t in got)
        value = eval(gives)  # the code above, here
        value = list(value.values()) if isinstance(value, dict) else value
        value = value if type(value) in (list, tuple) and gives[0] != "[" else [value]
        assert [t.data for t in got] == [np.asarray(v, "<f8").tobytes() for v in value]


CLASS = """
    import pathlib
    class Helper:
        pass
    class Anything:
        version, description, name, max_batch = "1.2", "adds up", "adder", 64
        def load(self):
            self.weight = float(pathlib.Path(__file__).with_name("weight").read_text())
            self.inputs = {"x": ("float32", [-1, 3], "rows"), "s": (str, None)}
        outputs = {"sum": ("float32", [None]), "n": ("int64", [], "of texts")}
        def infer(self, inputs):
            return {"n": inputs["s"].size, "more": object(),
                    "sum": self.weight * inputs["x"].sum(axis=1)}
        def close(self):
            pathlib.Path(__file__).with_name("closed").write_text("yes")
"""


def test_class_that_declares_what_it_is(serve, tmp_path):
    (tmp_path / "weight").write_text("10")
    x, s = tensor("float32", [[1, 2, 3], [4, 5, 6]]), strings(b"a", b"b")
    with serve(CLASS) as server:
        answers = [server.infer(x, s), server.infer(s, x, input_names=["s", "x"],
                                                    output_names=["n", "sum"])]
        for answer, order in zip(answers, (1, -1)):
            assert answer.tensors[::order] == [floats(60, 150), tensor("int64", 2)]
        said = metadata(server)
        assert (said["name"], said["version"], said["description"]) == ("adder", "1.2", "adds up")
        assert [(io["name"], io["type"], io["shape"], io["description"]) for io in
                said["inputs"] + said["outputs"]] == [
            ("x", "float32", [-1, 3], "rows"), ("s", "string", [], ""),
            ("sum", "float32", [-1], ""), ("n", "int64", [], "of texts")]
        refused(server.infer(x), 400, "1 tensor")
        refused(server.infer(s, s), 400, '"x"', "float32[-1,3]")
        refused(server.infer(x, s, output_names=["more"]), 400, "no output", "sum")
        assert not (tmp_path / "closed").exists()
    assert (tmp_path / "closed").exists()
    shown = run("inspect", tmp_path / "model.py", *PYTHON)
    assert "adder" in shown.stdout and "float32[-1,3]  rows" in shown.stdout, shown.stderr


def test_inputs_declared_and_outputs_not(serve):
    with serve("inputs = {'x': ('float32', [-1])}\n"
               "def infer(inputs): return {'a': inputs['x'], 'b': -inputs['x']}\n") as server:
        assert server.infer(floats(1)).tensors == [floats(1), floats(-1)]
        assert server.infer(floats(1), output_names=["b"]).tensors == [floats(-1)]
        refused(server.infer(tensor("int8", [1])), 400, '"x"')
        refused(server.infer(floats(1), output_names=["c"]), 400, '"c"')


def test_the_folder_of_the_model_is_where_imports_begin(serve, tmp_path):
    write(tmp_path, "def twice(x): return 2 * x", "helper.py")
    with serve("from helper import twice\nimport sys, graphpipe\n"
               "def infer(inputs): return [__name__, sys.argv[0], __file__]\n") as server:
        path = str(tmp_path / "model.py")
        assert words(server.infer()) == f"model {path} {path}"
    assert sorted(p.name for p in tmp_path.iterdir() if "__" not in p.name) == ["helper.py",
                                                                               "model.py"]
    assert not list(tmp_path.glob("__pycache__/model*"))


# --- tensors ----------------------------------------------------------------------------

TENSORS = {
    **{dtype: [tensor(dtype, [[0, 1, 1], [1, 0, 1]])] for dtype in DTYPES},
    "scalars": [tensor("float64", 1.5), Tensor("string", [], [b"lone"])],
    "empty": [tensor("int16", np.empty((3, 0))), tensor("uint8", []), Tensor("string", [0], [])],
    "many dimensions": [tensor("uint8", np.zeros([1] * 32))],
    "strings": [Tensor("string", [2, 2], [b"a", b"", b"\xff\x00", b"x" * 100000])],
    "bytes that end in zeros": [strings(b"a\0", b"\0\0")],
    "large": [Tensor("uint8", [20 * MIB], os.urandom(20 * MIB)), strings(b"between"),
              Tensor("float64", [1000, 100], os.urandom(800000))],
    "many": [tensor("uint8", [i % 256]) for i in range(1000)],
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_come_back(echo, what):
    assert echo.infer(*TENSORS[what], fields={"Accept": MESSAGE}).tensors == TENSORS[what]


def test_bfloat16_is_float32_to_a_model(echo):
    bits = np.array([0x3fc0, 0xc000, 0x7f80], "<u2")
    asked = Tensor("bfloat16", [3], bits.tobytes())
    assert numbers(echo.infer(asked)) == [1.5, -2, float("inf")]


def test_misaligned_data(echo):
    asked = [tensor("uint8", [1, 2, 3]), tensor("float64", [1, 2, 3]), strings(b"odd")]
    for size in (1, 7, 4096):
        answer = echo.ask("POST", "/", chunked(encode(*asked), size),
                          {"Transfer-Encoding": "chunked"})
        assert answer.tensors == asked


def test_str_beside_bytes_that_are_no_text(serve):
    with serve("""
        def infer(inputs):
            return ["\u00e4", b"\\xff\\x00", ""]
    """) as server:
        assert server.infer(strings(b"")).tensors == [strings("\u00e4".encode(), b"\xff\0", b"")]


def test_strings_are_bytes_to_a_model_and_may_be_either_from_it(serve):
    source = """
        import numpy as np
        def infer(inputs):
            (x,) = inputs.values()
            assert x.dtype == object and all(type(s) is bytes for s in x)
            assert not x.flags.writeable
            text = [s.decode() for s in x]
            return {"objects": x, "str": text, "S": np.array([b"s"]), "U": np.array(text),
                    "mixed": np.array(["grüße", b"x"], dtype=object), "one": "ö", "list": [b"z\\0"]}
    """
    with serve(source) as server:
        got = [t.data for t in server.infer(strings("grüße".encode(), b"x")).tensors]
        two = ["grüße".encode(), b"x"]
        assert got == [two, two, [b"s"], two, two, ["ö".encode()], [b"z\0"]]
        assert [s.decode() for s in remote.execute(server.url, np.array(["é"]), "x", "U")] == ["é"]


def test_inputs_are_views_for_reading(serve):
    source = """
        import numpy as np
        def infer(inputs):
            said = []
            for x in inputs.values():
                for write in ((lambda: x.fill(1)), (lambda: x.setflags(write=True))):
                    try:
                        write()
                        said.append("written")
                    except ValueError:
                        said.append("refused")
            at = inputs["x"].__array_interface__["data"][0]
            for line in open("/proc/self/maps"):
                ends = [int(end, 16) for end in line.split()[0].split("-")]
                if ends[0] <= at < ends[1]:
                    said.append(line.split()[1])
            return [*said, str(inputs["x"].ctypes.data % 64)]
    """
    with serve(source) as server:
        answer = server.infer(tensor("float64", range(100000)), input_names=["x"])
        assert words(answer) == "refused refused r--s 0"


def test_sixteen_clients_on_four_processes(serve):
    with serve(TWICE, n=4) as server:
        def client(number):
            with server.connect() as connection:
                for i in range(20):
                    x = floats(*[number * 100 + i] * (3 if i % 3 else 20000))
                    (got,) = connection.ask("POST", "/", encode(x)).tensors
                    assert np.array_equal(np.frombuffer(got.data, "f4"),
                                          2 * np.frombuffer(x.data, "f4"))
            return True
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert all(pool.map(client, range(16)))
        assert server.metrics()['children{state="ready"}'] == 4


# --- graphpipe.empty --------------------------------------------------------------------

def test_empty_makes_arrays_as_numpy_does(serve):
    source = """
        import graphpipe
        import numpy as np
        before = graphpipe.empty((500, 3))
        def infer(inputs):
            out = graphpipe.empty((300, 2, 3), "int16")
            out[:] = 7
            one = graphpipe.empty(2000, np.float32)
            one[:] = inputs["x"][0]
            return {"out": out, "first": out[:100], "part": out[100:], "back": out[::-1],
                    "one": one, "again": one, "small": graphpipe.empty((2, 0)), "before": before}
    """
    with serve(source) as server:
        for _ in range(3):
            got = server.infer(floats(3)).tensors
            assert [t.shape for t in got] == [[300, 2, 3], [100, 2, 3], [200, 2, 3], [300, 2, 3],
                                              [2000], [2000], [2, 0], [500, 3]]
            assert got[0] == got[3] == tensor("int16", np.full((300, 2, 3), 7))
            assert got[4] == got[5] == floats(*[3] * 2000)


@pytest.mark.parametrize("n", [100, 5000, 300_000])
def test_empty_holds_nothing_of_earlier_requests(serve, n):
    source = """
        import graphpipe
        def infer(inputs):
            x = inputs["x"]
            out = graphpipe.empty(x.shape, x.dtype)
            if x[0]:
                out[:] = x
            return out
    """
    with serve(source) as server:
        for _ in range(5):
            assert server.infer(floats(*[7] * n)).tensors[0] == floats(*[7] * n)
            assert server.infer(floats(*[0] * n)).tensors[0] == floats(*[0] * n)


def test_an_array_that_is_kept_is_nobody_elses(serve):
    """The second run gets the memory of the first, whose array the model still writes to."""
    source = """
        import graphpipe
        kept = []
        def infer(inputs):
            x = inputs["x"][0]
            out = graphpipe.empty(300000, "float32")
            out[:] = x
            was = [float(k[-1]) for k in kept]
            for k in kept:
                k[:] = -1
            kept[:] = [out[1:]] if x else []
            return {"out": out, "was": was}
    """
    with serve(source) as server:
        for value, was in ((1, []), (2, [1]), (3, [2]), (0, [3]), (5, [])):
            out, said = server.infer(floats(value)).tensors
            assert set(np.frombuffer(out.data, "f4")) == {value}
            assert np.frombuffer(said.data, "f8").tolist() == was


def test_outputs_that_are_too_much(serve):
    source = """
        import graphpipe, numpy as np
        def infer(inputs):
            return (graphpipe if inputs["x"][0] else np).empty(300 << 20, "u1")
    """
    with serve(source) as server:
        for kind in (0, 1):
            refused(server.infer(floats(kind)), 503, "MemoryError", "314572800", "--pool")
        refused(server.infer(strings(b"x")), 503)


# --- errors -----------------------------------------------------------------------------

RAISES = {
    'raise ValueError("no\\n good")': (500, "infer raised ValueError: no good"),
    'raise KeyError("k")': (500, "KeyError: 'k'"),
    'import graphpipe; raise graphpipe.InvalidInput("too long: 7")': (400, "too long: 7"),
    'raise SystemExit(3)': (500, "SystemExit: 3"),
    'raise KeyboardInterrupt': (500, "KeyboardInterrupt"),
    'raise MemoryError': (503, "MemoryError"),
    'infer(inputs)': (500, "RecursionError"),
    'class E(Exception):\n        __str__ = None\n    raise E': (500, "raised E"),
    'return {"y": object()}': (500, '"y" holds a object'),
    'return {"y": None}': (500, '"y" holds a NoneType'),
    'return {"y": [b"x", 1]}': (500, '"y" holds a int'),
    'return {"y": 1j}': (500, '"y" is of type complex128'),
    'return {"y": __import__("numpy").array(["2020-01-01"], "M8[D]")}': (500, "datetime64[D]"),
    'return {"y": [[1, 2], [3]]}': (500, '"y"'),
    'return {"y": 1 << 70}': (500, '"y"'),
    'return {1: [1]}': (200, ""),
}


def test_what_infer_raises_is_an_error_of_its_request(serve, tmp_path):
    """And nothing else: the process is the same after all of them."""
    body = "".join(f"    if inputs['x'][0] == {i}:\n        " + code.replace("\n", "\n    ") + "\n"
                   for i, code in enumerate(RAISES))
    with serve("import os\ndef infer(inputs):\n" + body + "    return os.getpid()\n") as server:
        pid = numbers(server.infer(floats(-1)))
        for i, (status, said) in enumerate(RAISES.values()):
            answer = server.infer(floats(i))
            if status != 200:
                refused(answer, status, said)
        assert numbers(server.infer(floats(-1))) == pid
        log = server.stderr
        assert "warning: engine: Traceback (most recent call last):" in log
        assert f'engine:   File "{tmp_path}/model.py", line 4, in infer' in log
        assert 'engine:     raise ValueError("no\\n good")' in log
        assert "too long: 7" not in log  # its client's fault


def test_outputs_are_as_declared(serve):
    source = """
        import numpy as np
        outputs = {"y": ("float32", [-1, 2]), "n": ("int64", None)}
        gives = [{"y": np.zeros((1, 2)), "n": 1}, {"y": np.zeros((1, 3), "f4"), "n": 1}, {"n": 1},
                 (1, 2, 3), {"y": [[1, 2]], "n": 1.5}, {"more": 1, "y": [[1, 2]], "n": [[2]]}]
        def infer(inputs): return gives[int(inputs["x"][0])]
    """
    said = ['"y" is float64[1,2]; the model declares float32[-1,2]', '"y" is float32[1,3]',
            'no output "y", but: n', "3 outputs; the model declares 2", '"n" is float64[]']
    with serve(source) as server:
        for i, part in enumerate(said):
            refused(server.infer(floats(i)), 500, part)
        assert server.infer(floats(5)).tensors == [tensor("float32", [[1, 2]]),
                                                   tensor("int64", [[2]])]
        refused(server.infer(floats(5), output_names=["z"]), 400, '"z"; the model has: y, n')
