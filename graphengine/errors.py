"""Everything graphengine raises, and the record in which a problem is told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Issue:
    """One problem with its place and its remedy.

    `code` is for programs (`unknown_type`, `out_of_range`, ...), `message` for people; `node` and
    `input` say where, `hint` what to do about it.
    """

    code: str
    message: str
    node: str | None = None
    input: str | None = None
    hint: str | None = None

    @property
    def place(self) -> str:
        """`node.input`, as far as it is known."""
        return ".".join(part for part in (self.node, self.input) if part)

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text} ({self.hint})" if self.hint else text


class GraphEngineError(Exception):
    """Base of all our errors. `hint` tells the remedy in one sentence."""

    code = "error"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class DefinitionError(GraphEngineError):
    """A node function is defined in a way that can't become a node."""

    code = "bad_definition"


class FileError(GraphEngineError):
    """A file is missing, damaged, of another kind, or outside the folders it may lie in."""

    code = "bad_file"


class ModelError(GraphEngineError):
    """Weights or conditioning that do not fit together, or a model that answers nonsense (NaN)."""

    code = "bad_model"


class WorkflowError(GraphEngineError):
    """A workflow can't be run. `issues` holds every problem found, not only the first."""

    code = "invalid_workflow"

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        count = len(self.issues)
        head = f"{count} problems in the workflow" if count > 1 else "a problem in the workflow"
        super().__init__("\n- ".join([head + ":", *map(str, self.issues)]))


class RunError(GraphEngineError):
    """A run ended without all of its targets. `failures` is what the report lists."""

    code = "run_failed"

    def __init__(self, failures: Sequence[object]) -> None:
        self.failures = tuple(failures)
        super().__init__("\n- ".join([f"{len(self.failures)} failed:", *map(str, self.failures)]))


class Cancelled(GraphEngineError):
    """The run was cancelled. Raised out of `Progress.report`; let it pass."""

    code = "cancelled"

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """A hint with the name that was probably meant."""
    known = list(names)
    if len(known) > 1000:  # a comparison with each would take longer than everything else
        return None
    match = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {match[0]!r}?" if match else None
