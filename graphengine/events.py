"""What a run tells while it goes on: frozen records, and their JSON form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from graphengine.sockets import snake_case


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed: its place, what it was given (clipped), what happened, and what to do
    about it.
    """

    node: str
    type: str
    code: str
    message: str
    hint: str | None = None
    inputs: Mapping[str, str] | None = None
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.node} ({self.type}): {self.message}" + (
            f" ({self.hint})" if self.hint else ""
        )


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A plan of `steps` steps begins; cached ones count too."""

    steps: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step's first call begins."""

    node: str
    type: str


@dataclass(frozen=True, slots=True)
class StepProgress:
    """A call has finished `done` of `total` units. `preview()` makes a small picture."""

    node: str
    done: float
    total: float
    note: str = ""
    figures: Mapping[str, float] | None = None
    preview: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step has its results: computed in `seconds`, or found in the cache."""

    node: str
    type: str
    seconds: float
    cached: bool


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step failed; what depends on it will not run."""

    failure: Failure

    @property
    def node(self) -> str:
        return self.failure.node


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """A step did not run because something before it failed or answered that it is blocked."""

    node: str
    type: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event: `success`, `failed` or `cancelled`, and the run's report."""

    status: str
    seconds: float
    report: Any = None


Event = (
    RunStarted | StepStarted | StepProgress | StepFinished | StepFailed | StepSkipped | RunFinished
)
Emit = Callable[[Event], None]


def to_json(event: Event) -> dict[str, Any]:
    """The event as JSON data: its name in snake case under `event`, then its fields. Pictures and
    reports stay here.
    """
    data: dict[str, Any] = {"event": snake_case(type(event).__name__)}
    for item in fields(event):
        value = getattr(event, item.name)
        if item.name in ("preview", "report") or value is None:
            continue
        data[item.name] = (
            {f.name: getattr(value, f.name) for f in fields(value)}
            if isinstance(value, Failure)
            else value
        )
    return data
