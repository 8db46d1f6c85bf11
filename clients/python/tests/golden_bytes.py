"""Messages that other libraries wrote, of tests/golden."""

import json

from harness import SOURCE

GOLDEN = SOURCE / "tests/golden"
CASES = {case["file"]: case for name in ("manifest.json", "manifest-go.json")
         for case in json.loads((GOLDEN / "vectors" / name).read_text())}


def read_golden(name):
    return (GOLDEN / "vectors" / name).read_bytes()
