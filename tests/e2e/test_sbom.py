"""The bill of materials names all that set-up brings, and agrees with docs/dependencies.md and
with what the installed packages say of themselves."""
import importlib.metadata
import json
import re
import subprocess
import sys

import pytest

from harness import SOURCE

TOOLS = SOURCE / "tools"


@pytest.fixture(scope="module")
def components():
    listed = subprocess.run([sys.executable, TOOLS / "sbom"], check=True, text=True, timeout=240,
                            stdout=subprocess.PIPE).stdout
    bill = json.loads(listed)
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.5"
    return {component["purl"]: component for component in bill["components"]}


def pinned():
    """(name, version): hashes of all lists, each list read as pip reads it."""
    found = {}
    for path in TOOLS.glob("requirements-*.txt"):
        for name, version, rest in re.findall(r"^([\w.-]+)==(\S+)((?:\s*\\\n\s*--hash=\S+)*)",
                                              path.read_text(), re.MULTILINE):
            found.setdefault((name, version), set()).update(re.findall(r"sha256:(\w+)", rest))
    return found


def test_all_that_pip_brings(components):
    brought = pinned()
    assert len(brought) >= 20
    assert {f"pkg:pypi/{name}@{version}" for name, version in brought} == \
        {purl for purl in components if purl.startswith("pkg:pypi/")}
    for (name, version), hashes in brought.items():
        component = components[f"pkg:pypi/{name}@{version}"]
        assert component["version"] == version
        assert hashes and hashes == {hash_["content"] for hash_ in component["hashes"]}


def test_all_that_npm_brings(components):
    locked = json.loads((SOURCE / "clients/js/package-lock.json").read_text())["packages"]
    purls = {f"pkg:npm/{path.removeprefix('node_modules/')}@{package['version']}"
             for path, package in locked.items() if path}
    assert len(purls) >= 3 and purls == {purl for purl in components if purl.startswith("pkg:npm/")}
    for purl in purls:
        (hash_,) = components[purl]["hashes"]
        assert hash_["alg"] == "SHA-512" and re.fullmatch("[0-9a-f]{128}", hash_["content"])


def test_all_that_debian_brings(components):
    listed = {purl.removeprefix("pkg:deb/debian/").partition("@")[0].replace("%2B", "+")
              for purl in components if purl.startswith("pkg:deb/")}
    text = (TOOLS / "setup").read_text()
    for name in listed:
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), name
    assert {"cmake", "ninja-build", "python3-venv", "libcmocka-dev", "g++", "clang"} <= listed


def test_versions_are_those_of_the_document(components):
    rows = (SOURCE / "docs/dependencies.md").read_text().splitlines()
    for name, version in pinned():
        named = [row for row in rows if row.startswith("|") and
                 re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", row, re.IGNORECASE)]
        assert any(version in row or "| pinned |" in row for row in named), f"{name} {version}"


def test_licences_are_those_of_the_packages(components):
    n_said = 0
    for purl, component in components.items():
        (licence,) = component["licenses"]
        assert re.fullmatch(r"[A-Za-z0-9.+-]+( (WITH|OR|AND) [A-Za-z0-9.+-]+)*",
                            licence["expression"]), purl
        try:
            package = importlib.metadata.metadata(component["name"])
        except importlib.metadata.PackageNotFoundError:
            continue
        if component.get("version") not in (None, package["Version"]):
            continue
        said = " ".join(str(value) for key, value in package.items()
                        if key in ("License", "License-Expression")
                        or (key == "Classifier" and value.startswith("License ::")))
        for words, short in {"Mozilla Public License": "MPL", "Historical Permission": "MIT",
                             "Python Software Foundation": "PSF",
                             "Original Tensorflow": "Apache"}.items():
            said = said.replace(words, short)
        if purl.startswith("pkg:pypi/") and said not in ("", "UNKNOWN"):
            n_said += 1
            family = re.match("[A-Za-z]+", licence["expression"])[0]
            assert family in said, f"{purl}: {licence['expression']}, but it says: {said[:200]}"
    assert n_said >= 15
