"""A plan: what will be run. Steps with checked values, typed links and signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphengine.signature import Parts
from graphengine.sockets import SocketType
from graphengine.spec import NodeSpec
from graphengine.workflow import Graph, Workflow


class Link(NamedTuple):
    """Where an input comes from. Exactly one way: `deferred`, `whole` (a list as one value),
    `mapped`, or plain.
    """

    source: Step
    output: int
    deferred: bool = False
    whole: bool = False
    mapped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A node that is ready to run: its checked values, its links, and the signature under which its
    results are kept.

    `types` and `many` are those of its outputs, with type variables bound and mapping over lists
    taken in. `volatile`: it, or something before it, is never cached.
    """

    id: str
    spec: NodeSpec
    signature: str
    values: Mapping[str, Any]
    links: Mapping[str, Link]
    parts: Parts
    types: tuple[SocketType, ...]
    many: tuple[bool, ...]
    mapped: bool
    volatile: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be run: all steps in order, the ones wanted, and named outputs as (step, index of
    output).
    """

    steps: Mapping[str, Step]
    targets: tuple[Step, ...]
    outputs: Mapping[str, tuple[Step, int]]
    source: Workflow | Graph
    title: str = ""

    def resolved(self) -> dict[str, Any]:
        """The workflow as JSON data, with every value it is run with written out, defaults too.

        Empty for a graph that holds Python objects.
        """
        try:
            workflow = (
                self.source.workflow(self.title) if isinstance(self.source, Graph) else self.source
            )
            data: dict[str, Any] = json.loads(workflow.text())
        except (TypeError, ValueError):
            return {}
        for name, step in self.steps.items():
            node = data["nodes"][name]
            node["values"] = {**node.get("values", {}), **step.parts["values"]}
        return data
