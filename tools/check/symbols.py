"""Checks what the built shared objects export and need: a plug-in exports gp_engine_entry alone
and needs no gp_ symbol; the libraries export gp_ symbols alone."""

import glob
import os
import subprocess
import sys

import tree


def symbols(path, kind):
    """Names of the dynamic symbols: kind is --defined-only or --undefined-only."""
    listed = subprocess.run(["nm", "-D", kind, path], stdout=subprocess.PIPE, check=True,
                            text=True).stdout
    return {line.split()[-1].split("@")[0] for line in listed.splitlines()}


def check_plugin(path):
    exported = symbols(path, "--defined-only")
    if exported != {"gp_engine_entry"}:
        yield f"{path}: exports {', '.join(sorted(exported)) or 'nothing'}; " \
              "it should be gp_engine_entry alone"
    for name in sorted(symbols(path, "--undefined-only")):
        if name.startswith("gp_"):
            yield f"{path}: needs {name}, which a plug-in gets through struct gp_host"


def check_library(path):
    for name in sorted(symbols(path, "--defined-only")):
        if not name.startswith("gp_"):
            yield f"{path}: exports {name}, which does not begin with gp_"


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else os.path.join(tree.ROOT, "build", "release")
    # those of the tests, in lib/graphpipe-test, do wrong on purpose
    plugins = sorted(glob.glob(f"{build}/lib/graphpipe/graphpipe-engine-*.so"))
    libraries = sorted(glob.glob(f"{build}/lib/libgraphpipe*.so"))
    if not libraries:
        tree.finish("symbols", [f"{build}: no library there; build first"], "")
    problems = [p for path in plugins for p in check_plugin(path)]
    problems += [p for path in libraries for p in check_library(path)]
    tree.finish("symbols", problems,
                f"{len(plugins)} plug-ins and {len(libraries)} libraries export what they should")


main()
