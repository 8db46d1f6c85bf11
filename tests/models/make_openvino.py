#!/usr/bin/env python3
"""Writes bounded.xml and bounded.bin, an OpenVINO IR, into this folder, or into the one that is
given. They are committed, since they are small and need the openvino package for Python to be made,
which nothing else here needs:

  pip install openvino==2026.4.0 && python3 tests/models/make_openvino.py
"""
import os
import re
import sys

import numpy as np
import openvino as ov
from openvino import opset13 as op

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))

# 1 to 8 rows times weights; then the sum of all, a scalar without a name
x = op.parameter(ov.PartialShape([ov.Dimension(1, 8), 4]), ov.Type.f32, name="x")
x.output(0).tensor.set_names({"x", "another_x"})
scaled = op.multiply(x, op.constant(np.array([1, 2, 3, 4], np.float32)))
scaled.output(0).tensor.set_names({"scaled", "scaled:0"})
total = op.reduce_sum(scaled, op.constant(np.array([0, 1], np.int64)), False)

path = os.path.join(FOLDER, "bounded.xml")
ov.save_model(ov.Model([scaled, total], [x], "Rows times weights."), path, compress_to_fp16=False)
with open(path, encoding="utf-8") as file:
    text = file.read()
with open(path, "w", encoding="utf-8") as file:
    file.write(re.sub(r' (output_)?names="Result_\d+"', "", text))
