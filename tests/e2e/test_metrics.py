"""The metrics, read by Prometheus' own parser and judged by the rules of promtool check metrics."""
import re
import resource
import shutil
import subprocess
import time

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import SMALL, SOURCE, Server, begun, encode, eventually, held, serve_slow
from python_models import ECHO, PYTHON, floats, tensor, write

PROMTOOL = shutil.which("promtool") or shutil.which(SOURCE / ".deps/promtool/promtool")
UNITS = ("milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "kilobytes", "megabytes",
         "kibibytes", "mebibytes", "gibibytes", "bits", "percent", "ms", "us", "ns", "sec", "kb", "mb")
SUFFIXES = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
MORTAL = """
    import os
    def infer(inputs):
        if inputs[0][0] < 0:
            os._exit(7)
        return inputs[0]
"""


def scrape(server):
    answer = server.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


def check_name(name, kind):
    """Naming, as promlint has it."""
    assert re.fullmatch(r"(graphpipe|process)_[a-z0-9_]+", name)
    assert name.endswith("_total") == (kind == "counter"), name
    assert not name.endswith(("_count", "_sum", "_bucket", "_info")) or name.endswith("build_info")
    assert not set(name.split("_")) & {*UNITS, "counter", "gauge", "histogram", "summary"}, name


def check_lines(text):
    """HELP, TYPE and then all samples of a family, once; returns its types."""
    types, family = {}, None
    lines = text.splitlines()
    assert text.endswith("\n") and "" not in lines
    for i, line in enumerate(lines):
        words = line.split(" ", 3)
        if words[:2] == ["#", "HELP"]:
            family = words[2]
            assert family not in types and words[3], line
            kind = lines[i + 1].removeprefix(f"# TYPE {family} ")
            assert kind in SUFFIXES, lines[i + 1]
            types[family] = kind
        elif words[:2] == ["#", "TYPE"]:
            assert words[2] == family and lines[i - 1].startswith("# HELP")
        else:
            name = re.match(r"[a-z0-9_]+", line)[0]
            assert name in [family + suffix for suffix in SUFFIXES[types[family]]], line
    return types


def check_collisions(types):
    """No name that another family's samples have, nor one that differs by _total alone."""
    names = [name.removesuffix("_total") for name in types]
    samples = [name + suffix for name, kind in types.items() for suffix in SUFFIXES[kind]]
    assert len(set(names)) == len(names), "differ by _total alone"
    assert len(set(samples)) == len(samples), "samples of two families collide"


def check_histogram(family):
    series = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        bound = float(labels.pop("le", "nan"))
        parts = series.setdefault(frozenset(labels.items()), ([], {}))
        if sample.name.endswith("_bucket"):
            parts[0].append((bound, sample.value))
        else:
            parts[1][sample.name.removeprefix(family.name)] = sample.value
    for buckets, rest in series.values():
        assert buckets == sorted(buckets) and len(buckets) == 20
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[0][0] == 100e-6 and buckets[-2][0] == 100 and buckets[-1][0] == float("inf")
        assert set(rest) == {"_count", "_sum"} and rest["_count"] == buckets[-1][1]
        assert rest["_sum"] >= 0


def check(text):
    """All of the rules; returns {(name, labels): value}."""
    types = check_lines(text)
    for name, kind in types.items():
        check_name(name, kind)
    check_collisions(types)
    families = list(text_string_to_metric_families(text))
    assert len(families) == len(types)
    for family in families:
        if family.type == "histogram":
            check_histogram(family)
    samples = [(s.name, frozenset(s.labels.items()), s.value) for f in families for s in f.samples]
    values = {(name, labels): value for name, labels, value in samples}
    assert len(values) == len(samples), "a series stands there twice"
    if PROMTOOL:
        said = subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True,
                              capture_output=True)
        assert said.returncode == 0 and not said.stdout + said.stderr
    return values


def only_rise(before, after):
    """Of series that are in both: no counter, bucket or sum falls."""
    for key, value in before.items():
        if key[0].endswith(("_total", "_count", "_sum", "_bucket")) and key in after:
            assert after[key] >= value, key


def value_of(values, name, **labels):
    return values.get((name, frozenset(labels.items())))


def test_metrics_keep_the_rules():
    with Server("a=x", "b=y") as server:
        check(scrape(server))
        server.ask("POST", "/a", encode(SMALL))
        server.ask("POST", "/b", b"bad")
        server.ask("GET", "/c")
        check(scrape(server))


def test_promtool_finds_nothing_to_mend():
    """check() asks it each time; this one tells when it could not."""
    if not PROMTOOL:
        pytest.skip("promtool is not there: tools/setup check")
    with Server() as server:
        check(scrape(server))


def test_inferences_by_model_version_protocol_and_code():
    today = [("Accept", "application/x-graphpipe")]
    with Server("a=x", "b=y") as server:
        for _ in range(3):
            server.ask("POST", "/a", encode(SMALL))
        server.ask("POST", "/a/versions/1", encode(SMALL), today)
        server.ask("POST", "/b", b"bad", today)
        server.ask("POST", "/b", b"bad")
        values = check(scrape(server))
    requests = {labels: value for (name, labels), value in values.items()
                if name == "graphpipe_requests_total"}
    assert requests == {
        frozenset({"model": model, "version": "1", "protocol": protocol, "code": code}.items()): n
        for model, protocol, code, n in [("a", "2018", "200", 3), ("a", "graphpipe", "200", 1),
                                         ("b", "2018", "400", 1), ("b", "graphpipe", "400", 1)]}
    for name, n_a, n_b in [("request", 4, 2), ("wait", 4, 0), ("run", 4, 0)]:
        for model, n in [("a", n_a), ("b", n_b)]:
            assert value_of(values, f"graphpipe_{name}_seconds_count", model=model,
                            version="1") == n, (name, model)


def test_what_is_no_inference_is_counted_apart():
    kinds = {"control": [("GET", "/control/is_ready"), ("GET", "/control/models/a/is_ready")],
             "metadata": [("GET", "/"), ("GET", "/a")],
             "other": [("GET", "/c"), ("POST", "/c"), ("GET", "/control/nothing")]}
    with Server("a=x", "b=y") as server:
        for asked in kinds.values():
            for method, path in asked:
                server.ask(method, path)
        scrape(server)
        for n in range(1, 200):  # each is counted when its answer has been sent, which we may be ahead of
            metrics = server.metrics()
            counted = {kind: metrics.get(f'other_requests_total{{kind="{kind}"}}') for kind in (*kinds, "metrics")}
            wanted = {kind: len(asked) for kind, asked in kinds.items()} | {"metrics": n}
            if counted == wanted:
                break
        assert counted == wanted
        assert "requests_total" not in metrics and metrics.get("requests_total", 0) == 0
        assert metrics["request_seconds_count"] == 0


def test_rows():
    with Server() as server:
        for shape in ((3, 2), (0, 2), (5,), ()):
            assert server.infer(tensor("float32", np.zeros(shape))).status == 200
        assert server.metrics()["rows_total"] == 3 + 0 + 5 + 1
        server.ask("POST", "/", b"bad")
        assert server.metrics()["rows_total"] == 9


def test_waits_are_measured(tmp_path):
    gate = tmp_path / "gate"
    with serve_slow("--instances", 1) as server:
        with server.connect() as running, server.connect() as waiting:
            running.send(held(gate))
            begun(server, 1)
            waiting.send(held(gate))
            eventually(lambda: server.metrics()["waiting"] == 1)
            time.sleep(0.001)
            gate.touch()
            assert running.answer().status == waiting.answer().status == 200
        metrics = server.metrics()
        assert metrics["wait_seconds_count"] == 2
        assert metrics['wait_seconds_bucket{le="0.001"}'] == 1 and metrics["wait_seconds_sum"] > 0.001


def test_the_process():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    began = time.time()
    with Server() as server:
        values = check(scrape(server))
        status = open(f"/proc/{server.pid}/status").read()
        resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024
        addresses = int(re.search(r"VmSize:\s+(\d+)", status)[1]) * 1024
        assert value_of(values, "process_resident_memory_bytes") == pytest.approx(resident, rel=0.2)
        assert value_of(values, "process_virtual_memory_bytes") == pytest.approx(addresses, rel=0.2)
        assert value_of(values, "graphpipe_threads") == int(re.search(r"Threads:\s+(\d+)", status)[1])
        assert value_of(values, "process_max_fds") == limit
        # the connection of the scrape, and what it reads in /proc
        n = server.descriptors()
        assert n <= value_of(values, "process_open_fds") <= n + 3
        assert began - 5 < value_of(values, "process_start_time_seconds") < time.time() + 5
        before = value_of(values, "process_cpu_seconds_total")
        assert 0 < before < 60
        for _ in range(20):
            server.infer(SMALL)
        assert value_of(check(scrape(server)), "process_cpu_seconds_total") > before


def test_labels_are_escaped(tmp_path):
    model = write(tmp_path, ECHO, 'a"b\\c\nd\udcff\u00e9.py')
    with Server("--instances", 1, "--pool", "256MiB", *PYTHON, engine="auto", model=model) as server:
        server.infer(floats(0))
        values = check(scrape(server))
        assert value_of(values, "graphpipe_rows_total", model='a"b\\c\nd\ufffd\u00e9',
                        version="1") == 1


def serve_repository(repository, *arguments):
    return Server("--repository", repository, "--instances", 1, "--pool", "256MiB", *PYTHON,
                  *arguments, engine="auto")


def make_version(repository, number, source=MORTAL):
    folder = repository / f".{number}"
    folder.mkdir()
    write(folder, source)
    (repository / "m").mkdir(exist_ok=True)
    folder.rename(repository / "m" / str(number))


def ask(server, value=0.0, target="/m"):
    return server.ask("POST", target, encode(floats(value)))


def test_counters_survive_a_reload_and_a_failed_one(tmp_path):
    make_version(tmp_path, 1)
    with serve_repository(tmp_path) as server:
        def series(text, name, **labels):
            return value_of(check(text), "graphpipe_" + name, model="m", version="1", **labels)

        assert ask(server).status == 200
        assert ask(server, -1.0).status == 503  # its process ends
        eventually(lambda: server.metrics()['children{state="ready"}'] == 1, 20)
        before = scrape(server)
        assert series(before, "child_ended_total", reason="exit") == 1
        assert series(before, "model_state", state="ready") == 1
        assert 0 < series(before, "model_load_seconds") < 100
        for n in range(2, 5):
            assert server.ask("POST", "/control/models/m/load").status == 200
            assert ask(server).status == 200
            after = scrape(server)
            only_rise(check(before), check(after))
            assert series(after, "rows_total") == n
            assert series(after, "child_restarts_total") == 1
            before = after
        eventually(lambda: server.metrics()["slots"] == 1, 20, "the end of the old model")
        only_rise(check(before), check(scrape(server)))
        (tmp_path / "m" / "1" / "model.py").write_text("raise RuntimeError('broken')\n")
        assert server.ask("POST", "/control/models/m/load").status != 200
        text = scrape(server)
        assert series(text, "model_load_failed") == 1 and series(text, "model_state", state="ready") == 1
        assert ask(server).status == 200
        assert server.ask("POST", "/control/models/m/unload").status == 200
        text = scrape(server)
        assert series(text, "rows_total") == 5 and series(text, "model_load_seconds") is None
        assert value_of(check(text), "graphpipe_model_ready", model="m") == 0


def test_versions_that_have_gone_keep_their_counts_for_a_while(tmp_path):
    make_version(tmp_path, 1)
    with serve_repository(tmp_path) as server:
        assert ask(server).status == 200
        before = check(scrape(server))
        for number in range(2, 13):
            make_version(tmp_path, number)
            assert server.ask("POST", "/control/models/m/load").status == 200
            assert ask(server, target=f"/m/versions/{number}").status == 200
            eventually(lambda: server.metrics()["slots"] == 1, 20, "the end of the old one")
            after = check(scrape(server))
            only_rise(before, after)
            before = after
        kept = {dict(labels)["version"] for name, labels in after if name == "graphpipe_rows_total"}
        assert {str(n) for n in range(4, 13)} <= kept and "1" not in kept
        assert value_of(after, "graphpipe_model_state", model="m", version="11",
                        state="ready") is None
        assert value_of(after, "graphpipe_model_state", model="m", version="12", state="ready") == 1
