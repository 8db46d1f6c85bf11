"""The lines of a C source that are worth mutating."""

import re

from . import sandbox

# a comment, or a text or character, in which no comment can begin
TOKEN = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)
# ThreadSanitizer judges whether locks are taken, AddressSanitizer whether memory is freed
SANITIZED = re.compile(r"\b(pthread_mutex_lock|mem_free|text_finish)\(")
# glibc's mutexes and conditions are made by zeroed memory, and hold nothing that is to be freed
PTHREAD = re.compile(r"\bpthread_(mutex_init|condattr_init|(mutex|cond|condattr)_destroy)\(")
# a character more or less of a text's room: whether it is enough is for AddressSanitizer
ROOM = re.compile(r"^\s*(static )?char \w+\[")
SIGNAL = re.compile(r"\b(pthread_)?kill\w*\(")
ASSERTION = re.compile(r"^\s*(static_assert|_Static_assert|assert)\(")


def without_comments(lines):
    """The same lines, as many, with nothing in place of comments."""
    def replace(match):
        text = match[0]
        return "\n" * text.count("\n") if text.startswith("/") else text
    return [line.rstrip() for line in TOKEN.sub(replace, "\n".join(lines)).split("\n")]


def without_texts(line):
    return TOKEN.sub(lambda match: '""' if match[0].startswith('"') else match[0], line)


def mutable_lines(path):
    """Their numbers. Left out are assertions, which are no behaviour, to their last line; what the
    sanitizers judge; what glibc does nothing for; and what sends signals, where tests cannot be confined
    to a namespace."""
    found, in_assertion = [], False
    for number, line in enumerate(without_comments(path.read_text().splitlines()), 1):
        in_assertion = in_assertion or bool(ASSERTION.match(line))
        is_left_out = in_assertion or line.lstrip().startswith("#") or SANITIZED.search(line) or \
            PTHREAD.search(line) or ROOM.match(line) or (
                SIGNAL.search(line) and not sandbox.namespaces())
        if line and not is_left_out:
            found.append(number)
        if in_assertion and line.endswith(";"):
            in_assertion = False
    return found


def indent_of(line):
    return len(line) - len(line.lstrip())


def openers(bare, number):
    """What begins the blocks around a line, from the inner to the outer, by how lines are indented."""
    found, indent = [], indent_of(bare[number - 1])
    for line in reversed(bare[:number - 1]):
        if line and indent_of(line) < indent:
            indent = indent_of(line)
            found.append(line)
    return found


def jump_matters(bare, number, jump):
    """Whether "break;" or "continue;" behind a line compiles and can change anything: inside of a loop,
    and neither behind another jump nor, for "continue;", at the loop's end."""
    around = openers(bare, number)
    kinds = [re.match(r"\w*", line.lstrip())[0] for line in around]
    loops = {"for", "while", "do"} | ({"case", "default"} if jump == "break;" else set())
    line = bare[number - 1]
    if not loops & set(kinds) or not line.endswith((";", "{", "}", ")")) or \
            re.match(r"\s*(return|goto|break|continue)\b", line):
        return False
    following = next(line for line in bare[number:] if line)
    loop = next(line for line, kind in zip(around, kinds) if kind in loops)
    at_end = following.lstrip().startswith("}") and indent_of(following) == indent_of(loop)
    return not (jump == "continue;" and at_end)
