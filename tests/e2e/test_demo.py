"""`make demo` ends with the right answer, and its server ends with it."""

import os
import re
import subprocess

SOURCE = os.environ.get("GP_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))


def test_demo_knows_the_mug():
    run = subprocess.run([os.path.join(SOURCE, "tools", "demo")], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
    assert run.returncode == 0, run.stdout
    answers = re.findall(r"^  (0\.\d+)  (.*) \(\d+\)$", run.stdout, re.MULTILINE)
    assert len(answers) == 5, run.stdout
    assert answers[0][1] == "coffee mug" and abs(float(answers[0][0]) - 0.573) <= 0.005
    assert re.search(r"in \d+\.\d ms", run.stdout)
