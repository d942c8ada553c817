"""The catalogue of node types: a table, one node's documentation, or JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from graphengine.check import options_of
from graphengine.cli.values import range_words
from graphengine.errors import Issue, WorkflowError, nearest
from graphengine.spec import MISSING, json_form

if TYPE_CHECKING:
    from graphengine.cli.terminal import Terminal
    from graphengine.registry import Registry
    from graphengine.spec import Input, NodeSpec


def chosen(registry: Registry, word: str | None) -> list[NodeSpec]:
    """All types, the one with this id, or those of this category. Raises `WorkflowError`."""
    specs = sorted(registry.values(), key=lambda spec: (spec.category, spec.id))
    if word is None:
        return specs
    if word in registry:
        return [registry[word]]
    found = [
        spec for spec in specs if f"{spec.id}.".startswith(f"{word}.") or spec.category == word
    ]
    if not found:
        known = nearest(word, [*registry, *(spec.category for spec in specs)])
        hint = known or f"{registry.nearest(word)} `graphengine nodes` lists all of them"
        raise WorkflowError(
            [Issue("unknown_type", f"there is no node type and no category {word!r}", hint=hint)]
        )
    return found


def catalogue_json(specs: Iterable[NodeSpec], registry: Registry) -> str:
    """All types as one JSON object, with the packs that could not be loaded."""
    errors = [{"origin": error.origin, "message": error.message} for error in registry.errors]
    return json.dumps({"nodes": [node_data(spec) for spec in specs], "errors": errors})


def node_json(spec: NodeSpec) -> str:
    """One type as one JSON object."""
    return json.dumps(node_data(spec))


def node_data(spec: NodeSpec) -> dict[str, Any]:
    """One type as JSON data: what an editor, a form or a program has to know about it."""
    return {
        "id": spec.id,
        "title": spec.title,
        "category": spec.category,
        "doc": spec.doc,
        "version": spec.version,
        "aliases": list(spec.aliases),
        "sink": spec.sink,
        "cache": spec.cache,
        "origin": spec.origin,
        "inputs": {name: _input_data(target) for name, target in spec.inputs.items()},
        "more_inputs": _input_data(spec.variadic) if spec.variadic else None,
        "outputs": [
            {"name": out.name, "type": out.type.name, "many": out.many} for out in spec.outputs
        ],
    }


def _input_data(target: Input) -> dict[str, Any]:
    return {
        "type": target.type.name,
        "required": target.required,
        "many": target.many,
        "deferred": target.deferred,
        "schema": target.schema() if target.widget else None,
    }


def print_list(specs: list[NodeSpec], terminal: Terminal) -> None:
    """A line per type: id and what it does."""
    console = _console(terminal)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("node", no_wrap=True, style="cyan")
    table.add_column("what it does")
    table.add_column("gives", style="dim")
    for spec in specs:
        gives = ", ".join(f"{out.type}{' list' if out.many else ''}" for out in spec.outputs)
        table.add_row(
            spec.id, escape(_summary(spec.doc)), escape(gives or "a file" if spec.sink else gives)
        )
    console.print(table)
    if console.is_terminal:
        terminal.note(f"{len(specs)} nodes; `graphengine nodes ID` tells all about one", "dim")


def print_node(spec: NodeSpec, terminal: Terminal) -> None:
    """The documentation of one type."""
    console = _console(terminal)
    console.print(Text(spec.id, "bold cyan"), Text(f"  {spec.title}", "bold"))
    console.print(Text(inspect.cleandoc(spec.doc) or "No documentation."))
    inputs = [*spec.inputs.values(), *([spec.variadic] if spec.variadic else [])]
    if inputs:
        table = Table(
            "input",
            "type",
            "default",
            "about",
            box=None,
            pad_edge=False,
            header_style="bold",
            padding=(0, 2, 0, 0),
        )
        for target in inputs:
            name = f"{target.name}..." if target.variadic else target.name
            table.add_row(
                Text(name, "cyan"),
                Text(_type(target)),
                Text(_default(target)),
                Text(_about(target)),
            )
        console.print()
        console.print(table)
    console.print()
    for out in spec.outputs:
        console.print(
            Text("gives ", "bold")
            + Text(f"{out.name}: {out.type}{' (a list)' if out.many else ''}")
        )
    facts = [
        "it has an effect of its own, so a run always wants it" if spec.sink else "",
        "" if spec.cache else "its results are never cached",
        f"also found as: {', '.join(spec.aliases)}" if spec.aliases else "",
        f"version {spec.version}, from {spec.origin}",
    ]
    for fact in filter(None, facts):
        console.print(Text(fact, "dim"))


def _console(terminal: Terminal) -> Console:
    console = Console(file=terminal.stdout, highlight=False)
    return (
        console
        if console.is_terminal
        else Console(file=terminal.stdout, highlight=False, width=10_000)
    )


def _summary(doc: str) -> str:
    return " ".join(doc.partition("\n\n")[0].split())


def _type(target: Input) -> str:
    text = f"list of {target.type}" if target.many else str(target.type)
    return f"{text}, only if asked for" if target.deferred else text


def _default(target: Input) -> str:
    if target.default is MISSING:
        return "required" if target.required else ""
    if not target.widget:
        return "none" if target.default is None else str(target.default)
    text = json.dumps(json_form(target.default))
    return text if len(text) <= 30 else f"{text[:27]}..."


def _about(target: Input) -> str:
    if not target.widget:
        return target.description or "by link only"
    options = options_of(target)
    schema: Mapping[str, Any] = target.schema()
    facts = [
        f"one of: {', '.join(options)}" if options else range_words(target),
        f"a file in the {target.file.folder} folder" if target.file else "",
        "a colour, #rrggbb" if schema.get("x-widget", {}).get("kind") == "color" else "",
    ]
    return " ".join(filter(None, [target.description, *(f"[{fact}]" for fact in facts if fact)]))
