"""Checks of a plan that need words: what is wrong with a value, a file, a circle of links."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from graphengine.errors import FileError, Issue, nearest
from graphengine.registry import Registry
from graphengine.spec import Input, NodeSpec
from graphengine.workflow import Workflow

OUT_OF_RANGE = (
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "multiple_of",
    "finite_number",
)
NOT_IN_LIST = ("literal_error", "enum")


class NotAValue(ValueError):
    """A value where only a link can stand."""


def check_value(target: Input, value: Any) -> tuple[Any, bool]:
    """The value as the function gets it, and whether it is a live object that no file can hold.

    Raises `ValueError` (pydantic's, or `NotAValue`).
    """
    if target.file is not None and isinstance(value, Path):
        return value, False
    if target.widget and _is_json(value):
        return target.check(value), False
    if target.widget and target.plain is None and target.type.anything:
        return value, True
    if target.widget and not target.type.variable:
        return target.check(value), False
    if target.many and value == []:
        return value, True
    if _is_json(value) and not target.type.variable and value is not None:
        raise NotAValue
    if (
        target.type.python is not None
        and not target.many
        and not isinstance(value, target.type.python)
    ):
        raise NotAValue
    return value, True


def _is_json(value: Any) -> bool:
    """Whether a value is what JSON text would give: no tuple, no key that is a number, no NaN."""
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is dict and all(type(key) is str for key in item):
            stack.extend(item.values())
        elif kind is list:
            stack.extend(item)
        elif kind is float:
            if not math.isfinite(item):
                return False
        elif kind not in (str, int, bool, NoneType):
            return False
    return True


def bad_value(node: str, target: Input, value: Any, cause: ValueError) -> Issue:
    """What is wrong with a value, what was wanted, and how to write it."""
    name, shown = target.name, _shown(value)
    if isinstance(cause, NotAValue):
        hint = f"link an output of type {target.type} to it"
        return Issue(
            "not_a_value", f"{name} is {shown}, but it only takes a link", node, name, hint
        )
    told = cause.errors()[0] if hasattr(cause, "errors") else {"type": "", "msg": str(cause)}
    error: Mapping[str, Any] = told
    kind = error["type"]
    wanted = str(error["msg"]).replace("Input should be ", "wanted ")
    wanted = wanted.replace("a valid integer", "an integer").replace("a valid ", "a ")
    if kind in NOT_IN_LIST:
        options = options_of(target)
        wish = nearest(str(value), options) or f"one of: {', '.join(options)}"
        return Issue(
            "not_in_list", f"{name} is {shown}, which is not in its list", node, name, wish
        )
    if kind in OUT_OF_RANGE:
        return Issue("out_of_range", f"{name} is {shown}, {wanted}", node, name, range_of(target))
    remedy = None
    if isinstance(value, str) and target.plain is not str and _fits_unquoted(target, value):
        remedy = f"write {value.strip()} without quotes"
    code = "wrong_type" if kind.endswith(("_type", "_parsing", "from_float")) else "bad_value"
    return Issue(code, f"{name} is {shown}, {wanted}", node, name, remedy)


def loose_ends(workflow: Workflow, registry: Registry) -> list[Issue]:
    """Params and named outputs that lead to a node, an input or an output that does not exist."""
    issues = []
    places = [(f"params.{name}", to, True) for name, it in workflow.params.items() for to in it.to]
    places += [(f"outputs.{name}", place, False) for name, place in workflow.outputs.items()]
    for where, place, into in places:
        id, _, name = place.rpartition(".")
        node = workflow.nodes.get(id)
        if node is None:
            message = f"{where} leads to {place!r}, but there is no such node"
            hint = nearest(id, workflow.nodes) or 'write "node.name"'
            issues.append(Issue("unknown_node", message, hint=hint))
            continue
        spec = registry.find(node.type)
        if spec is None or (into and node.version != spec.version):
            continue  # told with the node; or the name is one of an older version
        if into and spec.input(name) is None:
            hint = nearest(name, spec.inputs) or f"{id} has: {', '.join(spec.inputs) or 'none'}"
            message = f"{where} leads to {place!r}, but {spec.id} has no input {name!r}"
            issues.append(Issue("unknown_input", message, id, hint=hint))
        elif not into and name not in spec.output_index:
            hint = f"{id} has: {', '.join(spec.output_index) or 'no outputs'}"
            message = f"{where} leads to {place!r}, but {spec.id} has no output {name!r}"
            issues.append(Issue("unknown_output", message, id, hint=hint))
    return issues


def _fits_unquoted(target: Input, text: str) -> bool:
    try:
        target.check(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def unknown_input(node: str, spec: NodeSpec, name: str) -> Issue:
    listed = f"{spec.id} has: {', '.join(spec.inputs) or 'no inputs'}"
    hint = nearest(name, spec.inputs) or listed
    return Issue("unknown_input", f"{spec.id} has no input {name!r}", node, name, hint)


def bad_file(node: str, name: str, cause: FileError) -> Issue:
    return Issue(cause.code, cause.message, node, name, cause.hint)


def options_of(target: Input) -> list[str]:
    """The values of a list input."""
    schema = target.schema()
    arms = [schema, *schema.get("anyOf", []), *schema.get("$defs", {}).values()]
    return [
        str(option)
        for arm in arms
        for option in arm.get("enum", [arm["const"]] if "const" in arm else [])
    ]


def range_of(target: Input) -> str | None:
    """The range of a number in words."""
    schema = target.schema()
    arms = [schema, *schema.get("anyOf", [])]
    facts = {key: value for arm in arms for key, value in arm.items()}
    parts = [
        f"{word} {facts[key]}"
        for key, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
            ("multipleOf", "a multiple of"),
        )
        if key in facts
    ]
    return f"it takes {', '.join(parts)}" if parts else None


def cycles(sources: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Each knot of a graph by one of its cycles, in the direction of the data."""
    import networkx

    graph = networkx.DiGraph(
        [(source, name) for name, found in sources.items() for source in found]
    )
    found = []
    for knot in networkx.strongly_connected_components(graph):
        start = min(knot)
        if len(knot) > 1 or graph.has_edge(start, start):
            cycle = networkx.find_cycle(graph.subgraph(knot), start)
            found.append([edge[0] for edge in cycle])
    return sorted(found)


def bad_cycle(cycle: Sequence[str]) -> Issue:
    shown = cycle if len(cycle) <= 12 else [*cycle[:6], f"({len(cycle) - 11} more)", *cycle[-5:]]
    hint = "remove one of these links; to repeat something, use a node that answers with a graph"
    return Issue("cycle", f"a cycle: {' → '.join([*shown, cycle[0]])}", cycle[0], hint=hint)


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
