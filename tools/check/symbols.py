"""Checks what the built shared objects export and need: a plug-in exports gp_engine_entry alone
and needs no gp_ symbol; the libraries export gp_ symbols alone, the shared ones with a version."""

import glob
import os
import re
import subprocess
import sys

import tree


def symbols(path, *options):
    """Names of the symbols as nm lists them, without the nodes of a version script (type A)."""
    listed = subprocess.run(["nm", "-P", *options, path], stdout=subprocess.PIPE, check=True,
                            text=True).stdout
    fields = [line.split() for line in listed.splitlines()]
    return {name for name, kind, *_ in (f for f in fields if len(f) > 1) if kind != "A"}


def check_plugin(path):
    exported = symbols(path, "-D", "--defined-only")
    if exported != {"gp_engine_entry"}:
        yield f"{path}: exports {', '.join(sorted(exported)) or 'nothing'}; " \
              "it should be gp_engine_entry alone"
    for name in sorted(symbols(path, "-D", "--undefined-only")):
        if name.startswith("gp_"):
            yield f"{path}: needs {name}, which a plug-in gets through struct gp_host"


def check_shared(path):
    for name in sorted(symbols(path, "-D", "--defined-only")):
        if not re.fullmatch(r"gp_\w+@@GRAPHPIPE_[0-9.]+", name):
            yield f"{path}: exports {name}, which is not gp_something with a version"


def check_static(path):
    for name in sorted(symbols(path, "-g", "--defined-only")):
        if not re.match("gp_|__|_[A-Z]", name):  # those with _ are the compiler's
            yield f"{path}: has {name}, which does not begin with gp_"


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else os.path.join(tree.ROOT, "build", "release")
    # those of the tests, in lib/graphpipe-test, do wrong on purpose
    plugins = sorted(glob.glob(f"{build}/lib/graphpipe/graphpipe-engine-*.so"))
    libraries = sorted(glob.glob(f"{build}/lib/libgraphpipe*.so"))
    archives = sorted(glob.glob(f"{build}/lib/libgraphpipe*.a"))
    if not libraries:
        tree.finish("symbols", [f"{build}: no library there; build first"], "")
    problems = [p for path in plugins for p in check_plugin(path)]
    problems += [p for path in libraries for p in check_shared(path)]
    problems += [p for path in archives for p in check_static(path)]
    tree.finish("symbols", problems,
                f"{len(plugins)} plug-ins and {len(libraries) + len(archives)} libraries export "
                "what they should")


main()
