"""Checks that no text is cut within a character: "%.64s" of printf counts bytes. gp_cut of
<graphpipe/text.h> says how many to keep, for "%.*s"."""

import re

import tree

CUT = re.compile(r"%-?\d*\.\d+s")


def main():
    files = tree.files("src/*.[ch]", "engines/*.[ch]", "engines/*.cc", "include/*.h")
    problems = [f"{path}:{number}: \"{found[0]}\" cuts within characters: use gp_cut"
                for path in files for number, line in enumerate(tree.lines(path), 1)
                if (found := CUT.search(line)) and not line.lstrip().startswith(("*", "/*"))]
    tree.finish("texts", problems, f"{len(files)} files cut texts at characters")


main()
