"""Checks the names that a debugger and a reader see: the tag of a struct, union or enum is defined
once in src/, include/ and engines/, and a static function of one word ("take", "start") is in one
file of src/ only. In a backtrace "take, take, reserve" says nothing: the verb gets its noun."""

import collections
import re

import tree

TAG = re.compile(r"\b(struct|union|enum)\s+(\w+)\s*\{")
STATIC = re.compile(r"^static\s[^;{}()=]*?[\s*](\w+)\(", re.M)


def places(pattern, group, paths):
    """By name, where the pattern finds it: {name: [(path, line), ...]}."""
    found = collections.defaultdict(list)
    for path in paths:
        text = "\n".join(tree.lines(path))
        for match in pattern.finditer(text):
            found[match[group]].append((path, text.count("\n", 0, match.start(group)) + 1))
    return found


def main():
    sources = tree.files("src/*.[ch]")
    paths = sources + tree.files("include/*.h", "engines/*.[ch]", "engines/*.cc")
    problems = []
    tags = places(TAG, 2, paths)
    for tag, where in sorted(tags.items()):
        problems += [f"{path}:{line}: the tag {tag} is also in {where[0][0]}:{where[0][1]}"
                     for path, line in where[1:]]
    functions = places(STATIC, 1, sources)
    for name, where in sorted(functions.items()):
        if "_" not in name and len({path for path, _ in where}) > 1:
            problems += [f"{path}:{line}: {name}() needs a noun: several files have one"
                         for path, line in where]
    tree.finish("names", problems, f"{len(tags)} tags are unique, and so are "
                f"{sum('_' not in name for name in functions)} functions of one word")


main()
