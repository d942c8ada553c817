"""The recipe of a step, hashed: equal signatures, equal results.

A signature covers the type, the source of the node's pack, the checked values, the content of the files they name, and
the signatures of the steps linked in. Names of nodes do not enter, so a renamed or copied branch finds its results.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import marshal
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphengine.spec import NodeSpec

canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=True).encode
"""One text for equal JSON data. It keeps 1, 1.0, "1" and true apart."""

Parts = dict[str, Any]
"""What a signature is made of: `type`, `source`, `values`, `links`, and `files`, `live`, `salt`, `folder` if there are."""


def sign(parts: Parts) -> str:
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def source_of(spec: NodeSpec) -> str:
    """Digest of the Python files of the pack that a node stands in, as they were when it was first asked for."""
    source = spec.__dict__.get("source")
    if source is None:
        source = spec.__dict__["source"] = _source(spec)
    return str(source)


def _source(spec: NodeSpec) -> str:
    function = inspect.unwrap(spec.function)
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if file is None:  # typed into an interpreter
        return hashlib.sha256(marshal.dumps(function.__code__)).hexdigest()
    files = [Path(file)]
    package = _pack_folder(function.__module__)
    if package is not None:
        files = sorted(package.rglob("*.py"))
    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return _digest(stamps)


def _pack_folder(module: str) -> Path | None:
    """The folder of the pack that a module belongs to, or None for a single file."""
    parts = module.split(".")
    depth = 2 if parts[0] == "graphengine_packs" else 1
    pack = sys.modules.get(".".join(parts[:depth]))
    paths = list(getattr(pack, "__path__", []))
    return Path(paths[0]) if paths else None


@lru_cache(maxsize=256)
def _digest(stamps: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in stamps:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def first_difference(before: Parts | None, now: Parts) -> str:
    """In words, the first part in which two recipes of a node differ; "" if they are equal."""
    if before is None:
        return "first run of this node"
    if before["type"] != now["type"]:
        return f"type was {before['type']}, is {now['type']}"
    if before["source"] != now["source"]:
        return "the source of its pack was edited"
    for kind in ("values", "files", "live", "links"):
        old, new = before.get(kind, {}), now.get(kind, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                return _told(kind, name, old.get(name), new.get(name))
    if "salt" in now:
        return "it is never cached"
    if before.get("folder") != now.get("folder"):
        return f"the output folder was {before.get('folder')}, is {now.get('folder')}"
    return ""


def _told(kind: str, name: str, old: Any, new: Any) -> str:
    if kind == "values":
        return f"{name} was {_short(old)}, is {_short(new)}"
    if kind == "files":
        return f"the content of the file in {name} changed" if old and new else f"{name} names another file"
    if kind == "live":
        return f"{name} has another value"
    if not old or not new:
        return f"{name} was {'linked' if not old else 'unlinked'}"
    return f"what comes into {name} changed"


def _short(value: Any) -> str:
    text = "unset" if value is None else canonical(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
