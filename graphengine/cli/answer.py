"""What a command came to, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphengine.errors import FileError, GraphEngineError, Issue, WorkflowError
from graphengine.events import Failure

if TYPE_CHECKING:
    from graphengine.explain import Explanation
    from graphengine.report import Report

EXIT_CODES = {"success": 0, "failed": 1, "invalid": 2, "cancelled": 130}


@dataclass(frozen=True)
class Answer:
    """The one object that `--json` prints. `results` are the workflow's named outputs that JSON can hold.

    `only_checked`: nothing was run, as nothing was meant to be.
    """

    status: str
    seconds: float = 0.0
    outputs: Sequence[Mapping[str, str]] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    executed: Sequence[str] = ()
    cached: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    failed: Sequence[Failure] = ()
    issues: Sequence[Issue] = ()
    explanations: Sequence[Explanation] | None = None
    only_checked: bool = False

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    def json(self) -> str:
        """The answer as one JSON object on one line."""
        data: dict[str, Any] = {
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "outputs": list(self.outputs),
            "results": dict(self.results),
            "executed": list(self.executed),
            "cached": list(self.cached),
            "skipped": dict(self.skipped),
            "failed": [
                _fields(failure, "node", "type", "code", "message", "hint", "inputs")
                for failure in self.failed
            ],
            "issues": [
                _fields(issue, "code", "message", "node", "input", "hint") for issue in self.issues
            ],
        }
        if self.explanations is not None:
            data["explain"] = [
                _fields(explained, "node", "cached", "reason") for explained in self.explanations
            ]
        return json.dumps(data)


def answer_of(report: Report, explanations: Sequence[Explanation] | None = None) -> Answer:
    """The answer that a run's report gives."""
    saved = [
        {
            "node": item.node,
            "output": item.output,
            "path": str(item.artifact.path),
            "media_type": item.artifact.media_type,
        }
        for item in report.artifacts
    ]
    return Answer(
        status=report.status,
        seconds=report.seconds,
        outputs=saved,
        results={name: value for name, value in report.outputs.items() if _is_json(value)},
        executed=report.executed,
        cached=report.cached,
        skipped=report.skipped,
        failed=report.failures,
        explanations=explanations,
    )


def invalid(cause: GraphEngineError) -> Answer:
    """The answer to something that can't be run."""
    return Answer("invalid", issues=issues_of(cause))


def issues_of(cause: GraphEngineError) -> tuple[Issue, ...]:
    """An error as issues. A file that can't be read is one."""
    if isinstance(cause, WorkflowError):
        return cause.issues
    code = "missing_file" if isinstance(cause.__cause__, FileNotFoundError) else cause.code
    code = "missing_file" if isinstance(cause.__cause__, FileError) else code
    return (Issue(code, cause.message, hint=cause.hint),)


def _fields(record: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
