"""Which way the data goes: branches, gates, and workflows called as nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from graphengine import Blocked, File, Graph, GraphEngineError, Ref, Workflow, node, read_workflow

from .lists import collect

T = TypeVar("T")
Saved = Annotated[Path, File("workflows", (".json",)), Field(description="A saved workflow.")]
OutputName = Annotated[
    str, Field(description="Which of its named outputs; may be left out if it has one.")
]
ParamName = Annotated[str, Field(min_length=1, description="Which of its params.")]


@node(category="flow")
def switch(condition: bool, if_true: Ref[T], if_false: Ref[T]) -> T | Ref[T]:
    """Take one of two branches. The other one is not computed."""
    return if_true if condition else if_false


@node(category="flow")
def gate(open: bool, value: Ref[T]) -> T | Ref[T] | Blocked:
    """Let a value pass, or block everything behind. What is blocked is skipped, not failed."""
    return value if open else Blocked("a gate is closed")


@node(category="flow", title="Call workflow")
def call(workflow: Saved, output: OutputName = "", **params: Ref[Any]) -> Any | Graph:
    """Run a saved workflow as a node. Its params are the inputs; the result is one of its named outputs."""
    saved = read_workflow(workflow)
    return saved.with_params(params).graph(output_name(saved, workflow, output))


def output_name(saved: Workflow, file: Path, wanted: str) -> str:
    """The output of a workflow that is meant. Raises `GraphEngineError` naming those that it has."""
    name = wanted or (next(iter(saved.outputs)) if len(saved.outputs) == 1 else "")
    if name not in saved.outputs:
        known = ", ".join(saved.outputs)
        hint = (
            f"it has: {known}"
            if known
            else 'name one in the file: "outputs": {"image": "node.output"}'
        )
        raise GraphEngineError(f"{file.name} has no output {name!r}", hint)
    return name


@node(category="flow", title="For each")
def for_each(
    workflow: Saved,
    parameter: ParamName,
    items: list[Any],
    output: OutputName = "",
    **params: Ref[Any],
) -> list[Any] | Graph:
    """Call a saved workflow once for each item of a list and give the list of results."""
    graph = Graph()
    results = {
        f"item_{index}": graph.add(
            call, f"call_{index}", workflow=workflow, output=output, **{**params, parameter: item}
        )
        for index, item in enumerate(items)
    }
    return graph.returning(graph.add(collect, "collect", **results))


@node(category="flow")
def repeat(
    workflow: Saved,
    parameter: ParamName,
    value: Ref[Any],
    times: Annotated[int, Field(ge=0)] = 1,
    output: OutputName = "",
    **params: Ref[Any],
) -> Any | Graph | Ref[Any]:
    """Call a saved workflow again and again, its result being its input the next time."""
    if times == 0:
        return value
    graph = Graph()
    once = graph.add(call, workflow=workflow, output=output, **{**params, parameter: value})
    again = {"parameter": parameter, "value": once, "times": times - 1, "output": output}
    return graph.returning(graph.add(repeat, workflow=workflow, **again, **params))
