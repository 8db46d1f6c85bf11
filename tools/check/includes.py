"""Checks who includes whom (ARCHITECTURE.md): modules form layers, plug-ins see one header.

A module of src/ includes "module/header.h" of itself and of the modules listed for it, and
public headers as <graphpipe/header.h>. Plug-ins and examples see public headers only.
"""

import os
import re

import tree

MAY_INCLUDE = {
    "base": set(),
    "wire": {"base"},
    "http": {"base"},
    "cache": {"base"},
    "engine": {"base"},
    "client": {"base", "wire", "http"},
    "net": {"base", "server"},
    "model": {"base", "wire", "engine", "cache", "net", "server"},
    "server": {"base", "wire", "http", "engine", "net", "cache", "model"},
    "cli": {"base", "wire", "http", "cache", "engine", "client", "net", "model", "server"},
}
THIRD_PARTY = {"llhttp.h": {"http"}, "curl/curl.h": {"cli"}}  # header: the modules that may use it

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def in_module(module, quote, header):
    if quote == "<":
        return header not in THIRD_PARTY or module in THIRD_PARTY[header]
    other = header.split("/")[0]
    return "/" in header and (other == module or other in MAY_INCLUDE.get(module, ()))


def in_plugin(folder, quote, header):
    if quote == "<":
        return header == "graphpipe/engine.h" or not header.startswith("graphpipe/")
    return os.path.isfile(os.path.join(tree.ROOT, folder, header))


def in_public(_, quote, __):
    return quote == "<"


def rule(path):
    """The rule for a file, what it applies to, and what to say when it is broken."""
    parts = path.split("/")
    if parts[0] == "src":
        allowed = ", ".join(sorted(MAY_INCLUDE.get(parts[1], ()))) or "no other module"
        return in_module, parts[1], f"{parts[1]} may include {allowed}"
    if parts[0] == "engines" or path.startswith("tests/engines/"):
        return in_plugin, os.path.dirname(path), "a plug-in sees only <graphpipe/engine.h>"
    return in_public, None, "only public headers, in <>"


def main():
    problems = []
    paths = tree.files("src/*.[ch]", "engines/*.[ch]", "engines/*.cc", "tests/engines/*.c",
                       "include/*.h", "examples/*.c")
    for path in paths:
        allowed, scope, reason = rule(path)
        for number, line in enumerate(tree.lines(path), 1):
            match = INCLUDE.match(line)
            if match and not allowed(scope, *match.groups()):
                header = match.group(2)
                users = THIRD_PARTY.get(header)
                why = f"only {', '.join(users)} uses it" if users else reason
                problems.append(f"{path}:{number}: includes {header}: {why}")
    tree.finish("includes", problems, f"{len(paths)} files keep to the layers")


main()
