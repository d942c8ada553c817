"""Grids over the params of a workflow: what is called, what is not, and what is said of bad values."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field

from graphengine import Choice, Engine, Files, Graph, ParamReader, Report, RunError, node
from graphengine.cache import MemoryCache
from graphengine.default import TorchTensors
from graphengine.diffusion import Image
from graphengine.registry import Registry
from graphengine.storage import Storage
from graphengine.worker import InlineWorker
from graphengine_nodes import flow, grid

painted: list[tuple[Any, ...]] = []
saved: list[int] = []
stop_at: list[int] = []
running: list[Engine] = []


@node
def paint(
    shade: Annotated[float, Field(ge=0, le=1)] = 0.5,
    size: Annotated[int, Field(ge=1, le=64)] = 8,
    text: str = "",
    method: Annotated[str, Choice(("round", "square"))] = "round",
    batch: int = 1,
) -> Image:
    painted.append((shade, size, text, method))
    if stop_at and len(painted) >= stop_at[0]:
        running[0].cancel()
    return torch.full((batch, size, size, 3), shade)


@node(sink=True)
def keep(image: Image) -> int:
    saved.append(1)
    return 1


@node
def number(a: int = 1) -> int:
    return a


PARAMS = ("shade", "size", "text", "method", "batch")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    for seen in (painted, saved, stop_at, running):
        seen.clear()
    nodes = {
        "paint": {"type": "paint", "values": {"shade": 0.25, "size": 4}},
        "keep": {"type": "keep", "links": {"image": "paint.image"}},
        "number": {"type": "number"},
    }
    data = {
        "format": "graphengine/1",
        "title": "A shade",
        "params": {name: {"to": [f"paint.{name}"]} for name in PARAMS}
        | {"size": {"to": ["paint.size"], "title": "Side"}},
        "nodes": nodes,
        "outputs": {"image": "paint.image", "number": "number.result"},
    }
    (tmp_path / "shade.json").write_text(json.dumps(data))
    functions = [
        value
        for module in (flow, grid)
        for value in vars(module).values()
        if hasattr(value, "__node__")
    ]
    registry = Registry({paint, keep, number, *functions})
    storage = Storage(TorchTensors())
    reader = ParamReader(registry)
    made = Engine(
        registry,
        MemoryCache(2**28, storage),
        InlineWorker(lambda kind: {ParamReader: reader}[kind]),
        Files({"workflows": [tmp_path]}),
        storage.digest,
    )
    running.append(made)
    return made


def run(engine: Engine, **given: Any) -> Report:
    painted.clear()
    graph = Graph()
    inputs = {"workflow": "shade.json", "output": "image", **given}
    graph.returning(graph.add(grid.sweep, **inputs))
    return asyncio.run(engine.execute(engine.plan(graph)))


def test_every_pair_of_values_is_a_cell_and_nothing_is_saved(engine: Engine) -> None:
    report = run(engine, x="shade", x_values="0\n0.5\n1", y="size", y_values="2\n4", text="a")
    assert report.status == "success"
    wanted = {(shade, size, "a", "round") for shade in (0, 0.5, 1) for size in (2, 4)}
    assert set(painted) == wanted
    assert len(painted) == 6
    assert saved == []


def test_the_cells_are_in_their_places(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def note(pictures: list[torch.Tensor], **words: Any) -> torch.Tensor:
        seen.update(words, shades=[float(one.mean()) for one in pictures])
        return torch.zeros(1, 4, 4, 3)

    monkeypatch.setattr(grid.figures, "labelled_grid", note, raising=False)
    run(engine, x="shade", x_values="[0, 0.5, 1.0]", y="text", y_values='""\na, b', title="T")
    assert seen["shades"] == [0, 0.5, 1] * 2
    assert seen["columns"] == 3
    assert (seen["columns_are"], seen["rows_are"], seen["title"]) == ("shade", "text", "T")
    assert seen["column_labels"] == ["0", "0.5", "1"]
    assert seen["row_labels"] == ["(none)", "a, b"]
    run(engine, x="size", x_values="1\n2")
    assert (seen["columns_are"], seen["rows_are"], seen["title"]) == ("Side", "", "A shade")


def test_many_values_of_one_param_are_laid_out_in_rows(engine: Engine) -> None:
    few = run(engine, x="size", x_values="\n".join(map(str, range(2, 6))))
    many = run(engine, x="size", x_values="\n".join(map(str, range(2, 14))))
    (one,), (other,) = few.outputs.values(), many.outputs.values()
    assert one.shape[2] >= one.shape[1]
    assert other.shape[1] > one.shape[1]


def test_only_new_cells_are_run(engine: Engine) -> None:
    run(engine, x="shade", x_values="0\n1", y="size", y_values="2\n4")
    run(engine, x="shade", x_values="1\n0.5\n0", y="size", y_values="4\n2\n6")
    assert set(painted) == {
        (0.5, 2, "", "round"),
        (0.5, 4, "", "round"),
        (0, 6, "", "round"),
        (0.5, 6, "", "round"),
        (1, 6, "", "round"),
    }
    assert len(painted) == 5
    run(engine, x="shade", x_values="1\n0.5\n0", y="size", y_values="4\n2\n6", title="Another")
    assert painted == []


def test_a_grid_that_was_stopped_goes_on_where_it_was(engine: Engine) -> None:
    given = {"x": "shade", "x_values": "0\n0.25\n0.5\n0.75\n1"}
    stop_at.append(3)
    assert run(engine, **given).status == "cancelled"
    before = list(painted)
    assert len(before) == 3
    stop_at.clear()
    assert run(engine, **given).status == "success"
    assert not set(painted) & set(before[:2]), "what was finished is not painted again"
    assert len(painted) <= 3
    assert len(set(painted) | set(before)) == 5


def test_texts_become_what_the_param_takes(engine: Engine) -> None:
    run(engine, x="text", x_values='1\ntrue\n"quoted"\nplain\n""')
    assert {text for _, _, text, _ in painted} == {"1", "true", "quoted", "plain", ""}
    run(engine, x="size", x_values='["3", 5]')
    assert sorted(size for _, size, _, _ in painted) == [3, 5]


def problem(engine: Engine, **given: Any) -> str:
    report = run(engine, **given)
    assert report.status == "failed"
    assert painted == [], "nothing is run before all values are known to be right"
    with pytest.raises(RunError) as told:
        report.checked()
    return str(told.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": "shade", "x_values": "0\n2"}, "shade is 2, wanted less than or equal to 1"),
        ({"x": "shade", "x_values": "0\ndark"}, 'shade is "dark", wanted a number'),
        ({"x": "size", "x_values": "2\n2.5"}, "size is 2.5, wanted an integer"),
        ({"x": "method", "x_values": "round\nsqare"}, "did you mean 'square'"),
        ({"x": "shadow", "x_values": "1"}, "no param 'shadow' .*did you mean 'shade'"),
        ({"x": "shade", "x_values": " \n"}, "no values of shade"),
        ({"x": "shade", "x_values": "[1, "}, "values of shade are no JSON list"),
        ({"x": "shade", "x_values": "1", "y": "shade", "y_values": "0"}, "x and y are both shade"),
        ({"x": "shade", "x_values": "1", "output": "picture"}, "no output 'picture'"),
        ({"x": "size", "x_values": "2\n" * 1100}, "1100 by 1 is 1100 pictures"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(
    engine: Engine, given: dict[str, Any], said: str
) -> None:
    assert re.search(said, problem(engine, **given), re.DOTALL)


def test_an_output_that_is_no_picture_is_told(engine: Engine) -> None:
    report = run(engine, x="size", x_values="2\n3", output="number")
    assert "cell_1_1 is no picture but a int" in report.failures[0].message


def test_a_batch_stands_side_by_side(engine: Engine) -> None:
    row = grid.in_a_row(torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 4, 3, 3))
    assert row.shape == (1, 4, 6, 3)
    assert row[0, 0, :, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert run(engine, x="shade", x_values="0\n1", batch=2).status == "success"
