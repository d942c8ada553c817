"""What a run has to tell: events as they happen, and the lists of its report."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any

from graphengine.errors import GraphEngineError, WorkflowError
from graphengine.events import (
    Emit,
    Event,
    Failure,
    StepFailed,
    StepFinished,
    StepSkipped,
    StepStarted,
)
from graphengine.report import clip
from graphengine.task import Task

log = logging.getLogger(__name__)


def silent(event: Event) -> None:
    """Emit to nobody."""


class Ledger:
    """Keeps what happened to each step, by every name that its task has."""

    def __init__(self, emit: Emit | None) -> None:
        self.executed: dict[str, None] = {}
        self.cached: dict[str, None] = {}
        self.skipped: dict[str, str] = {}
        self.failures: list[Failure] = []
        self._emit = emit or silent

    def tell(self, event: Event) -> None:
        """Emit an event. Whoever fails to listen hears no more, but does not take the run down."""
        try:
            self._emit(event)
        except Exception:
            log.exception("a listener of a run failed, so it hears no more")
            self._emit = silent

    def started(self, task: Task) -> None:
        for name in task.names:
            self.tell(StepStarted(name, task.step.spec.id))

    def finished(self, task: Task, cached: bool) -> None:
        for name in task.names:
            (self.cached if cached else self.executed)[name] = None
            self.tell(StepFinished(name, task.step.spec.id, task.seconds, cached))

    def skip(self, task: Task, reason: str) -> None:
        for name in task.names:
            self.skipped[name] = reason
            self.tell(StepSkipped(name, task.step.spec.id, reason))

    def failed(self, task: Task, cause: BaseException, inputs: Mapping[str, Any] | None) -> None:
        """Note a failure under each of the task's names."""
        ours = cause if isinstance(cause, GraphEngineError) else None
        message = ours.message if ours else f"{type(cause).__name__}: {cause}".removesuffix(": ")
        if isinstance(cause, WorkflowError):
            message = f"its answer can't be run: {'; '.join(map(str, cause.issues))}"
        shown = {name: clip(value) for name, value in (inputs or {}).items()}
        trace = "" if ours else "".join(traceback.format_exception(cause))
        for name in task.names:
            failure = Failure(
                node=name,
                type=task.step.spec.id,
                code=ours.code if ours else "exception",
                message=message,
                hint=ours.hint if ours else None,
                inputs=shown,
                traceback=trace,
            )
            self.failures.append(failure)
            self.tell(StepFailed(failure))
