"""The engine python: runs a model that is Python code, in the interpreter that the user chose.

The server starts it as "PYTHON graphpipe-engine-python.py PARENT", one process per slot, so that
no Python is linked into the server and a crashing model takes down only its own request. It
gets a socket, for the records of src/engine/record.h, and the two files that hold tensors.
It needs the standard library and numpy. docs/engines.md describes models, and
docs/decisions/python.md gives the reasons. Python 2 can parse this file, to report that it is too
old."""
import ctypes
import logging
import mmap
import os
import sys
import traceback
import types

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path = [HERE] + [path for path in sys.path if os.path.realpath(path) != HERE]
WRITES_BYTECODE, sys.dont_write_bytecode = not sys.dont_write_bytecode, True
from graphpipe_engine_python import link  # noqa: E402
from graphpipe_engine_python.link import Failure, Nonsense, text, u32  # noqa: E402

OLDEST = (3, 8)
PR_SET_PDEATHSIG, SIGKILL = 1, 9


def version():
    return "%d.%d.%d" % sys.version_info[:3]


def check_interpreter():
    """Imports the parts that need numpy, or reports why that fails."""
    if sys.version_info < OLDEST:
        raise Failure(link.UNAVAILABLE, "%s is Python %s; the python engine needs %d.%d or newer"
                      % (sys.executable, version(), OLDEST[0], OLDEST[1]))
    try:
        import numpy
    except ImportError as error:
        if error.name == "numpy":
            error = "%s has no numpy: %s -m pip install numpy" % (sys.executable, sys.executable)
        else:
            error = "%s cannot import numpy: %s" % (sys.executable, error.__cause__ or error)
        raise Failure(link.UNAVAILABLE, error)
    from graphpipe_engine_python import memory, model, tensors
    sys.path.remove(HERE)
    sys.dont_write_bytecode = not WRITES_BYTECODE
    return numpy, memory, model, tensors


class Worker(object):
    """An open model, and its runs. `parts` come from check_interpreter."""

    def __init__(self, channel, path, parts):
        _, memory, model, self.tensors = parts
        self.channel = channel
        self.places = memory.Places(channel)
        size = os.fstat(link.INPUTS).st_size
        self.inputs = mmap.mmap(link.INPUTS, size, mmap.MAP_SHARED, mmap.PROT_READ)
        os.register_at_fork(after_in_child=self.leave)
        self.offer_module()
        sys.argv = [path]
        sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
        self.model = model.Model(path)
        self.error_text = model.error_text

    def leave(self):
        """Called in a process that the model forked, which is not a child of the server."""
        self.places.run = None
        self.channel.socket.close()

    def offer_module(self):
        """Provides graphpipe for models to import: the client library, if it is installed. Then its
        InvalidInput refuses requests, so that a model which asks another one has only one to know."""
        try:
            import graphpipe
        except Exception:
            graphpipe = sys.modules["graphpipe"] = types.ModuleType("graphpipe")
        graphpipe.empty = self.places.empty
        ours, theirs = self.tensors.InvalidInput, getattr(graphpipe, "InvalidInput", None)
        if theirs:
            self.tensors.NoInput = type("NoInput", (self.tensors.NoInput, theirs), {})
        graphpipe.InvalidInput = theirs or ours
        self.refusals = ours, graphpipe.InvalidInput

    def answer(self, record):
        """Takes the body of RUN and returns that of DONE."""
        record.take(8)  # the deadline, which the server enforces
        record.u32()  # the free cores: how many threads a library uses is settled at the start
        record.text()  # the request's config
        asked = record.texts()
        inputs = self.tensors.read_inputs(record, self.inputs)
        self.model.check_names(asked)
        wanted = self.model.wanted(self.model.infer(inputs), asked)
        if len(wanted) > link.MAX_TENSORS:
            raise Failure(link.ENGINE, "infer gave %d outputs, over the limit of %d"
                          % (len(wanted), link.MAX_TENSORS))
        ios = self.model.outputs or {}
        outputs = [self.tensors.Output(str(name), value, ios.get(name)) for name, value in wanted]
        room = link.MAX_BYTES // 2  # the rest is for shapes
        for output in outputs:
            room -= output.publish(self.places, room)
        body = u32(len(outputs)) + b"".join(output.record() for output in outputs)
        if len(body) > link.MAX_BYTES:
            raise Failure(link.TOO_LARGE, "the outputs' shapes are over what an engine can give")
        return body

    def run(self, record):
        """Returns the reply. No exception ends the process, not even a model's sys.exit()."""
        try:
            return link.DONE, self.answer(record)
        except Failure as error:
            status, words = error.status, str(error)
        except self.refusals as error:
            status, words = link.INVALID, str(error) or "the model refuses its inputs"
        except BaseException as error:
            self.channel.log(link.LOG_WARNING, traceback.format_exc())
            status = link.NO_MEMORY if isinstance(error, MemoryError) else link.ENGINE
            words = "infer raised " + self.error_text(error)
        return link.FAILED, link.failure(status, words)

    def serve(self):
        """Serves runs until the server closes its end."""
        while True:
            record = self.channel.read()
            if record.kind != link.RUN:
                raise Nonsense()
            self.places.begin(record.run)
            kind, body = self.run(record)
            self.places.end()
            self.channel.send(kind, record.run, body)


def become_child(parent):
    """Makes this process end with the server, and its programs inherit none of our descriptors."""
    import faulthandler
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        raise Failure(link.UNAVAILABLE, "%s was started by a program between the server and it; "
                      "name the interpreter itself, with --python PATH" % sys.executable)
    for fd in range(link.SOCKET + 1, link.CANCEL + 1):
        os.set_inheritable(fd, False)
    os.close(link.CANCEL)  # Python code cannot be stopped
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd > link.CANCEL and os.get_inheritable(fd):
                os.close(fd)
        except OSError:  # that of the listing
            pass
    if sys.stdout and sys.stderr:  # what a model prints is for the server's log
        os.dup2(2, 1)
        sys.stdout.reconfigure(line_buffering=True)
    faulthandler.enable()


def read_open(record):
    """Returns the path of the model, and the number of threads per run."""
    if record.kind != link.OPEN or record.u32() != link.CONTRACT:
        raise Failure(link.UNSUPPORTED, "%s is of another release than the server"
                      % os.path.realpath(__file__))
    record.text(), record.text()  # the engine and its folder
    path = record.text()
    _, _, n_threads, _ = [record.u32() for _ in range(4)]  # slots, the first one, threads, cores
    for option in record.texts():
        if not option.startswith("python="):
            raise Failure(link.INVALID, 'the python engine has no option "%s"; it has python=PATH'
                          % option)
    if not path:
        raise Failure(link.INVALID, "the python engine needs a model: a .py file")
    if os.path.isdir(path):
        raise Failure(link.INVALID, "%s is a folder; the python engine needs the .py file in it"
                      % path)
    return path, n_threads


def begin(channel, parent):
    if sys.version_info >= OLDEST:  # else it is only told
        become_child(parent)
    path, n_threads = read_open(channel.read())
    for name in "OMP", "OPENBLAS", "MKL":
        os.environ.setdefault(name + "_NUM_THREADS", str(n_threads))
    parts = check_interpreter()
    logging.lastResort = link.LogHandler(channel)
    worker = Worker(channel, path, parts)
    channel.send(link.OPENED, 0, text("python") + text(version()) + worker.model.description)
    return worker


def main(parent):
    channel, worker = link.Link(), None
    try:
        try:
            worker = begin(channel, parent)
            worker.serve()
        except Failure as failure:
            channel.log(link.LOG_DEBUG, failure.trace)
            channel.send(link.FAILED, 0, link.failure(failure.status, str(failure)))
    except EOFError:
        if worker:
            worker.model.close()
            return 0
    return 1


def probe():
    """For graphpipe engines: prints the version and, on its own line, the rest; or the error."""
    try:
        numpy = check_interpreter()[0]
        said = "%s\n%s, numpy %s\n" % (version(), sys.executable, numpy.__version__)
    except Failure as failure:
        said = str(failure) + "\n"
    sys.stdout.write(said)
    return 0


if __name__ == "__main__":
    sys.exit(probe() if sys.argv[1:] == ["probe"] else main(sys.argv[1]))
