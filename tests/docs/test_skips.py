"""A test's reason to be skipped is one that CI takes, or names the set-up that mends it: checked
here, since many of them are given on other machines and in other builds only."""
import importlib.machinery
import importlib.util
import os
import pathlib
import re

import pytest

SOURCE = pathlib.Path(os.environ.get("GP_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
GIVEN = re.compile(r'(?:SKIP_BECAUSE\(|\bskip\(f?|\bskipif\(.*reason=f?)"([^"]+)"')
HOLE = re.compile(r"\{[^}]*\}|%l?[a-z]")


def load_tool():
    """tools/test as a module: it knows which reasons are taken."""
    loader = importlib.machinery.SourceFileLoader("tools_test", str(SOURCE / "tools/test"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def given():
    """{reason: file}, with 1 for what is filled in as the test runs."""
    return {HOLE.sub("1", reason): str(path.relative_to(SOURCE))
            for path in sorted((SOURCE / "tests").rglob("*"))
            if path.suffix in (".c", ".h", ".py") and path != pathlib.Path(__file__)
            for reason in GIVEN.findall(path.read_text())}


TOOL, REASONS = load_tool(), given()


def test_there_are_some():
    assert len(REASONS) > 20


@pytest.mark.parametrize("reason", REASONS)
def test_reason_is_taken(reason):
    assert not TOOL.is_bad(reason, {"no set-up at all"}), REASONS[reason]
