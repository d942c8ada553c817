"""Which types of node there are: packs are scanned for functions that carry a spec.

A pack is a file or folder in a plugins folder, or a module named by an installed package's entry
point in the group `graphengine.packs`. Our own nodes come in by an entry point too. A pack that
can't be loaded is reported; the rest is.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from graphengine.errors import Issue, WorkflowError, nearest
from graphengine.signature import source_of
from graphengine.spec import NodeSpec, spec_of

GROUP = "graphengine.packs"
Import = Callable[[], ModuleType]


@dataclass(frozen=True, slots=True)
class LoadError:
    """A pack, or one node of it, that is not there, and why."""

    origin: str
    message: str
    traceback: str = ""


class Registry(Mapping[str, NodeSpec]):
    """Node types by id. `errors` lists what could not be loaded."""

    def __init__(self, functions: Iterable[Callable[..., Any] | NodeSpec] = ()) -> None:
        self.errors: list[LoadError] = []
        self._specs: dict[str, NodeSpec] = {}
        for function in functions:
            self.add(spec_of(function))

    def __getitem__(self, id: str) -> NodeSpec:
        try:
            return self._specs[id]
        except KeyError:
            raise WorkflowError(
                [Issue("unknown_type", f"no node type {id!r}", hint=self.nearest(id))]
            ) from None

    def __contains__(self, id: object) -> bool:
        return id in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def get(self, id: str, default: Any = None) -> Any:
        return self._specs.get(id, default)

    def find(self, id: str) -> NodeSpec | None:
        """The type of this id, if there is one."""
        return self._specs.get(id)

    def nearest(self, id: str) -> str:
        """A hint for a type that is not known: the type with this alias, the nearest id, or a pack
        that failed.
        """
        for spec in self._specs.values():
            if id in spec.aliases:
                return f"here it is called {spec.id!r}"
        failed = [error.origin for error in self.errors]
        fallback = (
            f"these packs failed to load: {', '.join(failed)}"
            if failed
            else "is its pack installed?"
        )
        return nearest(id, self._specs) or fallback

    def add(self, spec: NodeSpec) -> None:
        """Add a type. A second one with the same id is left out and both origins are reported."""
        first = self._specs.setdefault(spec.id, spec)
        if first is not spec:
            message = (
                f"node {spec.id!r} is defined twice: in {first.origin} and in {spec.origin}; "
                "the first is used"
            )
            self.errors.append(LoadError(spec.origin, message))

    def load_installed(self) -> None:
        """Load the packs of installed packages."""
        for entry in sorted(
            importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name
        ):
            self._load(f"{entry.name} = {entry.value}", _package(entry.value))

    def load_folder(self, folder: Path) -> None:
        """Load each Python file and each folder with Python files in a plugins folder as a pack."""
        if not folder.is_dir():
            self.errors.append(
                LoadError(str(folder), f"there is no plugins folder {str(folder)!r}")
            )
            return
        for path in sorted(folder.iterdir()):
            is_pack = path.suffix == ".py" if path.is_file() else any(path.glob("*.py"))
            if is_pack and not path.name.startswith((".", "_")):
                self.load_pack(path)

    def load_pack(self, path: Path) -> None:
        """Load one file, or one folder, of nodes."""
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:  # bytecode is matched by size and whole seconds: too coarse while a file is edited
            self._load(str(path), _plugin(path))
        finally:
            sys.dont_write_bytecode = written

    def _load(self, origin: str, imports: Iterable[Import]) -> None:
        """Make the imports of a pack. One that fails is reported, and the others are made."""
        for import_one in imports:
            try:
                module = import_one()
                for value in list(vars(module).values()):
                    spec = getattr(value, "__node__", None)
                    if isinstance(spec, NodeSpec) and spec.function.__module__ == module.__name__:
                        source_of(spec)  # now, while the files are those that were loaded
                        self.add(spec)
            except (Exception, SystemExit) as cause:  # a plugin may do anything when imported
                message = f"{type(cause).__name__}: {cause}"
                self.errors.append(LoadError(origin, message, traceback.format_exc()))


def _package(name: str) -> Iterator[Import]:
    yield partial(importlib.import_module, name)
    for found in pkgutil.iter_modules(getattr(sys.modules.get(name), "__path__", [])):
        yield partial(importlib.import_module, f"{name}.{found.name}")


def _plugin(path: Path) -> Iterator[Import]:
    name = "graphengine_packs." + re.sub(r"\W", "_", path.stem if path.is_file() else path.name)
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        del sys.modules[known]  # loaded before, perhaps from another folder or before it was edited
    importlib.invalidate_caches()  # a file that was just written must be seen
    if path.is_file():
        yield partial(_import_file, name, path)
        return
    package = ModuleType(name)
    package.__path__ = [str(path)]
    sys.modules[name] = package
    entry = path / "__init__.py"
    if entry.exists():
        yield partial(_import_file, name, entry, [str(path)])
    for inner in sorted(path.glob("*.py")):
        if inner.name != "__init__.py" and name in sys.modules:
            yield partial(importlib.import_module, f"{name}.{inner.stem}")


def _import_file(name: str, path: Path, search: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=search)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
