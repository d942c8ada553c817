"""Confined folders: names in a workflow never reach outside of them, and what is written there is
written whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from graphengine.errors import FileError, nearest
from graphengine.resource import Resource


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a sink made. `digest` is the SHA-256 of its content, in hex."""

    path: Path
    media_type: str
    digest: str
    size: int

    def is_whole(self) -> bool:
        """Whether the file is still there with the content it was written with."""
        try:
            return self.path.stat().st_size == self.size and file_digest(self.path) == self.digest
        except OSError:
            return False


def all_whole(results: Iterable[Any]) -> bool:
    """Whether the files among a sink's results are still there, unchanged."""
    items = [item for value in results for item in (value if isinstance(value, list) else [value])]
    return all(item.is_whole() for item in items if isinstance(item, Artifact))


class Files(Resource):
    """The folders a run may use, by kind.

    `folders` maps a kind (`checkpoints`, `input`, `output`, ...) to the folders searched for it, in
    order; the first is where files of that kind are written. `memory` is a file that remembers
    digests, so that a model of gigabytes is read once and not once a process.
    """

    def __init__(self, folders: Mapping[str, Sequence[Path]], memory: Path | None = None) -> None:
        self.folders = {kind: tuple(map(Path, paths)) for kind, paths in folders.items()}
        self._digests = DigestMemory(memory)
        self._lock = threading.Lock()

    def folder(self, kind: str) -> Path:
        """The folder where files of a kind are written. Raises `FileError` for a kind that does not
        exist.
        """
        return self._folders(kind)[0]

    def names(self, kind: str, suffixes: Sequence[str] = ()) -> list[str]:
        """The names that `resolve` finds for a kind, sorted: files with these suffixes, and
        folders.
        """
        found = set()
        for folder in self._folders(kind):
            with contextlib.suppress(OSError):
                for entry in folder.iterdir():
                    hidden = entry.name.startswith((".", "_"))
                    if not hidden and (
                        not suffixes or entry.is_dir() or entry.suffix.lower() in suffixes
                    ):
                        found.add(entry.name)
        return sorted(found)

    def resolve(self, kind: str, name: str) -> Path:
        """The absolute path of a name below one of a kind's folders.

        Raises `FileError` for an absolute name, one that climbs out by `..` or a symbolic link, or
        one not there.
        """
        pure = PurePosixPath(name.replace("\\", "/"))
        drive = re.match(r"^[A-Za-z]:", name)
        if pure.is_absolute() or drive or ".." in pure.parts or not pure.parts or "\0" in name:
            hint = f"give a name below the {kind} folder ({self._shown(kind)})"
            raise FileError(f"{name!r} lies outside the {kind} folder", hint)
        for folder in self._folders(kind):
            path = folder / pure
            try:
                real = path.resolve(strict=True)
            except (OSError, RuntimeError):
                continue
            if not real.is_relative_to(folder.resolve()):
                hint = f"copy the file itself into the {kind} folder"
                raise FileError(
                    f"{name!r} is a link out of the {kind} folder, to {str(real)!r}", hint
                )
            return real
        names = self.names(kind)
        listed = f"it has: {', '.join(names[:8])}" if names else f"put it into {self._shown(kind)}"
        raise FileError(
            f"there is no {name!r} in the {kind} folder", nearest(name, names) or listed
        )

    def digest(self, path: Path) -> str:
        """SHA-256 of a file's content, or of a folder's names and contents, in hex. Remembered
        until it changes.
        """
        if path.is_dir():
            inside = sorted(entry.relative_to(path) for entry in path.rglob("*") if entry.is_file())
            lines = [
                f"{name.as_posix()} {self._digests.of(path / name)}"
                for name in inside
                if not any(part.startswith(".") for part in name.parts)
            ]
            return hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return self._digests.of(path)

    def write(
        self, folder: str, prefix: str, suffix: str, data: bytes, media_type: str
    ) -> Artifact:
        """Write `data` whole, or not at all, as `prefix_00001suffix`, the next number that is free.

        Raises `FileError` if the folder can't be written or the disk is full; no half-written file
        is left.
        """
        root = self.folder(folder)
        pure = PurePosixPath(prefix.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or "\0" in prefix or not pure.name:
            raise FileError(
                f"{prefix!r} is no name below the {folder} folder",
                "use a plain name like 'picture'",
            )
        target = root / pure.parent
        try:
            target.mkdir(parents=True, exist_ok=True)
            if not target.resolve().is_relative_to(root.resolve()):
                raise FileError(
                    f"{prefix!r} leads out of the {folder} folder",
                    "use a plain name like 'picture'",
                )
            with self._lock:
                path = self._write_numbered(target, pure.name, suffix, data)
        except OSError as cause:
            hint = f"free some space, or choose another {folder} folder"
            raise FileError(f"{str(target)!r} can't be written: {cause.strerror}", hint) from cause
        return Artifact(path, media_type, hashlib.sha256(data).hexdigest(), len(data))

    def _write_numbered(self, target: Path, stem: str, suffix: str, data: bytes) -> Path:
        pattern = re.compile(re.escape(stem) + r"_(\d+)" + re.escape(suffix))
        matches = (pattern.fullmatch(entry.name) for entry in target.iterdir())
        number = max((int(match[1]) for match in matches if match), default=0)
        with _temporary(target, data) as temporary:
            while True:  # another process may take a number between our look and our link
                number += 1
                path = target / f"{stem}_{number:05}{suffix}"
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    continue
                except OSError:  # a file system without hard links
                    os.replace(temporary, path)
                return path.resolve()

    def _folders(self, kind: str) -> tuple[Path, ...]:
        if not self.folders.get(kind):
            raise FileError(
                f"there is no folder of the kind {kind!r}",
                f"known: {', '.join(sorted(self.folders))}",
            )
        return self.folders[kind]

    def _shown(self, kind: str) -> str:
        return str(self._folders(kind)[0])


SETTLED = 2 * 10**9
"""Nanoseconds after which a change of a file is sure to show in its times."""


class DigestMemory:
    """SHA-256 of files, remembered by path, size, time and inode; kept in a JSON file if one is
    given.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.known: dict[str, list[object]] = {}
        self._lock = threading.Lock()
        if file is not None:
            with contextlib.suppress(OSError, ValueError):
                data = json.loads(file.read_text())
                self.known = data if isinstance(data, dict) else {}

    def of(self, path: Path) -> str:
        try:
            facts = path.stat()
            stamp: list[object] = [
                facts.st_size,
                facts.st_mtime_ns,
                facts.st_ctime_ns,
                facts.st_ino,
            ]
            remembered = self.known.get(str(path))
            if isinstance(remembered, list) and remembered[:-1] == stamp:
                return str(remembered[-1])
            digest = file_digest(path)
        except OSError as cause:
            raise FileError(f"{str(path)!r} can't be read: {cause.strerror}") from cause
        if time.time_ns() - facts.st_ctime_ns < SETTLED:
            return digest  # a change that follows at once may leave the very same stamp
        with self._lock:
            self.known[str(path)] = [*stamp, digest]
            if self.file is not None:
                with contextlib.suppress(OSError):  # a memory that can't be kept only costs time
                    write_whole(self.file, json.dumps(self.known).encode())
        return digest


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by new content in one step; whoever reads sees the old or the new, never a
    part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path.parent, data) as temporary:
        os.replace(temporary, path)


@contextlib.contextmanager
def _temporary(folder: Path, data: bytes) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=".part-", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        path.chmod(0o644)
        yield path
    finally:
        path.unlink(missing_ok=True)
