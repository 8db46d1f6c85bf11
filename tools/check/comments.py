"""Checks that a comment which does not fit behind its line stands above it: neither goes on in the
next line nor makes the formatter split the declaration in two."""

import re

import tree

OPEN = re.compile(r"^\s*[^\s/*].*?/\*(?!.*\*/)[^\\]*$")  # code, and a comment that goes on
BEHIND = re.compile(r"^\s+\*?\w[\w\[\]]*;\s*/\*")  # a name alone, and a comment
TYPE = re.compile(r"^\s+[\w ]+$")  # what comes before it


def problems_of(path):
    before = ""
    for number, line in enumerate(tree.lines(path), 1):
        if OPEN.match(line):
            yield f"{path}:{number}: put the comment above: it goes on in the next line"
        elif BEHIND.match(line) and TYPE.match(before):
            yield f"{path}:{number}: put the comment above: it splits the declaration"
        before = line


def main():
    paths = tree.files("src/*.[ch]", "engines/*.[ch]", "engines/*.cc", "include/*.h")
    problems = [problem for path in paths for problem in problems_of(path)]
    tree.finish("comments", problems, f"{len(paths)} files have long comments above their lines")


main()
