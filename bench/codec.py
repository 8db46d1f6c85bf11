"""Writing and reading messages: a request of 77 MB and a response of 12.8 MB.

Ours is the C library (bench/codec.c), next to one memcpy of the tensor; the rivals are Python
libraries (bench/rivals/codec_rivals.py), so their times include Python, as their users' do.
"Write" makes what can be sent, "read" makes a tensor of what came; ours also verifies it.
"""
import json
import statistics
import subprocess

import harness

PYTHON = harness.ROOT / ".deps/venv/bin/python"
ROUNDS = 5
WHAT = {"request": "a request of float32[128,224,224,3], 77 MB",
        "response": "a response of float32[128,7,7,512], 12.8 MB"}


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[-1]}: {done.stderr[-2000:]} (tools/setup bench?)")
    return json.loads(done.stdout)


def measure_round(smoke):
    ours = run([harness.BUILD / "bench/codec"])
    rivals = {} if smoke else run([PYTHON, "-B", harness.ROOT / "bench/rivals/codec_rivals.py"])
    return ours, rivals


def subjects(rounds, kind, way):
    """The subjects of a row: each gives what was measured of it, a round at a time."""
    found = {"graphpipe": [ours[kind][way] for ours, _ in rounds],
             "memcpy": [ours[kind]["memcpy"] for ours, _ in rounds]}
    for name, entry in rounds[0][1].get(kind, {}).items():
        is_part = entry["bytes"] < rounds[0][0][kind]["bytes"]
        label = f"{name}, of {entry['bytes'] / 1e6:.1f} MB" if is_part else name
        found[label] = [rivals[kind][name][way] for _, rivals in rounds]
    return {name: harness.replay(values) for name, values in found.items()}


def main(smoke):
    result = harness.Result("codec", "Writing and reading messages", smoke)
    rounds = [measure_round(smoke) for _ in range(1 if smoke else ROUNDS)]
    for kind, what in WHAT.items():
        row = subjects(rounds, kind, "encode")
        result.compare(f"write_{kind}", f"write {what}", "us", row, rounds=ROUNDS,
                       better="lower", target=harness.Target("<=", 1 / 1000),
                       note="ours is the C library; of JSON a tenth of the rows")
        row = subjects(rounds, kind, "decode")
        result.compare(f"read_{kind}", f"read {what}", "us", row, rounds=ROUNDS, better="lower",
                       note="ours verifies every offset and length, the client of 2018 none")
        row = subjects(rounds, kind, "decode")
        result.compare(f"read_{kind}_alone", "the same, ours alone", "us",
                       {"graphpipe": row["graphpipe"]}, rounds=ROUNDS, better="lower",
                       target=harness.Target("<=", 2))
    points = list(zip(*(ours["curve"] for ours, _ in rounds)))  # each point in all rounds
    curves = {name: [[at[0][0], statistics.median(p[column] for p in at)] for at in points]
              for name, column in (("write", 1), ("read", 2))}
    result.curve("size", "Writing and reading a request, over the size of its tensor",
                 {"name": "tensor", "unit": "bytes", "log": True},
                 {"name": "time", "unit": "us", "log": False}, curves)
    result.save()
