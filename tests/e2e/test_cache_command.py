"""`graphpipe cache`: what is in the row cache, and its end."""
import struct

import pytest

from calls import fails, succeeds

MIB = 1 << 20


@pytest.fixture
def cache(tmp_path):
    """The folder of a row cache of 64 MiB that has no rows yet."""
    rows = tmp_path / "caches/rows"
    rows.mkdir(parents=True)
    (rows / "generation").write_bytes(struct.pack("<8s4Q", b"GPROWS\n", 1, 7, 0, 64 * MIB))
    return tmp_path / "caches"


def test_stats_and_flush(cache):
    said = succeeds("cache", "stats", "--cache-dir", cache)
    assert said == f"{cache}/rows: 0 rows, 0.0 of 64.0 MiB\n"
    assert (cache / "rows/rows-7.mdb").exists()
    assert succeeds("cache", "flush", "--cache-dir", cache) == \
        f"{cache}/rows: 0 rows are forgotten\n"
    assert sorted(path.name for path in (cache / "rows").glob("rows-*.mdb")) == ["rows-9.mdb"]
    number = struct.unpack("<8s4Q", (cache / "rows/generation").read_bytes())
    assert number == (b"GPROWS\n\0", 1, 9, 1, 64 * MIB)


def test_the_default_folder(cache):
    (cache / "graphpipe").mkdir()
    (cache / "rows").rename(cache / "graphpipe/rows")
    for env in {"XDG_CACHE_HOME": str(cache)}, {"GP_CACHE_DIR": str(cache / "graphpipe")}:
        assert f"{cache}/graphpipe/rows: 0 rows" in succeeds("cache", "stats", env=env)


def test_what_makes_no_sense(cache, tmp_path):
    assert 'wants stats or flush, not "purge"' in fails(2, "cache", "purge")
    assert "cache wants: " in fails(2, "cache")
    none = tmp_path / "none"
    for word in "stats", "flush":
        said = fails(1, "cache", word, "--cache-dir", none)
        assert f"there is no row cache in {none}/rows: graphpipe serve --cache makes one" in said
    assert not none.exists()
    (cache / "rows/lock").mkdir()
    assert "cannot open its file \"lock\"" in fails(1, "cache", "stats", "--cache-dir", cache)
