"""Checks that files and functions stay short enough to read.

Files: a warning above 400 lines, failure above 600. Functions: failure above 70 lines, counted
from the signature to the closing brace. Public headers: a warning outside 80-250. Documents
have limits of their own.
"""

import ast
import statistics

import tree

WARN_FILE, FAIL_FILE, FAIL_FUNCTION = 400, 600, 70
HEADER_LINES = range(80, 251)
DOCUMENTS = {"README.md": 150, "ARCHITECTURE.md": 150, "CONTRIBUTING.md": 100}


def c_functions(lines):
    """Yields (first line, number of lines): a function's braces stand alone in column 0."""
    opened = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            opened = number - 1
            while opened > 1 and lines[opened - 2][:1] not in ("", "}", "#", "/", " ", "*"):
                opened -= 1
            while lines[opened - 1].startswith(" ") and opened > 1:
                opened -= 1  # arguments on further lines
        elif line == "}" and opened:
            yield opened, number - opened + 1
            opened = None


def python_functions(lines):
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1


def main():
    problems, warnings, sizes = [], [], []
    paths = tree.files("*.c", "*.h", "*.cc", "*.py", "*.go", "*.java", "*.js", "*.mjs", "CMakeLists.txt",
                       "*.cmake", "Makefile", "tools/*", *DOCUMENTS)
    for path in paths:
        lines = tree.lines(path)
        limit = DOCUMENTS.get(path, FAIL_FILE)
        if len(lines) > limit:
            problems.append(f"{path}:{limit}: {len(lines)} lines, the limit is {limit}")
        elif len(lines) > WARN_FILE:
            warnings.append(f"{path}: {len(lines)} lines, better two files")
        if path.startswith("include/") and len(lines) not in HEADER_LINES:
            warnings.append(f"{path}: {len(lines)} lines, public headers have 80 to 250")

        functions = []
        if path.endswith((".c", ".h", ".cc")):
            functions = list(c_functions(lines))
            sizes += [size for _, size in functions]
        elif path.endswith(".py"):
            functions = list(python_functions(lines))
        problems += [f"{path}:{line}: a function of {size} lines, the limit is {FAIL_FUNCTION}"
                     for line, size in functions if size > FAIL_FUNCTION]

    for warning in warnings:
        print(f"sizes: warning: {warning}")
    median = statistics.median(sizes) if sizes else 0
    tree.finish("sizes", problems, f"{len(paths)} files, {len(sizes)} C functions, median "
                f"{median:g} lines, longest {max(sizes, default=0)}")


main()
