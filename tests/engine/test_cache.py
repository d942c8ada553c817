"""Where results are kept: bounds, damage, several processes, full disks, and what comes round."""

from __future__ import annotations

import enum
import errno
import json
import logging
import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphengine.cache as cache_module
from graphengine import Blocked, Ref
from graphengine.cache import DiskCache, MemoryCache, NoCache, TieredCache
from graphengine.storage import Arrays, Damaged, Storage, Unstorable

STORAGE = Storage(Arrays())


class Mode(enum.Enum):
    FAST = "fast"


@dataclass(frozen=True)
class Latent:
    samples: np.ndarray
    mode: Mode = Mode.FAST
    more: tuple[Any, ...] = ()
    made: int = field(init=False, default=3)


def disk(folder: Path, limit: int = 2**30) -> DiskCache:
    return DiskCache(folder, limit, STORAGE)


def put(cache: Any, name: str, *values: Any) -> None:
    cache.put(name, values)
    cache.flush()


# --- what comes round


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        -(2**70),
        1.5,
        float("inf"),
        "a\u2028\ud800 ü",
        b"\0\xff",
        [1, [2, (3, {})]],
        {"a": 1, 2: "b", (1, 2): None},
        Path("a/b"),
        Mode.FAST,
        {"tensor": "0", "class": "x:y", "fields": {}},
        (),
    ],
    ids=repr,
)
def test_values_come_round(value: Any) -> None:
    back = STORAGE.load(b"".join(STORAGE.dump((value,))))
    assert back == (value,) and type(back[0]) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.arange(12).reshape(3, 4).T,
        np.arange(10)[::-2],
        np.zeros((0, 3), np.float16),
        np.array(7, np.int8),
        np.array([True, False]),
        np.array([np.nan, np.inf]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_round(array: np.ndarray) -> None:
    value = Latent(array, more=({"x": array}, [array]))
    (back,) = STORAGE.load(b"".join(STORAGE.dump((value,))))
    for one in (back.samples, back.more[0]["x"], back.more[1][0]):
        assert one.dtype == array.dtype and one.shape == array.shape
        np.testing.assert_array_equal(one, array)
    assert back.mode is Mode.FAST and back.made == 3


def test_nan_comes_round() -> None:
    (back,) = STORAGE.load(b"".join(STORAGE.dump((float("nan"),))))
    assert back != back


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1},
        lambda: 1,
        np.array([object()]),
        np.array(["text"]),
        Blocked("x"),
        Ref("a", "b"),
        int,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_on_disk(value: Any) -> None:
    with pytest.raises(Unstorable):
        STORAGE.dump(value)


def test_a_value_without_end_has_no_form_but_a_size() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Unstorable):
        STORAGE.dump(loop)
    assert 0 < STORAGE.size(loop) < 1000
    assert STORAGE.size(Latent) > 0


def forged(structure: Any) -> bytes:
    """A file whose digest is right."""
    from graphengine.storage import _digest

    text = json.dumps(structure)
    header = json.dumps({"__metadata__": {"outputs": text, "sha256": _digest(text, {}, b"")}})
    return struct.pack("<Q", len(header)) + header.encode()


@pytest.mark.parametrize(
    "structure",
    [
        {"class": "xml.dom.minidom:Node", "fields": {}},
        {"class": "this:Zen", "fields": {}},
        {"class": "subprocess:Popen", "fields": {"args": ["touch", "hacked"]}},
        {"class": "os:system", "fields": {"command": "touch hacked"}},
        {"enum": "builtins:eval", "value": "1"},
        {"class": ":", "fields": {}},
        {"tensor": "0"},
        {"what": 1},
    ],
    ids=str,
)
def test_a_crafted_entry_imports_and_calls_nothing(structure: Any) -> None:
    before = set(sys.modules)
    with pytest.raises(Damaged):
        STORAGE.load(forged(structure))
    assert set(sys.modules) == before


# --- memory


def test_memory_is_bounded_in_bytes_and_drops_what_was_used_longest_ago() -> None:
    cache = MemoryCache(40_000, STORAGE)
    for name in "abc":
        put(cache, name, np.zeros(10_000, np.uint8))
    assert cache.get("a") is not None
    put(cache, "d", np.zeros(10_000, np.uint8))
    assert [name for name in "abcd" if name in cache] == ["a", "c", "d"]
    assert cache.total <= 40_000
    put(cache, "huge", np.zeros(50_000, np.uint8))
    assert "huge" not in cache and "d" in cache
    for _ in range(10):
        put(cache, "d", np.zeros(10_000, np.uint8))
    assert "a" in cache and cache.total <= 40_000


# --- disk


def test_disk_survives_and_is_bounded(tmp_path: Path) -> None:
    put(disk(tmp_path), "aa1", 1, np.arange(3))
    number, array = disk(tmp_path).get("aa1") or (0, 0)
    assert number == 1 and list(array) == [0, 1, 2]
    small = disk(tmp_path, 50_000)
    for i in range(20):
        put(small, f"bb{i}", np.zeros(10_000, np.uint8))
    files = list(tmp_path.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 50_000
    assert "bb19" in small and "bb0" not in small


def test_what_waits_for_the_disk_is_bounded_and_leftovers_are_swept(
    tmp_path: Path, monkeypatch: Any
) -> None:
    most = 0
    real = cache_module.write_whole

    def slow(path: Path, data: bytes) -> None:
        nonlocal most
        most = max(most, cache._backlog)
        time.sleep(0.005)
        real(path, data)

    monkeypatch.setattr(cache_module, "write_whole", slow)
    monkeypatch.setattr(cache_module, "BACKLOG", 25_000)
    for name, age in (("old", 7200), ("young", 0)):
        left = tmp_path / "aa" / f".part-{name}"
        left.parent.mkdir(exist_ok=True)
        left.write_text("half")
        os.utime(left, (time.time() - age,) * 2)
    cache = disk(tmp_path)
    for i in range(12):
        cache.put(f"n{i}", (np.zeros(10_000, np.uint8),))
    cache.flush()
    assert 10_000 < most < 25_000 and cache._backlog == 0
    assert len(list(tmp_path.rglob("*.safetensors"))) == 12
    assert [path.name for path in tmp_path.rglob(".part-*")] == [".part-young"]


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    cache = disk(tmp_path, 60_000)
    for i in range(30):
        put(cache, f"n{i}", np.zeros(10_000, np.uint8))
        assert cache.get("n0") is not None, i


def test_any_safetensors_reader_reads_an_entry(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    put(disk(tmp_path), "aa", np.arange(3))
    (file,) = tmp_path.rglob("*.safetensors")
    assert list(load_file(file)["0"]) == [0, 1, 2]


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(b"\xff" * 1000)
    elif how == "folder":
        path.unlink()
        (path / "inside").mkdir(parents=True)
    elif how.startswith("cut"):
        path.write_bytes(data[: int(len(data) * float(how[3:]))])
    else:
        at = int(len(data) * float(how[4:]))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "garbage",
        "folder",
        "cut0.01",
        "cut0.5",
        "cut0.99",
        *(f"flip{i / 20}" for i in range(20)),
    ],
)
def test_a_damaged_entry_is_a_miss_and_replaced(tmp_path: Path, how: str, caplog: Any) -> None:
    cache = disk(tmp_path)
    put(cache, "ab1", 1, np.arange(200))
    (path,) = tmp_path.rglob("*.safetensors")
    spoil(path, how)
    with caplog.at_level(logging.WARNING):
        assert cache.get("ab1") is None
    assert "damaged" in caplog.text
    put(cache, "ab1", 2, np.arange(200))
    assert (cache.get("ab1") or [0])[0] == 2


def test_an_entry_put_again_is_replaced(tmp_path: Path) -> None:
    cache = disk(tmp_path)
    put(cache, "ab", 1)
    put(cache, "ab", 2)
    assert cache.get("ab") == (2,)


def test_a_folder_that_can_t_be_written_warns_once(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = disk(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        put(cache, "aa", 1)
        put(cache, "ab", 1)
    assert len([record for record in caplog.records if "can't be kept" in record.message]) == 1
    assert cache.get("aa") is None and "aa" not in cache


def test_a_full_disk_leaves_the_run_alone(
    board: Any, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module, "write_whole", full)
    board.build(cache=disk(tmp_path / "c"))
    with caplog.at_level(logging.WARNING):
        assert board.run("a = one()\nb = add(a=a.result)")["b.result"] == 2
    assert "No space left" in caplog.text


def test_a_write_cut_short_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import resource, sys, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
import numpy
from pathlib import Path
from graphengine.cache import DiskCache
from graphengine.storage import Arrays, Storage
cache = DiskCache(Path({str(tmp_path)!r}), 2**30, Storage(Arrays()))
cache.put("aa", (numpy.zeros(10_000),)); cache.put("ab", (1,)); cache.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "can't be kept" in done.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ab.safetensors"]


def test_unstorable_results_are_kept_in_memory_only(board: Any, tmp_path: Path) -> None:
    cache = TieredCache(MemoryCache(2**20, STORAGE), disk(tmp_path / "c"))
    put(cache, "aa", object())
    assert cache.get("aa") is not None
    assert cache.disk.get("aa") is None


def test_tiers(tmp_path: Path) -> None:
    put(TieredCache(MemoryCache(2**20, STORAGE), disk(tmp_path)), "aa", 1)
    again = TieredCache(MemoryCache(2**20, STORAGE), disk(tmp_path))
    assert "aa" in again and "aa" not in again.memory
    assert again.get("aa") == (1,) and "aa" in again.memory
    assert again.get("bb") is None and "bb" not in again


def test_no_cache(board: Any) -> None:
    board.build(cache=NoCache())
    assert board.run("a = one()")["a.result"] == board.run("a = one()")["a.result"] == 1
    assert board.calls == ["one"]


PROCESS = """
import sys, numpy
from pathlib import Path
from graphengine.cache import DiskCache
from graphengine.storage import Arrays, Storage
cache = DiskCache(Path(sys.argv[1]), 200_000, Storage(Arrays()))
for i in range(150):
    name = f"{i % 30:02}"
    found = cache.get(name)
    if found is not None:
        assert found[0] == i % 30 and (found[1] == i % 30).all()
    cache.put(name, (i % 30, numpy.full(1000, i % 30)))
cache.flush()
"""


def test_processes_share_a_folder(tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in running:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
        assert b"damaged" not in told
    assert not list(tmp_path.rglob(".part-*"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 400_000


# --- in a run


def test_results_survive_the_process(board: Any, tmp_path: Path) -> None:
    flow = "a = one()\nb = add(a=a.result)\nc = broken(a=b.result)"
    board.build(cache=disk(tmp_path / "c"))
    board.run(flow)
    board.build(cache=disk(tmp_path / "c"))
    report = board.run(flow)
    assert (report.cached, board.calls) == (("b", "a"), ["broken"])


def test_only_the_target_is_read(board: Any) -> None:
    read = []

    class Watching(NoCache):
        def get(self, signature: str) -> Any:
            read.append(signature)
            return (5,) if len(read) == 1 else None

    board.build(cache=Watching())
    report = board.run("a = one()\nb = add(a=a.result)\nc = add(a=b.result)")
    assert (report["c.result"], len(read), board.calls) == (5, 1, [])
    assert report.cached == ("c", "b", "a")
