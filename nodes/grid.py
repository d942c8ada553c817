"""Grids: a saved workflow run for many values of its params, as pictures side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from graphengine import (
    Graph,
    GraphEngineError,
    Multiline,
    ParamReader,
    Ref,
    Workflow,
    figures,
    node,
    read_workflow,
)
from graphengine.diffusion import Image

from .flow import OutputName, ParamName, Saved, call, output_name

MOST_CELLS = 1024
"""Cells of a grid; more would be no figure any more."""


Values = Annotated[
    str,
    Multiline(),
    Field(description='One value a line ("" is the empty text), or a JSON list.'),
]


@node(category="grid", title="Grid over params", aliases=("XYPlot",))
def sweep(
    workflow: Saved,
    x: ParamName,
    x_values: Values,
    y: Annotated[str, Field(description="A second param, one row for each value.")] = "",
    y_values: Values = "",
    output: OutputName = "",
    title: Annotated[str, Field(description="Stands over the grid; else the workflow's.")] = "",
    note: Annotated[str, Field(description="A quieter line beneath the title.")] = "",
    *,
    reader: ParamReader,
    **params: Ref[Any],
) -> Image | Graph:
    """Run a saved workflow for each value of one param, or of two, and lay its pictures out.

    Each cell is kept by itself: what was done before is not done again, when the grid is stopped
    half way or a value is added. The other params of the workflow are inputs here.
    """
    saved = read_workflow(workflow)
    output_name(saved, workflow, output)
    if x == y:
        raise GraphEngineError(f"x and y are both {x}", "choose another param for one of them")
    across = {x: read_values(reader, saved, x, x_values)}
    down = {y: read_values(reader, saved, y, y_values)} if y else {}
    cells = cells_of(across, down)
    graph = Graph()
    shared = {"workflow": workflow, "output": output, **params}
    pictures = {
        name: graph.add(cell, name, **{**shared, **values}) for name, values in cells.items()
    }
    words = {"title": title or saved.title, "note": note}
    words["columns_are"], words["rows_are"] = name_of(saved, x), name_of(saved, y) if y else ""
    labels = {
        "column_labels": [label(value) for value in across[x]],
        "row_labels": [label(value) for value in down.get(y, ())],
    }
    return graph.returning(graph.add(draw, "draw", **words, **labels, **pictures))


@node(category="grid", title="One cell of a grid")
def cell(workflow: Saved, output: OutputName = "", **params: Ref[Any]) -> Any | Graph:
    """Call a saved workflow for one of its outputs. What it would save besides is left out."""
    graph = call(workflow, output, **params)
    needed = [graph.result.step]
    for name in needed:
        links = graph.steps[name].links.values() if name in graph.steps else ()
        sources = (link.rpartition(".")[0] for link in links)
        needed += [source for source in sources if source not in needed]
    steps = {name: draft for name, draft in graph.steps.items() if name in needed}
    return Graph(steps, graph.result)


@node(category="grid", title="Draw grid")
def draw(
    title: str = "",
    note: str = "",
    columns_are: str = "",
    rows_are: str = "",
    column_labels: list[str] = [],  # noqa: B006 - nodes don't change their inputs
    row_labels: list[str] = [],  # noqa: B006
    **pictures: Image,
) -> Image:
    """Pictures on a sheet, row by row, in the order of the links, with names of columns and rows."""
    for name, picture in pictures.items():
        if getattr(picture, "ndim", 0) != 4 or picture.shape[-1] not in (1, 3, 4):
            raise GraphEngineError(
                f"{name} is no picture but a {type(picture).__name__}",
                "choose an output that gives pictures",
            )
    sheets = [in_a_row(picture) for picture in pictures.values()]
    if row_labels or len(sheets) <= IN_A_ROW:
        return figures.labelled_grid(
            sheets,
            columns=len(column_labels) or None,
            title=title,
            note=note,
            columns_are=columns_are,
            rows_are=rows_are,
            column_labels=column_labels,
            row_labels=row_labels,
        )
    captions = [f"{columns_are} {text}".strip() for text in column_labels]
    return figures.labelled_grid(sheets, title=title, note=note, captions=captions)


IN_A_ROW = 6
"""So many pictures of one param stand side by side; more are laid out in several rows."""


def in_a_row(picture: Image) -> Image:
    """A batch of pictures as one, side by side."""
    import torch

    return picture[:1] if len(picture) == 1 else torch.cat(list(picture), dim=1)[None]


def read_values(reader: ParamReader, saved: Workflow, name: str, text: str) -> list[Any]:
    """The values of a param in a text: a JSON list, or lines. Raises `WorkflowError` for wrong ones,
    `GraphEngineError` if there are none.
    """
    items: Sequence[Any] = [line.strip() for line in text.splitlines() if line.strip()]
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except ValueError as cause:
            raise GraphEngineError(
                f"the values of {name} are no JSON list: {cause}",
                'write ["one", "two"], or one value a line',
            ) from cause
    if not items:
        raise GraphEngineError(f"there are no values of {name}", "write one a line")
    return reader.read(saved, name, items)


def cells_of(
    across: Mapping[str, Sequence[Any]], down: Mapping[str, Sequence[Any]]
) -> dict[str, dict[str, Any]]:
    """The params of each cell, row by row. Raises `GraphEngineError` for too many."""
    ((x, columns),) = across.items()
    rows: list[dict[str, Any]] = [{y: value} for y, values in down.items() for value in values]
    rows = rows or [{}]
    if len(rows) * len(columns) > MOST_CELLS:
        raise GraphEngineError(
            f"a grid of {len(columns)} by {len(rows)} is {len(columns) * len(rows)} pictures",
            f"choose fewer values: {MOST_CELLS} pictures at most",
        )
    return {
        f"cell_{row}_{column}": {**below, x: value}
        for row, below in enumerate(rows, 1)
        for column, value in enumerate(columns, 1)
    }


def name_of(saved: Workflow, param: str) -> str:
    """What people call a param."""
    return saved.params[param].title or param.replace("_", " ")


def label(value: Any) -> str:
    """A value as it stands over a column."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value)
