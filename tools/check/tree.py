"""What the checks share: the project's files, and how a check ends."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(*patterns):
    """Tracked and new files that match git's patterns, relative to ROOT; ignored ones are not."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns],
        cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.split("\n")
    return sorted(f for f in set(listed) if f and os.path.isfile(os.path.join(ROOT, f)))


def lines(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read().splitlines()


def finish(check, problems, summary):
    """Prints each problem on a line, or the summary, and exits."""
    for problem in problems:
        print(f"{check}: {problem}")
    if not problems:
        print(f"{check}: {summary}")
    sys.exit(1 if problems else 0)
