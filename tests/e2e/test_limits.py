"""The limits of the place: a start under any ulimit, affinity and control group either serves or
names the limit that stood in the way, and takes no more of the machine than is its share."""
import json
import os
import pathlib
import re
import resource
import subprocess

import pytest

from harness import (BUILD, SANITIZE, Server, assert_serves, echoed, eventually, start_fails,
                     uint8)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CGROUPS = pathlib.Path("/sys/fs/cgroup")
N_CORES = len(os.sched_getaffinity(0))
addresses_count = pytest.mark.skipif(bool(SANITIZE), reason="sanitizers map terabytes")


def ulimit(kind, value):
    """For popen: runs in the child before the program."""
    return {"preexec_fn": lambda: resource.setrlimit(kind, (value, value))}


def one_core():
    return {"preexec_fn": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})}


def n_threads(server):
    return len(os.listdir(f"/proc/{server.pid}/task"))


# --- what the start line says -----------------------------------------------------------

def test_start_line_tells_cores_and_pool():
    with Server("--pool", "64MiB") as server:
        assert re.fullmatch(r"\d+( of \d+)? cores?( \((affinity|cgroup quota)\))?, "
                            r"pool 64 MiB \(--pool\)", server.place)
    with Server() as server:
        assert re.search(r", pool \d+ [MG]iB \((half|an eighth) of [a-z_. -]+\)$", server.place)
    with Server("--pool", "64MiB", "--log-format", "json") as server:
        assert json.loads(server.place)["message"].endswith(", pool 64 MiB (--pool)")


def test_old_programs_say_it_too():
    command = [BUILD / "bin/graphpipe-echo", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stderr.readline() for _ in range(3)]
        finally:
            process.terminate()
    assert re.fullmatch(r"\d+.* cores?.*, pool .*\n", lines[1]), lines


def test_pool_over_the_memory_is_warned_of():
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
    with Server("--pool", f"{memory + 100}MiB") as server:
        (line,) = [line for line in server.lines if "warning" in line]
        assert re.search(rf"pool of {memory + 100} MiB is more than (the memory|memory\.\w+), \d+ MiB: "
                         "set a smaller --pool$", line)
        assert_serves(server)


@pytest.mark.skipif(N_CORES < 2, reason="one core only")
def test_affinity():
    with Server(**one_core()) as one, Server() as all_:
        assert re.match(r"1 of \d+ cores \(affinity\), pool", one.place)
        assert all_.n_cores <= N_CORES
        assert n_threads(all_) > n_threads(one)
    with Server("--instances", 1, **one_core()) as server:
        assert n_threads(server) == 1 + 1 + 1 + 5  # a poller, a slot, one more; watcher, loader, log, server, signals


# --- addresses --------------------------------------------------------------------------

@addresses_count
@pytest.mark.parametrize("arguments", [("--pool", "256MiB"), ("--pool", "256MiB", "--isolate"), ()])
def test_starts_with_few_addresses(arguments):
    """And all of the pool can be had: four times, in bodies and answers of many sizes."""
    with Server(*arguments, **ulimit(resource.RLIMIT_AS, 2 * GIB)) as server:
        for size in 100, 10 * KIB, 300 * KIB, 3 * MIB, 30 * MIB, 200 * KIB, 31 * MIB:
            assert echoed(server.infer(uint8(bytes(size)))) == bytes(size)
        assert re.search(r"pool 256 MiB \((--pool|an eighth of ulimit -v)\)$", server.place)


@addresses_count
def test_remedy_for_few_addresses_helps():
    place = ulimit(resource.RLIMIT_AS, GIB)
    line = start_fails("--engine", "echo", "--pool", "4GiB", "--listen", "127.0.0.1:0", **place)
    assert f"ulimit -v is {GIB // KIB}: raise it" in line
    pool = re.search(r"or set --pool (\d+MiB)$", line)[1]
    with Server("--pool", pool, **place) as server:
        assert_serves(server)


@addresses_count
def test_isolated_models_need_addresses_of_their_own():
    place = ulimit(resource.RLIMIT_AS, GIB)
    line = start_fails("--engine", "echo", "--isolate", "--pool", "400MiB",
                       "--listen", "127.0.0.1:0", **place)
    assert f"ulimit -v is {GIB // KIB}: raise it); a smaller --pool needs less" in line
    with Server("--isolate", "--pool", "100MiB", **place) as server:
        assert_serves(server)


@addresses_count
@pytest.mark.parametrize("mib", [10, 20, 50, 100])
def test_too_few_addresses_are_named(mib):
    line = start_fails("--engine", "echo", "--listen", "127.0.0.1:0",
                       **ulimit(resource.RLIMIT_AS, mib * MIB))
    assert f"ulimit -v is {mib * KIB}: raise it" in line, line


# --- files, descriptors -----------------------------------------------------------------

@pytest.mark.parametrize("size", [0, KIB, 100 * MIB])
def test_limit_on_file_sizes_is_no_limit_on_the_pool(size):
    with Server("--pool", "256MiB", **ulimit(resource.RLIMIT_FSIZE, size)) as server:
        data = bytes(range(256)) * (MIB // 16)
        for _ in range(3):
            assert echoed(server.infer(uint8(data))) == data


def test_limit_on_file_sizes_forbids_sharing():
    line = start_fails("--engine", "echo", "--isolate", "--listen", "127.0.0.1:0",
                       **ulimit(resource.RLIMIT_FSIZE, KIB))
    assert "ulimit -f is 1: raise it" in line


@pytest.mark.skipif("thread" in SANITIZE or "address" in SANITIZE, reason="sanitizers open files of their own")
@pytest.mark.parametrize("arguments", [(), ("--isolate", "--instances", 2)], ids=["here", "isolated"])
def test_any_number_of_descriptors(arguments):
    """From too few for the plug-in's file to enough."""
    n_refused = n_served = 0
    for n in range(5, 44):
        command = [BUILD / "bin/graphpipe", "serve", "--engine", "echo", "--listen", "127.0.0.1:0",
                   *map(str, arguments)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True,
                              **ulimit(resource.RLIMIT_NOFILE, n)) as process:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "listening" in line:
                    process.terminate()
        if any("listening" in line for line in lines):
            n_served += 1
            assert process.returncode == 0, lines
        else:
            n_refused += 1
            assert process.returncode == 1 and f"ulimit -n is {n}: raise it" in lines[-1], lines
    assert n_refused >= 3 and n_served >= 3


# --- control groups, where this machine lets us make some -------------------------------

class Group:
    """A group of the controller below another one, of version 2 or 1."""

    def __init__(self, controller):
        outer = f"graphpipe-test-{os.getpid()}"
        self.is_v2 = controller in self.v2_controllers()
        top = CGROUPS if self.is_v2 else CGROUPS / controller
        self.outer = top / outer
        self.inner = self.outer / "inner"
        self.folders = []
        try:
            for folder in self.outer, self.inner:
                folder.mkdir()
                self.folders.append(folder)
                if self.is_v2 and folder == self.outer:
                    (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as reason:
            self.close()
            pytest.skip(f"no control group of {controller} can be made here: {reason}")

    @staticmethod
    def v2_controllers():
        try:
            return (CGROUPS / "cgroup.subtree_control").read_text().split()
        except OSError:
            return []

    def put(self, folder, v2, v1):
        for name, value in (v2 if self.is_v2 else v1).items():
            (folder / name).write_text(str(value))

    def place(self):
        """For popen."""
        return {"preexec_fn": lambda: (self.inner / "cgroup.procs").write_text("0")}

    def close(self):
        for folder in reversed(self.folders):
            eventually(lambda folder=folder: self._remove(folder), what=f"the end of {folder}")

    @staticmethod
    def _remove(folder):
        try:
            folder.rmdir()
        except OSError:
            return False
        return True


@pytest.fixture
def group():
    made = []

    def make(controller):
        made.append(Group(controller))
        return made[-1]

    yield make
    for one in made:
        one.close()


def set_quota(group, folder, cores):
    group.put(folder, {"cpu.max": f"{int(cores * 100000)} 100000"},
              {"cpu.cfs_period_us": 100000, "cpu.cfs_quota_us": int(cores * 100000)})


@pytest.mark.skipif(N_CORES < 2, reason="one core only")
def test_cpu_quota(group):
    """Of the group above its own."""
    cpu = group("cpu")
    set_quota(cpu, cpu.outer, 0.6)
    with Server("--instances", 1, **cpu.place()) as server:
        assert re.match(r"1 of \d+ cores \(cgroup quota\), pool", server.place)
        assert n_threads(server) == 1 + 1 + 1 + 5
        assert_serves(server)
    with Server("--isolate", **cpu.place()) as server:  # a process for each core
        assert len(server.children()) == 1
        assert_serves(server)


def test_memory_limit(group):
    memory = group("memory")
    memory.put(memory.outer, {"memory.max": 512 * MIB}, {"memory.limit_in_bytes": 512 * MIB})
    with Server(**memory.place()) as server:
        assert re.search(r"pool 256 MiB \(half of memory\.(max|limit_in_bytes)\)$", server.place)
        assert server.metrics()["pool_budget_bytes"] == 256 * MIB
    with Server("--pool", "1GiB", **memory.place()) as server:
        (line,) = [line for line in server.lines if "warning" in line]
        assert re.search(r"more than memory\.(max|limit_in_bytes), 512 MiB: set a smaller --pool$",
                         line)


def test_limit_on_tasks(group):
    pids = group("pids")
    pids.put(pids.outer, {"pids.max": 4}, {"pids.max": 4})
    line = start_fails("--engine", "echo", "--listen", "127.0.0.1:0", **pids.place())
    assert "cannot make thread" in line and "pids.max of the control group is 4: raise it" in line
    assert "--pollers" in line and "--instances" in line
    pids.put(pids.outer, {"pids.max": 8}, {"pids.max": 8})
    with Server("--pollers", 1, "--instances", 1, **pids.place()) as server:
        assert_serves(server)
