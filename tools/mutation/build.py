"""Compiles a changed source and links test programs with it, by the commands of build/release: all
other objects are those that the build has made, so a mutant costs one file and its tests' links."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = ROOT / "build/release"
HOME = ROOT / "build/mutants"
LAUNCHERS = ("ccache", "sccache")


def words_of(command):
    words = shlex.split(command)
    return words[1:] if os.path.basename(words[0]) in LAUNCHERS else words


class Build:
    def __init__(self):
        entries = json.loads((RELEASE / "compile_commands.json").read_text())
        self.compiles = {}  # source: (words, object)
        for entry in entries:
            source = os.path.relpath(entry["file"], ROOT)
            words = words_of(entry["command"])
            if source.startswith("src/"):
                self.compiles[source] = words, words[words.index("-o") + 1]
        self.links = {}
        self.quick = ["-Wl,-S"] + (["-fuse-ld=gold"] if shutil.which("ld.gold") else [])

    def compile(self, source, path, output, *flags):
        """Compiles the text at `path` in place of `source`; gives what the compiler said, or None."""
        words, _ = self.compiles[source]
        words = [*words[:words.index("-o")], "-g0", *flags, "-o", str(output), "-c", str(path)]
        done = subprocess.run(words, cwd=RELEASE, text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout if done.returncode else None

    def link_words(self, target):
        if target not in self.links:
            said = subprocess.run(["ninja", "-t", "commands", "-s", target], cwd=RELEASE, text=True,
                                  stdout=subprocess.PIPE, check=True).stdout
            command = re.search(r"(?:^|&& )(\S*[a-z+]+ [^&]* -o " + re.escape(target) + r" [^&]*)",
                                said)
            self.links[target] = words_of(command.group(1))
        return self.links[target]

    def link(self, target, output, objects, *flags):
        """Links a program of the release build with some of its objects exchanged. Raises
        CalledProcessError."""
        words = [objects.get(word, word) for word in self.link_words(target)]
        words[words.index("-o") + 1] = str(output)
        subprocess.run([*words, *self.quick, *flags], cwd=RELEASE, check=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Test:
    """A unit test as ctest knows it."""

    def __init__(self, entry):
        self.name = entry["name"]
        self.command = entry["command"]
        self.target = os.path.relpath(self.command[0], RELEASE)
        properties = {p["name"]: p["value"] for p in entry["properties"]}
        self.environment = dict(pair.split("=", 1) for pair in properties["ENVIRONMENT"])
        self.cwd = properties.get("WORKING_DIRECTORY", str(RELEASE))

    def environment_in(self, home):
        """The environment in which the test finds the program and the plug-ins of a folder."""
        return {**os.environ, **self.environment, "GP_BUILD_DIR": str(home),
                "GP_BIN": str(home / "bin/graphpipe")}


def unit_tests():
    said = subprocess.run(["ctest", "--show-only=json-v1", "-L", "^unit$"], cwd=RELEASE, text=True,
                          stdout=subprocess.PIPE, check=True).stdout
    return [Test(entry) for entry in json.loads(said)["tests"]]


def bring_up_to_date(tests):
    """The objects that mutants are linked with have to be those of the sources."""
    targets = ["graphpipe", *(test.name for test in tests)]
    done = subprocess.run(["cmake", "--build", RELEASE, "--target", *targets], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"{done.stdout}mutants: the build failed")


def make_home(home):
    """A folder like build/release, for what a test looks up: the program and the plug-ins."""
    for name in "bin", "tests":
        (home / name).mkdir(parents=True, exist_ok=True)
    if not (home / "lib").is_symlink():
        (home / "lib").symlink_to(RELEASE / "lib")
    program = home / "bin/graphpipe"
    program.unlink(missing_ok=True)
    program.symlink_to(RELEASE / "bin/graphpipe")
    return home
