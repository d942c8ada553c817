"""Every problem that a plan can have, all at once, with place and remedy."""

from __future__ import annotations

import enum
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
import pytest
from pydantic import Field

from graphengine import File, FileError, Graph, Ref, Socket, WorkflowError, node
from graphengine.errors import nearest

T = TypeVar("T")
Image = Annotated[np.ndarray, Socket("image")]


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Both(NamedTuple):
    picture: Image
    count: int


@dataclass(frozen=True)
class Latent:
    x: int


@node
def both() -> Both:
    return Both(np.zeros(3), 3)


@node
def show(image: Image) -> str:
    return str(image)


@node
def tune(
    level: Annotated[float, Field(ge=0, le=1)] = 0.5,
    steps: Annotated[int, Field(gt=0, multiple_of=8)] = 8,
    mode: Mode = Mode.FAST,
    kind: Literal["soft", "hard"] = "soft",
    on: bool = True,
    size: tuple[int, int] = (1, 1),
) -> float:
    return level


@node
def load(file: Annotated[Path, File("input", (".txt",))]) -> str:
    return file.read_text()


@node
def pick(condition: bool, yes: Ref[T], no: Ref[T]) -> T | Ref[T]:
    return yes if condition else no


@node
def same(a: T, b: T) -> T:
    return a


@node
def take(latent: Latent) -> int:
    return latent.x


@node
def anything(value: Any) -> Any:
    return value


@pytest.fixture
def lab(board: Any) -> Any:
    board.build([both, show, tune, load, pick, same, take, anything])
    return board


def problems(lab: Any, source: Any, **more: Any) -> list[Any]:
    with pytest.raises(WorkflowError) as caught:
        lab.plan(source, **more)
    return list(caught.value.issues)


CASES = {
    # drawing: (code, node, input, in the message, in the hint)
    "a = ad(a=1)": ("unknown_type", "a", None, "'ad'", "did you mean 'add'?"),
    "a = add()": ("missing_input", "a", "a", "a is missing", "give it a value or a link"),
    "a = show()": ("missing_input", "a", "image", "missing", "link an output of type image"),
    "a = add(a=1, bb=2)": ("unknown_input", "a", "bb", "no input 'bb'", "did you mean 'b'?"),
    "a = add(a='7')": ("wrong_type", "a", "a", 'a is "7", wanted an integer', "without quotes"),
    "a = add(a=1.5)": ("wrong_type", "a", "a", "a is 1.5", None),
    "a = add(a=None)": ("wrong_type", "a", "a", "a is null", None),
    "a = tune(on='false')": (
        "wrong_type",
        "a",
        "on",
        '"false", wanted a boolean',
        "without quotes",
    ),
    "a = tune(on=0)": ("wrong_type", "a", "on", "on is 0", None),
    "a = tune(level=1.5)": ("out_of_range", "a", "level", "1.5", "at least 0, at most 1"),
    "a = tune(steps=9)": ("out_of_range", "a", "steps", "9", "more than 0, a multiple of 8"),
    "a = tune(mode='fats')": ("not_in_list", "a", "mode", '"fats"', "did you mean 'fast'?"),
    "a = tune(kind='zzz')": ("not_in_list", "a", "kind", '"zzz"', "one of: soft, hard"),
    "a = tune(size=[1])": ("bad_value", "a", "size", "[1]", None),
    "a = show(image=3)": ("not_a_value", "a", "image", "only takes a link", "link an output of"),
    "a = take(latent={'x': 1})": ("not_a_value", "a", "latent", "takes a link", "type latent"),
    "a = one()\nb = add(a=aa.result)": ("unknown_node", "b", "a", "'aa'", "did you mean 'a'?"),
    "a = one()\nb = add(a=a.reslt)": ("unknown_output", "b", "a", "'reslt'", "mean 'result'?"),
    "a = one()\nb = add(c=a.result, a=1)": ("unknown_input", "b", "c", "no input 'c'", "add has"),
    "a = both()\nb = show(image=a.count)": (
        "type_mismatch",
        "b",
        "image",
        "image wants image, but a.count gives int",
        "a.picture would fit",
    ),
    "a = text(value='x')\nb = add(a=a.result)": (
        "type_mismatch",
        "b",
        "a",
        "a wants int, but a.result gives str",
        "link an output of type int",
    ),
    "a = text(value='x')\nb = one()\nc = same(a=a.result, b=b.result)": (
        "type_mismatch",
        "c",
        "b",
        "b gives int, but str is linked beside it",
        "of one type",
    ),
    "a = text(value='x')\np = pick(condition=True, yes=a.result, no='y')\nb = add(a=p.result)": (
        "type_mismatch",
        "b",
        "a",
        "p.result gives str",
        None,
    ),
    "a = add(a=b.result)\nb = add(a=a.result)": ("cycle", "a", None, "a → b → a", "remove one"),
    "a = add(a=a.result)": ("cycle", "a", None, "a cycle: a → a", "remove one"),
    "a = load(file='no.txt')": ("bad_file", "a", "file", "there is no 'no.txt'", None),
    "a = load(file='../w.txt')": ("bad_file", "a", "file", "outside", "below the input folder"),
    "a = load(file='/etc/passwd')": ("bad_file", "a", "file", "outside", "below the input"),
    "a = load(file='C:/x.txt')": ("bad_file", "a", "file", "outside", None),
    "a = load(file='..\\\\x.txt')": ("bad_file", "a", "file", "outside", None),
    "a = load(file='.')": ("bad_file", "a", "file", "outside", None),
    "a = load(file='')": ("bad_value", "a", "file", 'file is ""', None),
    "a = load(file=3)": ("wrong_type", "a", "file", "file is 3", None),
}


@pytest.mark.parametrize("text", CASES)
def test_one_problem(lab: Any, text: str) -> None:
    (issue,) = problems(lab, text)
    code, name, input, message, hint = CASES[text]
    assert (issue.code, issue.node, issue.input) == (code, name, input)
    assert message in issue.message
    assert hint is None or hint in str(issue.hint)


def test_all_problems_at_once(lab: Any) -> None:
    alone = [text for text in CASES if "\n" not in text]
    lines = [
        text.replace("a = ", f"n{i} = ").replace("=a.", f"=n{i}.") for i, text in enumerate(alone)
    ]
    found = problems(
        lab,
        "\n".join(lines),
        params={"p": {"to": ["nowhere.x"]}, "q": {"to": ["n1.bb"]}},
        outputs={"o": "n1.nothing", "r": "gone.result"},
    )
    codes = [issue.code for issue in found]
    assert len(found) == len(alone) + 4
    assert set(codes) >= {CASES[text][0] for text in alone}


def test_params_and_outputs_lead_somewhere(lab: Any) -> None:
    found = problems(
        lab,
        "a = add(a=1)",
        params={"p": {"to": ["aa.x"]}, "q": {"to": ["a.bb"]}},
        outputs={"o": "a.nothing"},
    )
    assert [(issue.code, issue.hint) for issue in found] == [
        ("unknown_node", "did you mean 'a'?"),
        ("unknown_input", "did you mean 'b'?"),
        ("unknown_output", "a has: result"),
    ]


def test_two_cycles_and_a_self_loop_are_each_named(lab: Any) -> None:
    found = problems(
        lab,
        "a = add(a=b.result)\nb = add(a=a.result)\nc = add(a=e.result)\nd = add(a=c.result)\n"
        "e = add(a=d.result)\nf = add(a=f.result)\ng = add(a='x')",
    )
    cycles = [issue.message for issue in found if issue.code == "cycle"]
    assert cycles == ["a cycle: a → b → a", "a cycle: c → d → e → c", "a cycle: f → f"]
    assert [issue.code for issue in found if issue.node == "g"] == ["wrong_type"]


def test_a_long_cycle_is_told_shortly(lab: Any) -> None:
    lines = [f"n{i} = add(a=n{(i - 1) % 5000}.result)" for i in range(5000)]
    (issue,) = problems(lab, "\n".join(lines))
    assert len(issue.message) < 300 and "more" in issue.message


def test_a_workflow_of_many_typos_is_told_soon(lab: Any) -> None:
    begun = time.process_time()
    assert len(problems(lab, "\n".join(f"n{i} = add(a=x{i}.result)" for i in range(3000)))) == 3000
    assert time.process_time() - begun < 10
    assert nearest("x", map(str, range(10_000))) is None


def test_a_link_wins_over_a_value_that_stays_in_the_file(lab: Any, drawing: Any) -> None:
    flow = drawing("a = one()\nb = add(a=a.result)")
    data = flow.nodes["b"].model_copy(update={"values": {"a": 99}})
    flow = flow.model_copy(update={"nodes": {**flow.nodes, "b": data}})
    assert lab.engine.run(flow)["b.result"] == 2


def test_targets(lab: Any, drawing: Any) -> None:
    flow = drawing("a = one()\nb = add(a=a.result)\nc = add(a='x')")
    assert [step.id for step in lab.engine.plan(flow, ["b", "b"]).targets] == ["b"]
    assert lab.engine.run(flow, ["b"]).status == "success"
    with pytest.raises(WorkflowError) as caught:
        lab.engine.plan(flow, ["bb", "c"])
    assert [issue.code for issue in caught.value.issues] == ["unknown_target", "wrong_type"]


def test_without_targets_sinks_and_outputs_or_else_the_ends(lab: Any, drawing: Any) -> None:
    @node(sink=True)
    def keep(a: int) -> None: ...

    lab.build([keep])
    ends = "a = one()\nb = add(a=a.result)\nc = add(a=a.result, b=5)"
    targets = lambda *a, **k: {s.id for s in lab.plan(*a, **k).targets}  # noqa: E731
    assert targets(ends) == {"b", "c"}
    assert targets(ends + "\ns = keep(a=b.result)") == {"s"}
    assert targets(ends, outputs={"x": "a.result"}) == {"a"}


def test_type_variables_keep_types_through_a_switch(lab: Any) -> None:
    plan = lab.plan(
        "a = both()\np = pick(condition=True, yes=a.picture, no=a.picture)\nb = show(image=p.result)"
    )
    assert plan.steps["p"].types[0].name == "image"
    mixed = lab.plan("a = one()\nb = tune()\nc = same(a=a.result, b=b.result)")
    assert mixed.steps["c"].types[0].name == "float"


def test_versions_and_migrations(board: Any, drawing: Any) -> None:
    def migrate(values: Any, links: Any, version: int) -> Any:
        if version == 1:
            values["amount"] = values.pop("count") * 2
        return values, links

    @node(version=2, migrate=migrate)
    def grow(amount: int, extra: int = 0) -> int:
        return amount + extra

    board.build([grow])

    def saved(version: int, **values: Any) -> Any:
        flow = drawing("a = grow()")
        made = flow.nodes["a"].model_copy(update={"version": version, "values": values})
        return flow.model_copy(update={"nodes": {"a": made}})

    assert board.engine.run(saved(1, count=4))["a.result"] == 8
    assert board.engine.run(saved(2, amount=4))["a.result"] == 4
    newer = problems(board, saved(3, amount=4))
    assert [issue.code for issue in newer] == ["newer_version"]
    assert "update the pack" in newer[0].hint
    broken = problems(board, saved(1))
    assert broken[0].code == "bad_migration"


# --- live values in graphs


@pytest.mark.parametrize(
    "value",
    [np.arange(6).reshape(2, 3).T, (1, 2), {1: 2}, {1, 2}, float("nan"), object(), b"x", Mode.FAST],
    ids=lambda value: type(value).__name__,
)
def test_any_python_value_goes_through_a_graph_unchanged(lab: Any, value: Any) -> None:
    graph = Graph()
    ref = graph.add(anything, value=value)
    got = lab.engine.run(graph.returning(ref)).outputs["result"]
    assert type(got) is type(value) and (got is value or np.array_equal(got, value))


def test_equal_live_values_are_cached_by_content(lab: Any) -> None:
    def run(array: Any) -> tuple[str, ...]:
        graph = Graph()
        graph.add(anything, value=array)
        executed: tuple[str, ...] = lab.engine.run(graph).executed
        return executed

    assert run(np.zeros(4)) == ("anything",)
    assert run(np.zeros(4)) == ()
    assert run(np.ones(4)) == ("anything",)


@pytest.mark.parametrize("value", [np.float32(1), np.int64(1), Path("x"), "x", object()])
def test_a_live_value_of_another_type_is_an_issue_not_a_crash(lab: Any, value: Any) -> None:
    graph = Graph()
    graph.add(spec_add(lab), a=value)
    (issue,) = problems(lab, graph)
    assert (issue.node, issue.input) == ("add", "a")


def spec_add(lab: Any) -> Any:
    return lab.engine.registry["add"]


def test_enums_given_in_python(lab: Any) -> None:
    graph = Graph()
    graph.add(tune, mode=Mode.SLOW, size=(2, 3))
    step = lab.plan(graph).steps["tune"]
    assert step.values["mode"] is Mode.SLOW and step.values["size"] == (2, 3)
    assert step.signature == lab.plan("t = tune(mode='slow', size=[2, 3])").steps["t"].signature


# --- files


def test_files_are_confined(lab: Any) -> None:
    outside = lab.folder / "secret.txt"
    outside.write_text("secret")
    folder = lab.folder / "input"
    os.symlink(outside, folder / "link.txt")
    os.symlink(lab.folder, folder / "out")
    os.symlink(folder / "loop.txt", folder / "loop.txt")
    for name in ("link.txt", "out/secret.txt", "loop.txt"):
        (issue,) = problems(lab, f"a = load(file={name!r})")
        assert issue.code == "bad_file"
    (folder / "sub").mkdir()
    (folder / "sub" / "in.txt").write_text("inside")
    assert lab.run("a = load(file='sub/in.txt')")["a.result"] == "inside"


def test_a_missing_file_suggests_the_nearest(lab: Any) -> None:
    (lab.folder / "input" / "harbour.txt").write_text("x")
    (issue,) = problems(lab, "a = load(file='harbor.txt')")
    assert issue.hint == "did you mean 'harbour.txt'?"


def test_the_name_of_a_file_does_not_come_over_a_link(lab: Any) -> None:
    (lab.folder / "input" / "a.txt").write_text("x")
    (failure,) = lab.run("n = anything(value='a.txt')\na = load(file=n.result)").failures
    assert "over a link" in failure.message


def test_the_name_of_a_workflow(lab: Any, drawing: Any) -> None:
    (lab.folder / "workflows" / "sum.json").write_text(drawing("a = one()").text())
    assert lab.engine.run("sum")["a.result"] == 1
    with pytest.raises(FileError, match="did you mean 'sum'"):
        lab.engine.plan("summ")
    with pytest.raises(FileError):
        lab.engine.plan("../workflows/sum")
