"""From text on a command line to values of inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphengine.check import range_of
from graphengine.errors import Issue, nearest
from graphengine.reading import read_value, wrong_value

if TYPE_CHECKING:
    from graphengine.registry import Registry
    from graphengine.spec import Input
    from graphengine.workflow import Node, Workflow


def range_words(target: Input) -> str:
    """`1 to 100`. An end that only says what 64 bits can hold is left out."""
    words = (range_of(target) or "").removeprefix("it takes ")
    words = re.sub(r", at most 1844674407\d+|, at most 922337203\d+", "", words)
    return re.sub(r"at least (\S+), at most (\S+)", r"\1 to \2", words)


def checked(option: str, place: str, target: Input, value: Any) -> Issue | None:
    """What is wrong with the value that an option gives to an input, told in terms of the option."""
    if (
        isinstance(value, str)
        and not value.isascii()
        and value.encode(errors="replace").decode() != value
    ):
        node, _, key = place.rpartition(".")
        return Issue("bad_value", f"{option} is no Unicode text", node, key, "write it in UTF-8")
    return wrong_value(option, place, target, value)


def with_sets(
    workflow: Workflow, registry: Registry, sets: Sequence[str]
) -> tuple[Workflow, list[Issue]]:
    """The workflow with `node.input=value` texts set, and what is wrong with the others.

    A link to an input that is set is taken away.
    """
    nodes: dict[str, Node] = dict(workflow.nodes)
    issues: list[Issue] = []
    for text in sets:
        place, equals, written = text.partition("=")
        name, _, key = place.strip().rpartition(".")
        if not equals or not name or not key:
            issues.append(
                Issue(
                    "bad_argument",
                    f"--set {text!r} can't be read",
                    hint="write --set node.input=value",
                )
            )
            continue
        if name not in nodes:
            hint = nearest(name, nodes) or f"its nodes: {', '.join(list(nodes)[:8])}"
            issues.append(
                Issue("unknown_node", f"--set {place}: there is no node {name!r}", name, key, hint)
            )
            continue
        node = nodes[name]
        spec = registry.find(node.type)
        target = spec.input(key) if spec else None
        if spec is not None and target is None:
            hint = (
                nearest(key, spec.inputs)
                or f"{spec.id} has: {', '.join(spec.inputs) or 'no inputs'}"
            )
            issues.append(
                Issue(
                    "unknown_input",
                    f"--set {place}: {spec.id} has no input {key!r}",
                    name,
                    key,
                    hint,
                )
            )
            continue
        value = read_value(written, target)
        if target is not None and (issue := checked(f"--set {place}", place, target, value)):
            issues.append(issue)
            continue
        links = {input: link for input, link in node.links.items() if input != key}
        nodes[name] = node.model_copy(
            update={"values": {**node.values, key: value}, "links": links}
        )
    return workflow.model_copy(update={"nodes": nodes}), issues
