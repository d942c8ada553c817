"""What a run came to: which steps ran, which were cached, what failed, and the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from graphengine.errors import RunError
from graphengine.events import Failure
from graphengine.files import Artifact


class Saved(NamedTuple):
    """A file that a target made: which output of which node, and the file."""

    node: str
    output: str
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run. `status` is `success`, `failed` or `cancelled`.

    `outputs` holds the workflow's named outputs; `results` the outputs of every target by node and
    output. `skipped` are the steps that did not run because something before them failed or is
    blocked, each with the reason.
    """

    status: str
    seconds: float
    outputs: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    executed: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def __getitem__(self, name: str) -> Any:
        """A named output, or the output of a target as `node.output`."""
        if name in self.outputs:
            return self.outputs[name]
        node, _, output = name.rpartition(".")
        return self.results[node][output]

    @property
    def artifacts(self) -> tuple[Saved, ...]:
        """The files that targets made, in the order of the workflow."""
        return tuple(
            Saved(node, output, item)
            for node, outputs in self.results.items()
            for output, value in outputs.items()
            for item in (value if isinstance(value, list) else [value])
            if isinstance(item, Artifact)
        )

    def checked(self) -> Report:
        """The report itself. Raises `RunError` if a step failed."""
        if self.failures:
            raise RunError(self.failures)
        return self


def clip(value: Any, width: int = 60) -> str:
    """A value in a few words, for an error text: a tensor by its shape, a record by its first
    field, a long text by its beginning.
    """
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if is_dataclass(value) and not isinstance(value, type):
        first = next((f"{f.name}={clip(getattr(value, f.name))}" for f in fields(value)), "")
        more = ", ..." if len(fields(value)) > 1 else ""
        return f"{type(value).__name__}({first}{more})"
    try:
        text = str(value) if isinstance(value, PurePath) else repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= width else f"{text[: width - 3]}..."
