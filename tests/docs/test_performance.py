"""docs/performance.md says what bench/results says, and a target that was missed stands there as
missed."""
import json
import subprocess
import sys

from examples import SOURCE

MACHINE = {"cpu": "a CPU", "cores": 2, "kernel": "6.1.0-1", "memory_gib": 4, "namespace": True,
           "tcp": "reno", "date": "2026-01-01", "version": "0.1.0"}


def draw(*arguments):
    return subprocess.run([sys.executable, "-B", SOURCE / "bench/draw.py", *arguments],
                          capture_output=True, text=True, timeout=240)


def test_page_is_of_the_results():
    done = draw("--check")
    assert done.returncode == 0, done.stderr


def test_missed_is_said(tmp_path):
    page = tmp_path / "page.md"
    rounds = {"graphpipe": [50.0, 40.0], "rival": [100.0, 100.0]}
    row = {"what": "a thing", "unit": "us", "better": "higher", "note": "",
           "subjects": {name: {"median": sum(values) / 2, "rounds": values}
                        for name, values in rounds.items()},
           "ratio": {"of": "graphpipe", "to": "rival", "median": 0.45, "low": 0.4, "high": 0.5},
           "target": {"op": ">=", "value": 0.9, "said": ""}, "met": False}
    (tmp_path / "some.json").write_text(json.dumps(
        {"name": "some", "title": "Some", "command": "bench/run some", "machine": MACHINE,
         "rows": [row], "curves": []}))
    page.write_text("<!-- results:some -->\n<!-- /results -->\n")
    arguments = ["--results", tmp_path, "--page", page]
    assert draw("--check", *arguments).returncode == 1
    draw("--tables", *arguments)
    said = "| a thing | 45.0 µs | rival: 100 µs | 0.450 (0.400 to 0.500) | ≥ 0.9 | **missed** |"
    assert said in page.read_text().splitlines()
    assert draw("--check", *arguments).returncode == 0
