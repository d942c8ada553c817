"""Text as values: what a flag of a command line, or a line of a list, means for the input it is for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from graphengine.check import bad_value
from graphengine.errors import Issue, WorkflowError
from graphengine.registry import Registry
from graphengine.resource import Resource
from graphengine.spec import Input
from graphengine.workflow import Param, Workflow


class ParamReader(Resource):
    """Reads values of a workflow's params out of text, for nodes that are given many in one."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def read(self, workflow: Workflow, name: str, given: Sequence[Any]) -> list[Any]:
        """What the param `name` takes, out of texts (and of values, which are only checked).

        Raises `WorkflowError` for a name that is no param, and with every value that doesn't fit.
        """
        workflow.with_params({name: None})
        place, target = first_input(workflow.params[name], workflow, self.registry)
        values = [read_value(item, target) if isinstance(item, str) else item for item in given]
        issues = [wrong_value(name, place, target, value) for value in values] if target else []
        if found := [issue for issue in issues if issue]:
            raise WorkflowError(found)
        return values


def first_input(param: Param, workflow: Workflow, registry: Registry) -> tuple[str, Input | None]:
    """The first input that a param feeds and that is known, with its place; None if none is."""
    for place in param.to:
        name, _, key = place.rpartition(".")
        node = workflow.nodes.get(name)
        spec = registry.find(node.type) if node else None
        if spec is not None and (target := spec.input(key)) is not None:
            return place, target
    return param.to[0], None


def wrong_value(called: str, place: str, target: Input, value: Any) -> Issue | None:
    """What is wrong with a value for an input, which is told as what the user calls it."""
    try:
        target.check(value)
    except (ValueError, TypeError) as cause:
        error = cause if isinstance(cause, ValueError) else ValueError(str(cause))
        found = bad_value(place.rpartition(".")[0], target, value, error)
        message = found.message.replace(target.name, called, 1)
        return Issue(found.code, message, found.node, found.input, found.hint)
    return None


def read_value(text: str, target: Input | None, literal: bool = False) -> Any:
    """The value that a text stands for: JSON if the input takes that, or else the text itself.

    `literal`: an input that only takes text gets it as it is, quotes and all.
    """
    kinds = kinds_of(target) if target is not None and target.widget else set()
    if literal and kinds == {"string"}:
        return text
    value: Any = _number(text) if kinds & {"integer", "number"} else None
    if value is None:
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            value = text
    if target is None or _fits(target, value):
        return value
    return text if _fits(target, text) else value


def arms_of(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of a JSON Schema, with references followed."""
    found: list[Mapping[str, Any]] = []
    stack: list[Mapping[str, Any]] = [schema]
    while stack:
        arm = stack.pop()
        if "$ref" in arm:
            stack.append(schema.get("$defs", {}).get(str(arm["$ref"]).rpartition("/")[2], {}))
        elif inner := arm.get("anyOf") or arm.get("oneOf") or arm.get("allOf"):
            stack.extend(reversed(inner))
        else:
            found.append(arm)
    return found


def kinds_of(target: Input) -> set[str]:
    """The JSON types an input takes, apart from null; empty if it takes anything."""
    kinds = {str(arm.get("type", "")) for arm in arms_of(target.schema())} - {"null"}
    return set() if "" in kinds else kinds


def _number(text: str) -> int | float | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _fits(target: Input, value: Any) -> bool:
    try:
        target.check(value)
    except (ValueError, TypeError):
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
