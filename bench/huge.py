"""Huge pages behind the pool: the same bodies received with them and without.

Linux gives huge pages to shared memory only where the machine's administrator says so, in
/sys/kernel/mm/transparent_hugepage/shmem_enabled. This benchmark, run as root and by name, sets it
to `advise` and to `never` in turn and leaves it as it was. The server is a new one for each
measurement, since it looks at its start: its first request goes into fresh pages, the others
into warm ones.
"""
import contextlib
import math
import pathlib
import re
import signal
import sys
import tempfile

import harness
from harness import Sample

SETTING = pathlib.Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
ROUNDS = 5
SECONDS = 3
WORDS = {"graphpipe, huge pages": "advise", "graphpipe, 4 KiB pages": "never"}
ROOM = ["--max-body", "1100M", "--pool", "6G"]


@contextlib.contextmanager
def setting_restored():
    """Also when the benchmark is told to end."""
    before = re.search(r"\[(\w+)\]", SETTING.read_text())[1]
    handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: told to end"))
    try:
        yield
    finally:
        SETTING.write_text(before)
        signal.signal(signal.SIGTERM, handler)


def is_allowed():
    try:
        with open(SETTING, "r+") as file:
            file.write(re.search(r"\[(\w+)\]", file.read())[1])
        return True
    except OSError as error:
        print(f"bench: huge pages are left out: {error}; wanted: root, and a kernel that has them")
        return False


def minor_faults(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


def huge_mib(pid):
    """Of the shared memory that this process has mapped, what is mapped by huge pages."""
    maps = pathlib.Path(f"/proc/{pid}/smaps").read_text()
    return sum(map(int, re.findall(r"ShmemPmdMapped:\s+(\d+) kB", maps))) / 1024


def receive(word, given, is_fresh, seconds):
    """A measurement: GB/s into a new server, of its first request or of those after some."""
    def measure():
        SETTING.write_text(word)
        with harness.graphpipe("null", *ROOM) as (address, process):
            if not is_fresh:
                harness.bench(address, given, requests=2, warm_up_s=0)
            faults = minor_faults(process.pid)
            length = {"requests": 1} if is_fresh else {"seconds": seconds}
            total = harness.bench(address, given, warm_up_s=0, pid=process.pid, **length)
            faults = (minor_faults(process.pid) - faults) / total["requests"]
            huge = huge_mib(process.pid)
        if (word == "advise") != (huge > 0):
            raise RuntimeError(f"with {word} {huge:.0f} MiB are mapped by huge pages")
        return Sample(total["sent_bytes_per_s"] / 1e9, total["server_cpu_us"] or 0.0,
                      {"faults": faults, "huge_mib": huge})
    return measure


def print_extra(result):
    for name, found in result.data["rows"][-1]["subjects"].items():
        print(f"    {name:24} {found['faults']:12.5g} page faults for each request, "
              f"{found['huge_mib']:.0f} MiB mapped by huge pages")


def main(smoke):
    if not is_allowed():
        return
    result = harness.Result("huge", "Huge pages", smoke)
    seconds = 0.3 if smoke else SECONDS
    shapes = {"pictures": (128, 224, 224, 3), "gigabyte": (1 << (24 if smoke else 28),)}
    with setting_restored(), tempfile.TemporaryDirectory() as folder:
        for row, shape in shapes.items():
            given = harness.zeros(pathlib.Path(folder), *shape)
            what = f"{4 * math.prod(shape) / 1e6:.0f} MB"
            for is_fresh, where in [(True, "fresh"), (False, "warm")]:
                subjects = {name: receive(word, given, is_fresh, seconds)
                            for name, word in WORDS.items()}
                result.compare(f"{row}-{where}", f"receive {what} into {where} pages", "GB/s",
                               subjects, rounds=ROUNDS, ours="graphpipe, huge pages")
                print_extra(result)
    result.save()
