"""The rival of bench/batchers.py: mosec, whose HTTP server and batcher are Rust, around ONNX Runtime.

  mosec_server.py --port PORT, with GP_BENCH_MODEL, GP_BENCH_THREADS and GP_BENCH_RUNS in the environment

A body is the bytes of a row and so is an answer, with nothing around them, which is the least that
there can be.
"""
import os

import numpy as np
import onnxruntime
from mosec import Server, Worker


class Model(Worker):
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["GP_BENCH_THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(os.environ["GP_BENCH_MODEL"], options)
        self.input = self.session.get_inputs()[0].name

    def deserialize(self, body):
        return np.frombuffer(body, np.float32)

    def forward(self, rows):
        return list(self.session.run(None, {self.input: np.stack(rows)})[0])

    def serialize(self, row):
        return row.tobytes()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Model, num=int(os.environ["GP_BENCH_RUNS"]), max_batch_size=64, max_wait_time=1)
    server.run()
