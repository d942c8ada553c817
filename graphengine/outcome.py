"""The report of a run that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphengine.ref import Blocked
from graphengine.report import Report
from graphengine.task import State

if TYPE_CHECKING:
    from graphengine.run import Run


def outcome(run: Run, seconds: float) -> Report:
    """What a run came to. A step that was not needed, as what it feeds was cached, counts as cached."""
    status = "failed" if run.failures else "cancelled" if run.cancelled else "success"
    results: dict[str, dict[str, Any]] = {}
    for step in run.plan.targets:
        task = run.tasks[step.signature]
        if task.state is State.DONE and task.results is not None:
            named = zip(step.spec.outputs, task.results, strict=True)
            results[step.id] = {out.name: _open(value) for out, value in named if not isinstance(value, Blocked)}
    outputs = {
        name: results[step.id][step.spec.outputs[index].name]
        for name, (step, index) in run.plan.outputs.items()
        if step.spec.outputs[index].name in results.get(step.id, {})
    }
    return Report(
        status=status,
        seconds=seconds,
        outputs=outputs,
        results=results,
        executed=tuple(run.executed),
        cached=tuple(_cached(run)),
        skipped=dict(run.skipped),
        failures=tuple(run.failures),
    )


def _open(value: Any) -> Any:
    return [item for item in value if not isinstance(item, Blocked)] if isinstance(value, list) else value


def _cached(run: Run) -> dict[str, None]:
    found = dict(run.hits)
    stack = [step for step in run.plan.steps.values() if step.id in found]
    while stack:
        for link in stack.pop().links.values():
            name = link.source.id
            if not link.deferred and name not in found and name not in run.executed and name in run.plan.steps:
                found[name] = None
                stack.append(link.source)
    return found
