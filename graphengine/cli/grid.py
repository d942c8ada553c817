"""`grid`: a workflow run for many values of its params, as one picture. The node `grid.sweep` does it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli import options as o
from graphengine.cli.commands import FOR_PARAMS, app, with_workflow
from graphengine.errors import GraphEngineError, Issue, WorkflowError, nearest

if TYPE_CHECKING:
    from graphengine.cli.perform import Opened
    from graphengine.plan import Plan

GRID = "The grid"
AXIS = "PARAM=VALUES"
FORM = 'write PARAM=1,2,3, or PARAM=["one, two", "three"] for texts with commas'

X = Annotated[
    str | None,
    typer.Option(
        "--x",
        metavar=AXIS,
        rich_help_panel=GRID,
        help="A param of the workflow, with a value for each column: --x cfg=1,3,5.  "
        "Texts with commas are written as a JSON list.",
    ),
]
Y = Annotated[
    str | None,
    typer.Option(
        "--y",
        metavar=AXIS,
        rich_help_panel=GRID,
        help="Another param, with a value for each row: --y seed=1,2.",
    ),
]
OutputName = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="NAME",
        rich_help_panel=GRID,
        help="Which of the workflow's outputs is shown, if it has several.",
    ),
]
Title = Annotated[
    str | None,
    typer.Option(
        "--title",
        metavar="TEXT",
        rich_help_panel=GRID,
        help="Stands over the grid.  \\[default: the workflow's title]",
    ),
]


@dataclass(frozen=True)
class Axis:
    """A param and the texts of its values, one for each column or row."""

    param: str
    values: Sequence[Any]

    @property
    def text(self) -> str:
        """As the node takes it."""
        return json.dumps(list(self.values))


def read_axis(option: str, text: str) -> Axis:
    """`cfg=1,3,5` or `prompt=["a", "b"]`. Raises `WorkflowError` for another form."""
    param, equals, written = text.partition("=")
    values: Any = written.split(",") if "," in written else [written]
    if written.lstrip().startswith("["):
        try:
            values = json.loads(written)
        except ValueError as cause:
            message = f"{option}: the values of {param} are no JSON list: {cause}"
            raise WorkflowError([Issue("bad_argument", message, hint=FORM)]) from cause
    if not equals or not param.strip() or values in ([], [""]):
        raise WorkflowError([Issue("bad_argument", f"{option} {text!r} can't be read", hint=FORM)])
    values = [item.strip() if isinstance(item, str) else item for item in values]
    return Axis(param.strip().replace("-", "_"), values)


@app.command(context_settings=FOR_PARAMS, add_help_option=False)
def grid(
    context: typer.Context,
    file: o.File = None,
    x: X = None,
    y: Y = None,
    output: OutputName = None,
    title: Title = None,
    fail_fast: o.FailFast = False,
    no_cache: o.NoCache = False,
    out: o.Out = None,
    input: o.Input = None,
    models: o.Models = None,
    packs: o.Packs = None,
    cache_dir: o.CacheDir = None,
    device: o.Device = None,
    explain: o.Explain = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
    help: o.Help = False,
) -> None:
    """Run a workflow for many values of one or two of its params, and save one labelled picture.

    graphengine grid text_to_image --x cfg=1,3,5,7 --y seed=1,2,3

    The other params of the workflow are flags, as with `run`. Every cell is kept in the cache by
    itself: a grid that was stopped goes on where it was, and a new value costs its own cells only.
    """
    given = locals()
    own = {name: str(given[name] or "") for name in ("x", "y", "output", "title")}
    with_workflow(context, grid, given, partial(plan_of, own))


def plan_of(
    own: Mapping[str, str], opened: Opened, options: o.Options, arguments: Sequence[str], name: str
) -> Plan:
    """The plan of a graph that draws and saves the grid; `own`: the command's own options.

    Raises `WorkflowError` with everything that is wrong.
    """
    from graphengine.cli.flags import parse_flags
    from graphengine.workflow import Graph

    values, issues = parse_flags(opened.flags, arguments, name)
    if not own["x"]:
        params = ", ".join(opened.workflow.params) or "none, so there is nothing to vary"
        hint = f"write --x PARAM=1,2,3; its params: {params}"
        raise WorkflowError([*issues, Issue("bad_argument", "--x is missing", hint=hint)])
    axes = {axis: read_axis(f"--{axis}", own[axis]) for axis in ("x", "y") if own[axis]}
    for option, axis in axes.items():
        issues += _wrong_axis(opened, f"--{option}", axis)
        if axis.param in values:
            message = f"--{option} varies {axis.param}, which is given as a flag too"
            issues.append(Issue("bad_argument", message, hint="leave one of them out"))
    if issues:
        raise WorkflowError(issues)
    inputs: dict[str, Any] = {"workflow": _path(opened)} | values
    inputs |= {name: own[name] for name in ("output", "title")}
    inputs |= {option: axis.param for option, axis in axes.items()}
    inputs |= {f"{option}_values": axis.text for option, axis in axes.items()}
    graph = Graph()
    picture = graph.add(_spec(opened, "grid.sweep"), "grid", **inputs)
    prefix = f"{Path(opened.file).stem}-grid"
    graph.add(_spec(opened, "image.save"), "save", image=picture, prefix=prefix)
    return opened.engine.plan(graph)


def _wrong_axis(opened: Opened, option: str, axis: Axis) -> list[Issue]:
    from graphengine.reading import ParamReader

    params = opened.workflow.params
    if axis.param not in params:
        hint = nearest(axis.param, params) or f"its params: {', '.join(params) or 'none'}"
        message = f"{option}: the workflow has no param {axis.param!r}"
        return [Issue("unknown_param", message, input=axis.param, hint=hint)]
    try:
        ParamReader(opened.engine.registry).read(opened.workflow, axis.param, axis.values)
    except WorkflowError as cause:
        return list(cause.issues)
    return []


def _path(opened: Opened) -> Path | str:
    """The workflow as the node finds it: a file, or its name in the folder of workflows."""
    if opened.file == "-":
        hint = "save the workflow in a file, and give its name"
        raise WorkflowError([Issue("bad_argument", "a grid can't be read from stdin", hint=hint)])
    path = Path(opened.file)
    if path.suffix or os.path.exists(path):
        return path.absolute()
    return f"{opened.file}.json"


def _spec(opened: Opened, id: str) -> Any:
    spec = opened.engine.registry.find(id)
    if spec is None:
        hint = (
            "install graphengine with its own nodes, or look at what `graphengine nodes` warns of"
        )
        raise GraphEngineError(f"there is no node {id!r} to draw a grid with", hint)
    return spec
