"""The memory of outputs: parts of a file that the server has mapped too. The server grants them
during a run (ALLOC, PLACE), reads them afterwards, and then gives them to other requests.

A model may keep an array that it got here, and write to it at any time. So each part is mapped by
itself, and where an array is left at the end of a run, private memory with the same bytes is put
in the part's place: what was kept is an ordinary array from then on."""
import collections
import ctypes
import mmap
import operator
import os
import sys
import threading

import numpy as np

from .link import ALLOC, FAILED, OUTPUTS, PLACE, SMALL_BYTES, Nonsense, u64

MAP_FIXED = 0x10
KEPT_MAPPINGS = 16

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]


def address_of(array):
    return array.__array_interface__["data"][0]


class Place:
    def __init__(self, offset, size):
        self.offset = offset
        self.memory = mmap.mmap(OUTPUTS, size, mmap.MAP_SHARED,
                                mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)
        self.address = address_of(np.ndarray(1, "u1", self.memory))
        self.is_used = False  # an output's
        self.n_references = self.count()

    def count(self):
        return sys.getrefcount(self.memory)

    def array(self, shape, dtype):
        """Holds a reference to the memory, as all views of it do."""
        return np.ndarray(shape, dtype, self.memory)

    def is_kept(self):
        return self.count() > self.n_references

    def part(self):
        held = self.memory[:]
        if libc.mmap(self.address, len(held), mmap.PROT_READ | mmap.PROT_WRITE,
                     mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED, -1, 0) != self.address:
            os._exit(1)  # rather than one client's numbers in another's answer
        self.memory[:] = held


class Places:
    """The places of the current run, and mappings of earlier runs, whose pages are warm."""

    def __init__(self, link):
        self.link = link
        self.size = os.fstat(OUTPUTS).st_size
        self.lock = threading.RLock()  # a model may have threads
        self.run = None  # its id
        self.taken = []
        self.warm = collections.OrderedDict()  # by offset

    def begin(self, run):
        with self.lock:
            self.run = run

    def end(self):
        with self.lock:
            self.run = None
            for place in self.taken:
                if place.is_kept():
                    place.part()
                else:
                    self.warm[place.offset] = place
            self.taken = []
            while len(self.warm) > KEPT_MAPPINGS:
                self.warm.popitem(last=False)

    def ask(self, size):
        """Asks the server for memory of `size` bytes; returns its offset."""
        try:
            self.link.send(ALLOC, self.run, u64(size))
            answer = self.link.read()
            if answer.kind == FAILED:
                raise MemoryError(f"no memory for an output of {size} bytes (--pool)")
            offset = answer.u64()
            if answer.kind != PLACE or offset % mmap.PAGESIZE or offset + size > self.size:
                raise Nonsense
            return offset
        except (EOFError, Nonsense):
            os._exit(1)  # not for the model to catch

    def take(self, size):
        """Called with the lock held, during a run."""
        offset = self.ask(size)
        place = self.warm.pop(offset, None)
        if not place or len(place.memory) < size:
            place = Place(offset, min(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE,
                                      self.size - offset))
        place.is_used = False
        self.taken.append(place)
        return place

    def find(self, array):
        """The place whose start the array is, unless it is an output already."""
        if array.flags.c_contiguous:
            for place in self.taken:
                if place.address == address_of(array) and not place.is_used:
                    return place
        return None

    def empty(self, shape, dtype=float, order="C"):
        """Like numpy.empty, but zeroed: memory of earlier runs holds values of other clients.
        During infer a large array lies where the server reads outputs, and is sent uncopied."""
        dtype = np.dtype(dtype)
        size = dtype.itemsize
        for n in shape if hasattr(shape, "__iter__") else [shape]:
            size *= operator.index(n)
        if size > SMALL_BYTES and not dtype.hasobject and order == "C":
            with self.lock:
                if self.run is not None:
                    place = self.take(size)
                    ctypes.memset(place.address, 0, size)
                    return place.array(shape, dtype)
        return (np.empty if dtype.hasobject else np.zeros)(shape, dtype, order)
