#!/usr/bin/env python3
"""Writes the small TensorFlow models of the tests into tensorflow/ beside this file, or into the
folder that is given.

They are committed, since they are small, change never and need TensorFlow to be made:

  pip install tensorflow_cpu==2.18.1 && tests/models/make_tensorflow.py

Each function that builds a graph makes the GraphDef of its name; its doc string says what for.
"""
import os
import pathlib
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402

v1 = tf.compat.v1
FOLDER = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                      pathlib.Path(__file__).parent / "tensorflow")
DTYPES = ("float32 float64 float16 bfloat16 uint8 int8 uint16 int16 uint32 int32 uint64 int64 "
          "string bool").split()


def conv():
    """Channels first, as models for GPUs are: y = relu(conv3x3(x)), rows free."""
    x = v1.placeholder(tf.float32, [None, 2, 6, 7], "x")
    w = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4) % 7 - 3
    z = tf.nn.conv2d(x, w, 1, "SAME", data_format="NCHW")
    tf.nn.relu(tf.nn.bias_add(z, [0., 1., 2., -3.], data_format="NCHW", name="z"), name="y")


def pair():
    """Two inputs and one that may be left out, two outputs and what lies between."""
    a = v1.placeholder(tf.float32, [None, 2], "a")
    b = v1.placeholder(tf.float32, [None, 2], "b")
    scale = v1.placeholder_with_default(tf.constant(10.0, name="ten"), [], "scale")
    scaled = tf.multiply(a, scale, name="scaled")
    tf.add(scaled, b, name="sum")
    tf.split(tf.subtract(scaled, b), 2, axis=1, name="halves")


def types():
    """Every element type there and back, of any rank."""
    for name in DTYPES:
        tf.identity(v1.placeholder(name, None, name), name="out_" + name)


def state():
    """Variables: one that init sets, one that keeps what it is given, and a table."""
    x = v1.placeholder(tf.float32, [None], "x")
    five = v1.get_variable("five", initializer=5.0, use_resource=True)
    kept = v1.Variable(tf.zeros([0]), shape=[None], use_resource=True, name="kept")
    tf.multiply(x, five, name="times_five")
    with tf.control_dependencies([kept.assign(x, read_value=False)]):
        tf.identity(tf.size(x), name="keep")
    tf.identity(kept.read_value(), name="kept_now")
    table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="t")
    filled = tf.raw_ops.InitializeTableV2(table_handle=table, keys=["one", "two"],
                                          values=tf.constant([1, 2], tf.int64))
    tf.raw_ops.LookupTableFindV2(table_handle=table, default_value=tf.constant(-1, tf.int64),
                                 keys=v1.placeholder(tf.string, [None], "word"), name="number")
    v1.global_variables_initializer()
    tf.group(filled, name="init_all_tables")


def loop():
    """Counts to n, for runs that take as long as one likes."""
    n = v1.placeholder(tf.int64, [], "n")
    v1.disable_control_flow_v2()
    i, = tf.while_loop(lambda i: i < n, lambda i: [i + 1], [tf.constant(0, tf.int64)],
                       parallel_iterations=1)
    tf.identity(i, name="i")


def complex_in():
    """An input of a type that cannot be sent."""
    tf.identity(tf.math.real(v1.placeholder(tf.complex64, [None], "x")), name="y")


class Saved(tf.Module):
    """A SavedModel: variables, a table, and three signatures."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(np.arange(6, dtype=np.float32).reshape(2, 3))
        self.n = tf.Variable(0, dtype=tf.int64)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
            ["cat", "dog"], ["katze", "hund"]), "?")

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def product(self, x):
        return {"y": tf.matmul(x, self.w), "rows": tf.shape(x)[0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def translate(self, words):
        return {"german": self.table.lookup(words), "length": tf.strings.length(words)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "by")])
    def count(self, by):
        return {"n": self.n.assign_add(by)}


def slim(path):
    """Without what only Python reads."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(path.read_bytes())
    for graph in model.meta_graphs:
        graph.meta_info_def.ClearField("stripped_op_list")
        graph.ClearField("object_graph_def")
    path.write_bytes(model.SerializeToString(deterministic=True))


def main():
    FOLDER.mkdir(exist_ok=True)
    for build in (conv, pair, types, state, loop, complex_in):
        with tf.Graph().as_default() as graph:
            build()
        (FOLDER / f"{build.__name__}.pb").write_bytes(
            graph.as_graph_def().SerializeToString(deterministic=True))
    model = Saved()
    options = tf.saved_model.SaveOptions(save_debug_info=False)
    tf.saved_model.save(model, str(FOLDER / "saved"), options=options, signatures={
        "serving_default": model.product, "translate": model.translate, "count": model.count})
    slim(FOLDER / "saved/saved_model.pb")
    (FOLDER / "saved/fingerprint.pb").unlink()  # random
    (FOLDER / "saved/assets").rmdir()


main()
