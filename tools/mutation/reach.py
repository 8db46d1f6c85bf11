"""Which tests reach which line of src/, and how long each takes: one run of all the unit tests with
src/ compiled for gcov, kept until a source, a test or the compiler's command changes."""

import bisect
import collections
import hashlib
import json
import os
import shutil
import subprocess
import time

from . import build as building
from . import sandbox

FLAGS = ["-w", "-O0", "--coverage", "-fprofile-update=atomic"]
LIMIT_S = 300
# a child that ends by _exit would leave no counts
AT_EXIT = """void __gcov_dump(void);
_Noreturn void __real__exit(int);
_Noreturn void __wrap__exit(int);
void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}
"""


def fingerprint(build):
    digest = hashlib.sha256(json.dumps(sorted(build.compiles.items())).encode())
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "src", "include", "tests",
                             "engines"], cwd=building.ROOT, stdout=subprocess.PIPE,
                            check=True, text=True).stdout
    for name in sorted(listed.split()):
        path = building.ROOT / name
        if path.is_file() and not name.startswith(("tests/e2e", "tests/golden")):
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def instrument(build, home, pool):
    """Compiles src/; gives the objects in exchange for those of the release build."""
    objects = {}
    for source, (_, made) in build.compiles.items():
        objects[made] = str(home / made)
        (home / made).parent.mkdir(parents=True, exist_ok=True)

    def compile_one(source):
        return build.compile(source, building.ROOT / source, objects[build.compiles[source][1]],
                             *FLAGS)
    for source, problem in zip(build.compiles, pool.map(compile_one, build.compiles)):
        if problem:
            raise SystemExit(f"mutants: {source} does not compile for gcov:\n{problem}")
    (home / "at_exit.c").write_text(AT_EXIT)
    subprocess.run(["cc", "-c", "-o", home / "at_exit.o", home / "at_exit.c"], check=True)
    return objects


def counts_of(run):
    """{source: {line: was it reached}}, and {source: [(first, last line) of each function]}."""
    data = sorted(run.rglob("*.gcda"))
    if not data:
        return {}, {}
    for path in data:
        link = path.with_suffix(".gcno")
        if not link.exists():
            link.symlink_to("/" + str(path.with_suffix(".gcno").relative_to(run)))
    said = subprocess.run(["gcov", "--json-format", "--stdout", *data], cwd=run,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    lines, functions = collections.defaultdict(dict), {}
    for document in said.decode().splitlines():
        for file in json.loads(document)["files"]:
            source = os.path.relpath(os.path.join(building.RELEASE, file["file"]), building.ROOT)
            if not source.startswith("src/") or not source.endswith(".c"):
                continue
            for line in file["lines"]:
                was = lines[source].get(line["line_number"], False)
                lines[source][line["line_number"]] = was or line["count"] > 0
            functions[source] = sorted([f["start_line"], f["end_line"]] for f in file["functions"])
    return lines, functions


class Reach:
    def __init__(self, kept):
        self.kept = kept

    @property
    def takes_s(self):
        return self.kept["takes_s"]

    def uses_program(self, test):
        return test in self.kept["uses_program"]

    def tests(self, source, line):
        """The names of those that reach it, by the time they take. A line that gcov does not count by
        itself has the tests of its neighbours; one outside of functions, all those of the file."""
        counted = {int(n): set(tests) for n, tests in self.kept["lines"].get(source, {}).items()}
        inside = next((f for f in self.kept["functions"].get(source, []) if f[0] <= line <= f[1]), None)
        if line in counted and inside:
            found = counted[line]
        elif inside:
            numbers = sorted(n for n in counted if inside[0] <= n <= inside[1])
            at = bisect.bisect(numbers, line)
            found = set().union(*(counted[n] for n in numbers[max(0, at - 1):at + 1]))
        else:
            found = set().union(*counted.values())
        return sorted(found, key=lambda name: (self.takes_s[name], name))


def measure(build, tests, pool, say):
    home = building.make_home(building.HOME / "reach")
    shutil.rmtree(home / "runs", ignore_errors=True)
    say("compiling src/ for gcov, to see which tests reach which line")
    objects = instrument(build, home, pool)
    extra = ["--coverage", "-Wl,--wrap=_exit", str(home / "at_exit.o")]
    (home / "bin/graphpipe").unlink()
    build.link("bin/graphpipe", home / "bin/graphpipe", objects, *extra)

    def run_one(test):
        program, run = home / test.target, home / "runs" / test.name
        run.mkdir(parents=True)
        build.link(test.target, program, objects, *extra)
        environment = {**test.environment_in(home), "GCOV_PREFIX": str(run)}
        outcome = sandbox.run([str(program), *test.command[1:]], environment, test.cwd, LIMIT_S)
        program.unlink()
        found = counts_of(run)
        shutil.rmtree(run)
        for _ in range(2):  # once more where other work on the machine made it fail
            start = time.monotonic()
            plain = sandbox.run(test.command, test.environment_in(building.RELEASE), test.cwd, LIMIT_S)
            if plain == "passed":
                break
        return outcome, plain, time.monotonic() - start, *found

    kept = {"takes_s": {}, "uses_program": [], "lines": {}, "functions": {}}
    for n, (test, result) in enumerate(zip(tests, pool.map(run_one, tests)), 1):
        outcome, plain, takes_s, lines, functions = result
        if plain != "passed":
            say(f"{test.name} is left out: it {plain} without any mutant")
            continue
        if outcome != "passed":
            say(f"{test.name} {outcome} when compiled for gcov; what it reached counts")
        kept["takes_s"][test.name] = round(takes_s, 3)
        if any(lines.get("src/cli/main.c", {}).values()):
            kept["uses_program"].append(test.name)
        for source, reached in lines.items():
            for line, was in reached.items():
                names = kept["lines"].setdefault(source, {}).setdefault(str(line), [])
                names += [test.name] if was else []
        kept["functions"].update(functions)
        if n % 10 == 0:
            say(f"reach: {n} of {len(tests)} tests")
    return kept


def load(build, tests, pool, say):
    path, is_of = building.HOME / "reach.json", fingerprint(build)
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        kept = {}
    if kept.get("is_of") != is_of:
        kept = {**measure(build, tests, pool, say), "is_of": is_of}
        path.write_text(json.dumps(kept))
    return Reach(kept)
