"""Where results are kept by signature: in memory, on disk, or first the one and then the other."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from graphengine.files import write_whole
from graphengine.storage import Damaged, Storage, Unstorable

Outputs = tuple[Any, ...]
BACKLOG = 2**28
"""Bytes of results that may wait to be written to disk."""

log = logging.getLogger(__name__)


class Cache(Protocol):
    """Results of steps by signature. A miss is None; nothing here ever fails a run."""

    def get(self, signature: str) -> Outputs | None:
        """The outputs stored under a signature."""

    def put(self, signature: str, outputs: Outputs) -> None:
        """Store a step's outputs, if they can be afforded."""

    def __contains__(self, signature: str) -> bool:
        """Whether `get` is likely to find it, without reading it: for explaining a plan."""

    def flush(self) -> None:
        """Come back when everything put so far is as durable as it gets."""


class NoCache:
    """Keeps nothing."""

    def get(self, signature: str) -> Outputs | None:
        return None

    def put(self, signature: str, outputs: Outputs) -> None:
        pass

    def __contains__(self, signature: str) -> bool:
        return False

    def flush(self) -> None:
        pass


class MemoryCache:
    """The results used last, up to `limit` bytes."""

    def __init__(self, limit: int, storage: Storage) -> None:
        self.limit = limit
        self.total = 0
        self._storage = storage
        self._entries: OrderedDict[str, tuple[int, Outputs]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, signature: str) -> Outputs | None:
        with self._lock:
            entry = self._entries.get(signature)
            if entry is None:
                return None
            self._entries.move_to_end(signature)
            return entry[1]

    def put(self, signature: str, outputs: Outputs) -> None:
        size = self._storage.size(outputs)
        if size > self.limit:
            return
        with self._lock:
            replaced = self._entries.pop(signature, None)
            self.total += size - (replaced[0] if replaced else 0)
            self._entries[signature] = (size, outputs)
            while self.total > self.limit:
                self.total -= self._entries.popitem(last=False)[1][0]

    def __contains__(self, signature: str) -> bool:
        return signature in self._entries

    def flush(self) -> None:
        pass


class DiskCache:
    """A folder of safetensors files, up to `limit` bytes, the ones used last. Several processes may
    share it.

    Entries are written whole by a thread of their own and checked when read: a damaged one is
    deleted and a miss. If the folder can't be written (a full disk), a warning is logged once and
    the run goes on.
    """

    def __init__(self, folder: Path, limit: int, storage: Storage) -> None:
        self.folder = folder
        self.limit = limit
        self._storage = storage
        self._total: int | None = None  # an estimate, as other processes write too
        self._pending: queue.Queue[tuple[str, Outputs, int]] = queue.Queue()
        self._backlog = 0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._warned = False

    def get(self, signature: str) -> Outputs | None:
        path = self._path(signature)
        try:
            data = path.read_bytes()
            outputs = self._storage.load(data)
            if not isinstance(outputs, tuple):
                raise Damaged("no outputs")
        except FileNotFoundError:
            return None
        except (OSError, Damaged) as cause:
            log.warning("a damaged cache entry was dropped: %s: %s", path, cause)
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return outputs

    def put(self, signature: str, outputs: Outputs) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="cache", daemon=True)
                self._thread.start()
        size = self._storage.size(outputs)
        if self._backlog + size > BACKLOG:
            self.flush()  # the disk is slower than the run; what waits for it takes memory
        with self._lock:
            self._backlog += size
        self._pending.put((signature, outputs, size))

    def __contains__(self, signature: str) -> bool:
        return self._path(signature).exists()

    def flush(self) -> None:
        self._pending.join()

    def _path(self, signature: str) -> Path:
        return self.folder / signature[:2] / f"{signature}.safetensors"

    def _write_all(self) -> None:
        while True:
            signature, outputs, size = self._pending.get()
            try:
                self._write(signature, outputs)
            except Unstorable:
                pass
            except Exception as cause:
                if not self._warned:
                    log.warning("results can't be kept on disk: %s", cause)
                self._warned = True
            finally:
                del outputs
                with self._lock:
                    self._backlog -= size
                self._pending.task_done()

    def _write(self, signature: str, outputs: Outputs) -> None:
        data = b"".join(self._storage.dump(outputs))
        path = self._path(signature)
        if len(data) > self.limit:
            return
        if self._total is None:
            self._total = sum(size for _, size, _ in self._files())
            self._sweep()
        with contextlib.suppress(OSError):
            self._total -= path.stat().st_size
        write_whole(path, data)
        self._total += len(data)
        if self._total > self.limit:
            self._evict()

    def _evict(self) -> None:
        """Delete the entries used longest ago until a tenth of the limit is free, so that this is
        seldom needed.
        """
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.limit * 0.9:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
        self._total = total

    def _sweep(self) -> None:
        """Delete what processes that were killed have left half-written."""
        for path in self.folder.glob("??/.part-*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - 3600:
                    path.unlink()

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        for path in self.folder.glob("??/*.safetensors"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                yield facts.st_mtime_ns, facts.st_size, path


class TieredCache:
    """Memory before disk. What is found on disk is kept in memory too."""

    def __init__(self, memory: MemoryCache, disk: DiskCache) -> None:
        self.memory = memory
        self.disk = disk

    def get(self, signature: str) -> Outputs | None:
        outputs = self.memory.get(signature)
        if outputs is None:
            outputs = self.disk.get(signature)
            if outputs is not None:
                self.memory.put(signature, outputs)
        return outputs

    def put(self, signature: str, outputs: Outputs) -> None:
        self.memory.put(signature, outputs)
        self.disk.put(signature, outputs)

    def __contains__(self, signature: str) -> bool:
        return signature in self.memory or signature in self.disk

    def flush(self) -> None:
        self.disk.flush()
