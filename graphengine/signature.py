"""The recipe of a step, hashed: equal signatures, equal results.

A signature covers the type, the source of the node's pack, the checked values, the content of the
files they name, and the signatures of the steps linked in. Names of nodes do not enter, so a
renamed or copied branch finds its results.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import marshal
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from graphengine.spec import NodeSpec

canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=True).encode
"""One text for equal JSON data. It keeps 1, 1.0, "1" and true apart."""

SOURCE = "__graphengine_source__"
"""The attribute of a pack's module under which its digest is kept."""
LIBRARY = re.compile(rb"^\s*(?:from|import)\s+graphengine\.(\w+)", re.MULTILINE)
NAMES = re.compile(rb"^\s*from\s+graphengine\s+import\s+(\([^)]*\)|.*)", re.MULTILINE)

Parts = dict[str, Any]
"""What a signature is made of: `type`, `source`, `values`, `links`, and `files`, `live`, `salt`,
`folder` if there are.
"""


def sign(parts: Parts) -> str:
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def source_of(spec: NodeSpec) -> str:
    """Digest of the Python files of the pack that a node stands in, as they were when first asked
    for.

    The packages of `graphengine` that the pack imports (its library) count as a part of it.
    """
    source = spec.__dict__.get("source")
    if source is None:
        source = spec.__dict__["source"] = _source(inspect.unwrap(spec.function))
    return str(source)


def _source(function: Any) -> str:
    pack = _pack(function.__module__)
    if not (getattr(pack, "__file__", None) or hasattr(pack, "__path__")):
        # typed into an interpreter
        return hashlib.sha256(marshal.dumps(function.__code__)).hexdigest()
    known = vars(pack).get(SOURCE)  # a pack that is loaded again is a new module object
    if known is None:
        known = _digest(_files(pack))
        setattr(pack, SOURCE, known)
    return str(known)


def _pack(module: str) -> Any:
    """The pack that a module belongs to: its outermost package, or the module itself."""
    parts = module.split(".")
    depth = 2 if parts[0] == "graphengine_packs" else 1
    return sys.modules.get(".".join(parts[:depth])) or sys.modules.get(module)


def _files(pack: Any) -> list[Path]:
    folders = list(getattr(pack, "__path__", []))
    return sorted(Path(folders[0]).rglob("*.py")) if folders else [Path(pack.__file__)]


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    packages = set()
    for path in files:
        content = path.read_bytes()
        digest.update(content)
        packages |= set(LIBRARY.findall(content))
        for names in NAMES.findall(content):
            packages |= set(re.findall(rb"\w+", names))
    for name in sorted(packages):
        for path in sorted((Path(__file__).parent / name.decode()).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def first_difference(before: Parts | None, now: Parts) -> str:
    """In words, the first part in which two recipes of a node differ; "" if they are equal."""
    if before is None:
        return "first run of this node"
    if before.get("type") != now["type"]:
        return f"type was {before.get('type')}, is {now['type']}"
    if before.get("source") != now["source"]:
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
        same = old and new and old[0] == new[0]
        return f"the content of the file in {name} {'changed' if same else 'is another'}"
    if kind == "live":
        return f"{name} has another value"
    if not old or not new:
        return f"{name} was {'linked' if not old else 'unlinked'}"
    return f"what comes into {name} changed"


def _short(value: Any) -> str:
    text = "unset" if value is None else canonical(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
