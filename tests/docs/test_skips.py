"""A test's reason to be skipped is one that CI takes, or names the set-up that mends it: checked
here, since many of them are given on other machines and in other builds only."""
import importlib.machinery
import importlib.util
import os
import pathlib
import re

import pytest

SOURCE = pathlib.Path(os.environ.get("GP_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
GIVEN = re.compile(r'(?:SKIP_BECAUSE\(|\bskip\(f?|\bskipif\(.*reason=f?)"([^"]+)"'
                   r'|["`](.* is (?:missing|not built): .*)["`]')  # JavaScript's
HOLE = re.compile(r"\$?\{[^}]*\}|%l?[a-z]")


def load_tool():
    """tools/test as a module: it knows which reasons are taken."""
    loader = importlib.machinery.SourceFileLoader("tools_test", str(SOURCE / "tools/test"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def given():
    """{reason: file}, with 1 for what is filled in as the test runs."""
    paths = [*(SOURCE / "tests").rglob("*"), *(SOURCE / "clients/js/tests").glob("*.js")]
    return {HOLE.sub("1", one or other): str(path.relative_to(SOURCE)) for path in sorted(paths)
            if path.suffix in (".c", ".h", ".py", ".js") and path != pathlib.Path(__file__)
            for one, other in GIVEN.findall(path.read_text())}


TOOL, REASONS = load_tool(), given()


def test_there_are_some():
    assert len(REASONS) > 20


@pytest.mark.parametrize("reason", REASONS)
def test_reason_is_taken(reason):
    assert not TOOL.is_bad(reason, {"no set-up at all"}), REASONS[reason]


def test_what_node_skips_is_counted():
    said = ("ok 1 - a\n  ---\nok 2 - b \\# c # SKIP Chromium is missing: tools/setup js\n# tests 2\n# suites 0\n"
            "# pass 1\n# fail 0\n# cancelled 0\n# skipped 1\n# todo 0\n")
    assert TOOL.outcomes(said) == (1, {"Chromium is missing: tools/setup js": 1})
    (reason,) = TOOL.outcomes(said.replace(" # SKIP", "  SKIP"))[1]
    assert TOOL.is_bad(reason, set())
