"""SECURITY.md names the tests that hold what it promises: they are there."""
import os
import pathlib
import re

import pytest

SOURCE = pathlib.Path(os.environ.get("GP_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
NAMED = re.findall(r"`(\w+): (\w+)`", (SOURCE / "SECURITY.md").read_text())


def test_it_names_some():
    assert len(NAMED) > 20


@pytest.mark.parametrize("file, name", NAMED)
def test_promise_has_its_test(file, name):
    python = SOURCE / f"tests/e2e/test_{file}.py"
    unit = SOURCE / f"tests/unit/test_{file}.c"
    texts = [path.read_text() for path in (python, unit) if path.exists()]
    assert any(re.search(rf"^(def test_|static void (test_)?){name}\(", text, re.M) for text in texts)
