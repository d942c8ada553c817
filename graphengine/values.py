"""The values of a step: checked, with defaults filled in, and files found and digested."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from graphengine.check import bad_file, bad_value, check_value, unknown_input
from graphengine.errors import FileError, Issue, WorkflowError
from graphengine.files import Files
from graphengine.registry import Registry
from graphengine.signature import Parts, sign
from graphengine.sockets import File
from graphengine.spec import NodeSpec, json_form
from graphengine.storage import Unstorable
from graphengine.workflow import read_workflow


class Values:
    """Reads values for a planner. `digest` names the content of a live Python value."""

    def __init__(self, registry: Registry, files: Files, digest: Callable[[Any], str]) -> None:
        self.registry = registry
        self.files = files
        self.digest = digest

    def read(
        self, node: str, spec: NodeSpec, given: Mapping[str, Any], linked: Container[str]
    ) -> tuple[dict[str, Any], Parts, list[Issue]]:
        """The values as the function gets them, as they enter the signature, and what is wrong."""
        issues: list[Issue] = []
        values: dict[str, Any] = {}
        written: dict[str, Any] = {}
        parts: Parts = {"values": written}
        for name, default in spec.defaults.items():
            if name not in given and name not in linked:
                values[name] = default
                written[name] = spec.written_defaults[name]
        for name, value in given.items():
            target = spec.input(name)
            if target is None:
                issues.append(unknown_input(node, spec, name))
            elif target.plain is type(value) or (value is None and target.default is None):
                values[name] = written[name] = value
            else:
                try:
                    values[name], live = check_value(target, value)
                    if live:
                        parts.setdefault("live", {})[name] = self._digest(value)
                    else:
                        written[name] = json_form(values[name])
                except ValueError as cause:
                    issues.append(bad_value(node, target, value, cause))
        for name in spec.file_inputs:
            if values.get(name) is not None:
                try:
                    values[name], content = self._file(spec.inputs[name].file, values[name])
                    parts.setdefault("files", {})[name] = [str(values[name]), content]
                except FileError as cause:
                    issues.append(bad_file(node, name, cause))
        return values, parts, issues

    def _digest(self, value: Any) -> str:
        try:
            return self.digest(value)
        except Unstorable:
            return uuid.uuid4().hex

    def _file(self, file: File | None, name: str | Path) -> tuple[Path, str]:
        assert file is not None, "only file inputs come here"
        path = self._path(file, name)
        return path, self._content(file, path)

    def _path(self, file: File, name: str | Path) -> Path:
        """The file that a value names. A `Path` only comes from Python, which may name any file."""
        return name if isinstance(name, Path) else self.files.resolve(file.folder, name)

    def _content(self, file: File, path: Path) -> str:
        """Digest of a file; of a workflow, together with all the files that its nodes name, as it
        will read them.
        """
        digests = {}
        stack = [(file, path)]
        while stack:
            file, path = stack.pop()
            if str(path) in digests:
                continue
            digests[str(path)] = self.files.digest(path)
            if file.folder != "workflows":
                continue
            with contextlib.suppress(WorkflowError):  # told when the workflow is run
                for draft in read_workflow(path).drafts():
                    spec = self.registry.find(str(draft.type))
                    inputs = (
                        ((spec.input(name), value) for name, value in draft.values.items())
                        if spec
                        else ()
                    )
                    for target, value in inputs:
                        if (
                            target is not None
                            and target.file is not None
                            and isinstance(value, str)
                        ):
                            with contextlib.suppress(FileError):
                                stack.append((target.file, self._path(target.file, value)))
        return digests.popitem()[1] if len(digests) == 1 else sign(digests)
