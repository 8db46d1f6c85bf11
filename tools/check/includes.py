"""Checks who includes whom (ARCHITECTURE.md): modules form layers, in the larger ones files do
too, and plug-ins see one header.

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
    "net": {"base"},
    "model": {"base", "wire", "engine", "cache", "net/task.h", "net/alarm.h"},
    "server": {"base", "wire", "http", "engine", "net", "cache", "model"},
    "cli": {"base", "wire", "http", "cache", "engine", "client", "net", "model", "server"},
}
NO_CIRCLES = ("net", "model", "cache", "server")  # x.c and x.h are one file there
# header: the modules that may use it
THIRD_PARTY = {"llhttp.h": {"http"}, "lmdb.h": {"cache"}, "blake3.h": {"cache"},
               "curl/curl.h": {"base"}, "yyjson.h": {"cli"}}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def in_module(module, quote, header):
    if quote == "<":
        return header not in THIRD_PARTY or module in THIRD_PARTY[header]
    other = header.split("/")[0]
    allowed = MAY_INCLUDE.get(module, ())
    return "/" in header and (other == module or other in allowed or header in allowed)


def in_plugin(folder, quote, header):
    if quote == "<":
        return (header in ("graphpipe/engine.h", "graphpipe/client.h")
                or not header.startswith("graphpipe/"))
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
        return in_plugin, os.path.dirname(path), "a plug-in sees only <graphpipe/engine.h> and <graphpipe/client.h>"
    return in_public, None, "only public headers, in <>"


def arrows(module):
    """For each file of a module, without its ending, the ones whose headers it includes."""
    found = {}
    for path in tree.files(f"src/{module}/*.[ch]"):
        name = os.path.splitext(os.path.basename(path))[0]
        others = found.setdefault(name, set())
        for line in tree.lines(path):
            match = INCLUDE.match(line)
            if match and match.group(2).startswith(module + "/"):
                others.add(match.group(2)[len(module) + 1:-len(".h")])
        others.discard(name)
    return found


def circle(found):
    """The names on one circle, or none: what is left when files without arrows are taken off."""
    left = {name: set(others) for name, others in found.items()}
    while True:
        ends = {name for name, others in left.items() if not others & left.keys()}
        if not ends:
            break
        left = {name: others for name, others in left.items() if name not in ends}
    at, way = next(iter(sorted(left)), None), []
    while at and at not in way:
        way.append(at)
        at = min(left[at] & left.keys())
    return way[way.index(at):] + [at] if at else []


def main():
    problems = []
    for module in NO_CIRCLES:
        way = circle(arrows(module))
        if way:
            problems.append(f"src/{module}: a circle of files: {' -> '.join(way)}")
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
