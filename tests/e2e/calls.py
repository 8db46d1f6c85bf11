"""Calls of the program, with nothing of the environment that it reads."""
import os
import re
import subprocess

from harness import PATIENCE, PROGRAM, Server

PLAIN = {k: v for k, v in os.environ.items() if not re.match("GP_", k)}


def call(*words, stdin=None, env=None, program=PROGRAM, cwd=None):
    return subprocess.run([program, *map(str, words)], input=stdin, capture_output=True,
                          timeout=30 * PATIENCE, env={**PLAIN, **(env or {})}, cwd=cwd)


def succeeds(*words, **options):
    done = call(*words, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def fails(status, *words, **options):
    """Standard error of a call that has to fail with this status, in our name."""
    done = call(*words, **options)
    text = done.stderr.decode()
    assert done.returncode == status, (done.returncode, done.stdout, text)
    assert text.startswith(("graphpipe: ", "error: ")), text
    return text


def serving(*words, program=PROGRAM, env=()):
    """A server that is called by exactly these words, for `with`."""
    server = Server()
    server.command = ["env", *env, str(program), *words]
    return server
