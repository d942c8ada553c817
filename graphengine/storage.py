"""Results as bytes: JSON for the structure, safetensors for the tensors. No pickles, and nothing is
executed to read it.

The file is a plain safetensors file. Its metadata holds `outputs`, the JSON structure in which
tensors are named, and `sha256`, the digest of structure and tensor data together.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from graphengine.ref import Answer

SCALARS = (bool, int, float, str, type(None))


class Unstorable(TypeError):
    """A value that has no form on disk. It is kept in memory only."""


class Damaged(ValueError):
    """Bytes that are not, or no longer, what was stored."""


class Tensors(Protocol):
    """The one library whose tensors travel on the links of an engine."""

    def holds(self, value: Any) -> bool:
        """Whether a value is such a tensor."""

    def size(self, value: Any) -> int:
        """Bytes of a tensor's data."""

    def save(self, tensors: Mapping[str, Any]) -> bytes:
        """Tensors as a safetensors file."""

    def load(self, data: bytes) -> dict[str, Any]:
        """The tensors in a safetensors file."""


class Arrays:
    """numpy's arrays as tensors."""

    def holds(self, value: Any) -> bool:
        numpy = sys.modules.get("numpy")
        return numpy is not None and isinstance(value, numpy.ndarray)

    def size(self, value: Any) -> int:
        return int(value.nbytes)

    def save(self, tensors: Mapping[str, Any]) -> bytes:
        from numpy import asarray
        from safetensors.numpy import save

        # safetensors writes the memory as it lies, so a transposed view must be laid out first
        return save({name: asarray(array, order="C") for name, array in tensors.items()})

    def load(self, data: bytes) -> dict[str, Any]:
        from safetensors.numpy import load

        return dict(load(data))


class Storage:
    """Writes results as bytes and reads them back."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def size(self, value: Any) -> int:
        """Bytes a value takes in memory, near enough to bound a cache."""
        total, stack = 0, [value]
        seen: set[int] = set()
        while stack:
            item = stack.pop()
            if type(item) in SCALARS:
                total += sys.getsizeof(item)
                continue
            if id(item) in seen:
                continue
            seen.add(id(item))
            if self.tensors.holds(item):
                total += self.tensors.size(item)
                continue
            total += sys.getsizeof(item, 64)
            if isinstance(item, dict):
                stack.extend((*item.keys(), *item.values()))
            elif isinstance(item, (list, tuple, set, frozenset)):
                stack.extend(item)
            elif dataclasses.is_dataclass(item) and not isinstance(item, type):
                stack.extend(getattr(item, each.name, None) for each in dataclasses.fields(item))
        return total

    def dump(self, value: Any) -> list[bytes]:
        """A value as the pieces of one file. Raises `Unstorable` for what has no form on disk."""
        tensors: dict[str, Any] = {}
        try:
            structure = json.dumps(self._pack(value, tensors))
        except RecursionError as cause:
            raise Unstorable("it is nested too deeply") from cause
        header, body = _split(self._saved(tensors)) if tensors else ({}, b"")
        header["__metadata__"] = {"outputs": structure, "sha256": _digest(structure, header, body)}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return [struct.pack("<Q", len(text)), text, body]

    def load(self, data: bytes) -> Any:
        """The value of a file. Raises `Damaged` if it is not whole or names a type not loaded."""
        try:
            header, body = _split(data)
            metadata = header.pop("__metadata__", {})
            structure = metadata["outputs"]
            if _digest(structure, header, body) != metadata["sha256"]:
                raise Damaged("the digest is another")
            tensors = self.tensors.load(data) if header else {}
            return self._unpack(json.loads(structure), tensors)
        except Exception as cause:  # bytes from a disk may be anything, in every layer below
            raise Damaged(str(cause)) from cause

    def digest(self, value: Any) -> str:
        """SHA-256 of a value's content. Raises `Unstorable`."""
        return hashlib.sha256(b"".join(self.dump(value))).hexdigest()

    def _saved(self, tensors: Mapping[str, Any]) -> bytes:
        try:
            return self.tensors.save(tensors)
        except Exception as cause:  # a type of number that safetensors does not know
            raise Unstorable(f"a tensor has no form on disk: {cause}") from cause

    def _pack(self, value: Any, tensors: dict[str, Any]) -> Any:
        if type(value) in SCALARS:
            return value
        if self.tensors.holds(value):
            name = str(len(tensors))
            tensors[name] = value
            return {"tensor": name}
        if isinstance(value, enum.Enum):
            return {"enum": _name(type(value)), "value": self._pack(value.value, tensors)}
        if isinstance(value, Path):
            return {"path": str(value)}
        if isinstance(value, bytes):
            return {"bytes": base64.b64encode(value).decode()}
        if type(value) in (list, tuple):
            return {type(value).__name__: [self._pack(item, tensors) for item in value]}
        if type(value) is dict:
            return {
                "dict": [[self._pack(k, tensors), self._pack(v, tensors)] for k, v in value.items()]
            }
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {
                f.name: self._pack(getattr(value, f.name), tensors)
                for f in dataclasses.fields(value)
                if f.init
            }
            return {"class": _name(type(value)), "fields": fields}
        raise Unstorable(f"a {type(value).__name__} has no form on disk")

    def _unpack(self, data: Any, tensors: Mapping[str, Any]) -> Any:
        if not isinstance(data, dict):
            return data
        match data:
            case {"tensor": name}:
                return tensors[name]
            case {"path": text}:
                return Path(text)
            case {"bytes": text}:
                return base64.b64decode(text)
            case {"list": items}:
                return [self._unpack(item, tensors) for item in items]
            case {"tuple": items}:
                return tuple(self._unpack(item, tensors) for item in items)
            case {"dict": pairs}:
                return {self._unpack(k, tensors): self._unpack(v, tensors) for k, v in pairs}
            case {"enum": name, "value": value}:
                return _type(name)(self._unpack(value, tensors))
            case {"class": name, "fields": fields}:
                return _type(name)(
                    **{key: self._unpack(item, tensors) for key, item in fields.items()}
                )
        raise Damaged(f"unknown form {sorted(data)}")


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<Q", data)
    if length > len(data) - 8:
        raise Damaged("the file is cut off")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header, data[8 + length :]


def _digest(structure: str, header: Mapping[str, Any], body: bytes) -> str:
    digest = hashlib.sha256(structure.encode())
    digest.update(json.dumps(header, sort_keys=True).encode())
    digest.update(body)
    return digest.hexdigest()


def _name(kind: type) -> str:
    if issubclass(kind, Answer):
        raise Unstorable("an answer only means something in its run")
    if "<locals>" in kind.__qualname__:
        raise Unstorable(f"{kind.__qualname__} can't be found again by its name")
    return f"{kind.__module__}:{kind.__qualname__}"


def _type(name: str) -> type:
    """A dataclass or enum of a module that is loaded; a file can't make us import anything."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not (
        isinstance(found, type)
        and (dataclasses.is_dataclass(found) or issubclass(found, enum.Enum))
    ):
        raise Damaged(f"{name} is no type of data")
    return found
