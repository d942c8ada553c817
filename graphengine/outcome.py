"""The report of a run that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphengine.ledger import Ledger
from graphengine.plan import Plan
from graphengine.ref import Blocked
from graphengine.report import Report
from graphengine.task import State, Task


def outcome(
    plan: Plan, tasks: Mapping[str, Task], ledger: Ledger, cancelled: bool, seconds: float
) -> Report:
    """What a run came to. Cancelled means that a target was left without result."""
    open_ends = any(
        tasks[step.signature].state in (State.NEW, State.WAITING) for step in plan.targets
    )
    results: dict[str, dict[str, Any]] = {}
    for step in plan.targets:
        task = tasks[step.signature]
        if task.state is State.DONE and task.results is not None:
            named = zip(step.spec.outputs, task.results, strict=True)
            results[step.id] = {
                output.name: _without_blocked(value)
                for output, value in named
                if not isinstance(value, Blocked)
            }
    outputs = {
        name: results[step.id][step.spec.outputs[index].name]
        for name, (step, index) in plan.outputs.items()
        if step.spec.outputs[index].name in results.get(step.id, {})
    }
    return Report(
        status="cancelled"
        if cancelled and open_ends
        else "failed"
        if ledger.failures
        else "success",
        seconds=seconds,
        outputs=outputs,
        results=results,
        executed=tuple(ledger.executed),
        cached=tuple(_cached(plan, tasks, ledger)),
        skipped=dict(ledger.skipped),
        failures=tuple(ledger.failures),
    )


def _without_blocked(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [item for item in value if not isinstance(item, Blocked)]


def _cached(plan: Plan, tasks: Mapping[str, Task], ledger: Ledger) -> dict[str, None]:
    """The steps found in the cache, and those not even looked for as what they feed was found."""
    found = dict(ledger.cached)
    stack = [step for step in plan.steps.values() if step.id in found]
    while stack:
        for link in stack.pop().links.values():
            source = link.source
            if link.deferred or source.id in found or source.id not in plan.steps:
                continue
            if tasks[source.signature].state is State.NEW:
                found[source.id] = None
                stack.append(source)
    return found
