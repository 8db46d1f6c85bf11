"""Checks that each public header compiles alone, as strict C11 and as C++17."""

import os
import subprocess

import tree

COMPILERS = {
    "C11": [os.environ.get("CC", "cc"), "-x", "c", "-std=c11"],
    "C++17": [os.environ.get("CXX", "c++"), "-x", "c++", "-std=c++17"],
}
FLAGS = ["-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-Iinclude", "-"]


def main():
    problems = []
    headers = tree.files("include/graphpipe/*.h")
    for header in headers:
        source = f"#include <{header.removeprefix('include/')}>\n"
        for language, compiler in COMPILERS.items():
            run = subprocess.run(compiler + FLAGS, input=source, text=True, cwd=tree.ROOT,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if run.returncode:
                problems.append(f"{header}:1: does not compile alone as {language}:\n"
                                + run.stdout.rstrip())
    tree.finish("headers", problems, f"{len(headers)} compile alone as C11 and C++17")


main()
