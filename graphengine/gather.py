"""What goes into a call and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphengine.check import bad_value
from graphengine.errors import GraphEngineError
from graphengine.plan import Step
from graphengine.ref import Blocked, Ref
from graphengine.report import clip
from graphengine.spec import Input
from graphengine.task import Task, as_list


class NoInputs(Exception):
    """An input is blocked, so there is nothing to call."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def calls_of(
    task: Task, tasks: Mapping[str, Task], handle: Callable[[Step], str]
) -> list[dict[str, Any] | Blocked]:
    """The inputs of each call of a task: one, or as many as the lists it is mapped over are long.

    Lists of one item serve all calls. An item that is blocked stands for its call. Raises
    `NoInputs` if a whole input is blocked, `GraphEngineError` if a linked value or the lengths of
    the lists don't fit.
    """
    step = task.step
    inputs = dict(step.values)
    lists: dict[str, list[Any]] = {}
    for name, link in step.links.items():
        if link.deferred:
            inputs[name] = Ref(handle(link.source), link.source.spec.outputs[link.output].name)
            continue
        results = tasks[link.source.signature].results
        assert results is not None, "a ready task has its inputs"
        value = results[link.output]
        if isinstance(value, Blocked):
            raise NoInputs(value.reason)
        target = step.spec.input(name)
        assert target is not None, "a plan links known inputs only"
        if link.mapped:
            lists[name] = [
                item if isinstance(item, Blocked) else fitting(step, target, item)
                for item in as_list(value)
            ]
        elif link.whole:
            items = [item for item in as_list(value) if not isinstance(item, Blocked)]
            inputs[name] = (
                fitting(step, target, items)
                if target.widget
                else [fitting(step, target, item) for item in items]
            )
        else:
            inputs[name] = fitting(step, target, value)
    return _mapped(inputs, lists) if lists else [inputs]


def _mapped(
    inputs: dict[str, Any], lists: Mapping[str, list[Any]]
) -> list[dict[str, Any] | Blocked]:
    lengths = {len(items) for items in lists.values()} - {1}
    if len(lengths) > 1:
        told = ", ".join(f"{name} has {len(items)}" for name, items in lists.items())
        raise GraphEngineError(
            f"lists of different lengths come in: {told}",
            "give lists of one length, or of one item",
        )
    calls: list[dict[str, Any] | Blocked] = []
    for index in range(lengths.pop() if lengths else 1):
        row = {name: items[index if len(items) > 1 else 0] for name, items in lists.items()}
        blocked = next((item for item in row.values() if isinstance(item, Blocked)), None)
        calls.append(blocked or {**inputs, **row})
    return calls


def fitting(step: Step, target: Input, value: Any) -> Any:
    """A value that came over a link, checked like one that stands in the file. Raises
    `GraphEngineError`.
    """
    if target.file is not None and isinstance(value, str):
        message = f"{target.name} got the name {clip(value)} over a link"
        raise GraphEngineError(message, "set the name of a file as a value: it is looked up first")
    if target.plain is type(value) or target.type.anything or target.type.variable:
        return value
    if target.widget:
        try:
            return target.check(value)
        except (ValueError, TypeError) as cause:
            error = cause if isinstance(cause, ValueError) else ValueError(str(cause))
            issue = bad_value(step.id, target, value, error)
            raise GraphEngineError(f"over its link {issue.message}", issue.hint) from cause
    if target.type.python is not None and not isinstance(value, target.type.python):
        if value is None and target.optional:
            return None
        message = f"{target.name} wants {target.type}, but got {clip(value)}"
        raise GraphEngineError(message, "link an output of that type")
    return value


def outputs_of(step: Step, answer: Any) -> list[Any]:
    """The outputs of a step in an answer, one value or ref each. Raises `GraphEngineError` for a
    wrong number.
    """
    outputs = step.spec.outputs
    if isinstance(answer, Blocked):
        return [answer] * len(outputs)
    if not outputs:
        return []
    if step.spec.fields is None:
        values = [answer]
    elif isinstance(answer, tuple) and len(answer) == len(outputs):
        values = list(answer)
    else:
        wanted = ", ".join(output.name for output in outputs)
        raise GraphEngineError(
            f"it answers with {clip(answer)}", f"return a {step.spec.fields.__name__} of {wanted}"
        )
    for output, value in zip(outputs, values, strict=True):
        if output.many and not isinstance(value, (list, Ref, Blocked)):
            raise GraphEngineError(
                f"{output.name} shall be a list, but is {clip(value)}", "return a list"
            )
    return values
