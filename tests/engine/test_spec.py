"""What is read from a signature, what may be linked, and definitions that can not become nodes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, TypeVar

import pytest
from pydantic import Field

from graphengine import Choice, Color, File, Multiline, Progress, Ref, Seed, Socket, node
from graphengine.errors import DefinitionError
from graphengine.sockets import ANY, accepts, join, socket_type
from graphengine.spec import Input, spec_of

T = TypeVar("T")


class Tensor:
    pass


class Animal:
    pass


class Dog(Animal):
    pass


@dataclass(frozen=True)
class BigLatent:
    x: int


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Size(TypedDict):
    width: int


class Halves(NamedTuple):
    left: int
    right: list[float]


Image = Annotated[Tensor, Socket("image")]
Mask = Annotated[Tensor, Socket("mask")]


def test_all_kinds_of_parameters() -> None:
    @node(category="test/kinds", title="All kinds", aliases=("every",), version=3)
    def kinds(
        image: Image,
        size: Annotated[int, Field(ge=0, le=9, description="How big.")],
        whole: list[float],
        later: Ref[T],
        progress: Progress,
        mode: Mode = Mode.FAST,
        hint: str | None = None,
        **more: Image,
    ) -> Halves:
        """First line.

        Second.
        """
        raise NotImplementedError

    spec = spec_of(kinds)
    assert (spec.id, spec.title, spec.category) == ("test.kinds.kinds", "All kinds", "test/kinds")
    assert (spec.version, spec.aliases) == (3, ("every",))
    assert spec.doc == "First line.\n\nSecond."
    assert list(spec.inputs) == ["image", "size", "whole", "later", "mode", "hint"]
    assert spec.required == ("image", "size", "whole", "later")
    assert spec.resources == {"progress": Progress}
    inputs = spec.inputs
    assert inputs["image"].type.name == "image" and not inputs["image"].widget
    assert inputs["size"].description == "How big." and inputs["size"].widget
    assert inputs["whole"].many and inputs["whole"].type.name == "float"
    assert inputs["later"].deferred and inputs["later"].type.variable
    assert inputs["hint"].optional and not inputs["size"].optional
    assert spec.input("any_name") is spec.variadic and spec.input("progress") is None
    assert [(out.name, out.type.name, out.many) for out in spec.outputs] == [
        ("left", "int", False),
        ("right", "float", True),
    ]
    assert "test_spec.py" in spec.origin


def test_the_function_stays_the_same_function() -> None:
    def plain(a: int) -> int:
        return a + 1

    assert node(plain) is plain
    assert plain(1) == 2


def test_outputs_are_named_by_what_they_are() -> None:
    @node
    def image() -> Image: ...
    @node
    def latent() -> BigLatent: ...
    @node
    def number() -> int: ...
    @node
    def nothing() -> None: ...

    names = [[out.name for out in spec_of(f).outputs] for f in (image, latent, number, nothing)]
    assert names == [["image"], ["big_latent"], ["result"], []]


def test_an_optional_deferred_input_may_be_none() -> None:
    @node
    def later(a: Ref[int] | None = None) -> int: ...

    found = spec_of(later).inputs["a"]
    assert found.deferred and found.optional and found.check(3) == 3


BAD = {
    "a has no type": ("def f(a) -> int: ...", "'a' has no type", "write `a: int`"),
    "no return": ("def f(a: int): ...", "no return type", "-> Image"),
    "star": ("def f(*a: int) -> int: ...", "'a' can only be given by position", "**a: Type"),
    "position": ("def f(a: int, /) -> int: ...", "'a' can only be given by position", "name it"),
    "default": ("def f(a: int = 'x') -> int: ...", "default 'x' of 'a' is wrong", "of type int"),
    "none": ("def f(a: int = None) -> int: ...", "default None of 'a' is wrong", "| None"),
    "range": (
        "def f(a: Annotated[int, Field(ge=3)] = 1) -> int: ...",
        "default 1 of 'a' is wrong",
        "type int",
    ),
    "no type": ("def f(a: 3) -> int: ...", "'a'", "class"),
    "unknown": ("def f(a: 'Nowhere') -> int: ...", "Nowhere", "at run time"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_definition_names_the_parameter_and_the_remedy(name: str) -> None:
    text, wanted, remedy = BAD[name]
    scope: dict[str, Any] = {"Annotated": Annotated, "Field": Field, "__name__": "bad_pack"}
    exec(compile(text, "bad_pack.py", "exec", dont_inherit=True), scope)
    with pytest.raises(DefinitionError) as caught:
        node(scope["f"])
    assert wanted in caught.value.message and "bad_pack.f" in caught.value.message
    assert remedy in str(caught.value.hint)


def test_what_is_no_node() -> None:
    with pytest.raises(DefinitionError, match="put @node above"):
        spec_of(print)


# --- values


def one_input(hint: Any, default: Any = ...) -> Input:
    def f(a): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"a": hint, "return": int}
    if default is not ...:
        f.__defaults__ = (default,)
    return spec_of(node(f)).inputs["a"]


@pytest.mark.parametrize(
    ("hint", "given", "got"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (bool, True, True),
        (Mode, "slow", Mode.SLOW),
        (Mode, Mode.SLOW, Mode.SLOW),
        (Literal["a", "b"], "b", "b"),
        (tuple[int, int], [1, 2], (1, 2)),
        (tuple[int, int], (1, 2), (1, 2)),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (dict[str, int], {"x": 1}, {"x": 1}),
        (int | None, None, None),
        (int | str, "x", "x"),
        (Size, {"width": 3}, {"width": 3}),
        (Annotated[int, Seed()], 2**64 - 1, 2**64 - 1),
        (Annotated[str, Color()], "#00ff7f", "#00ff7f"),
        (Annotated[str, Choice(("x", "y"))], "y", "y"),
    ],
)
def test_values_that_fit(hint: Any, given: Any, got: Any) -> None:
    value = one_input(hint).check(given)
    assert value == got and type(value) is type(got)


@pytest.mark.parametrize(
    ("hint", "given"),
    [
        (int, "7"),
        (int, 1.5),
        (int, True),
        (float, True),
        (float, "1"),
        (bool, "false"),
        (bool, 0),
        (str, 3),
        (Mode, "slower"),
        (Literal["a"], "c"),
        (tuple[int, int], [1]),
        (int, None),
        (Annotated[int, Seed()], -1),
        (Annotated[int, Seed()], 2**64),
        (Annotated[str, Color()], "red"),
        (Annotated[str, Choice(("x",))], "z"),
        (str, b"bytes"),
        (int, object()),
    ],
)
def test_values_that_do_not_fit(hint: Any, given: Any) -> None:
    with pytest.raises(ValueError):
        one_input(hint).check(given)


def test_schemas_carry_range_default_and_widget() -> None:
    assert one_input(Annotated[float, Field(ge=0, le=1)], 0.5).schema() == {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.5,
    }
    assert one_input(Annotated[str, Multiline()], "").schema() == {
        "type": "string",
        "default": "",
        "x-widget": {"kind": "multiline"},
    }
    file = one_input(Annotated[Path, File("checkpoints", (".safetensors",))]).schema()
    assert file["x-widget"]["folder"] == "checkpoints" and file["type"] == "string"
    seed = one_input(Annotated[int, Seed()], 0).schema()
    assert (seed["minimum"], seed["maximum"], seed["x-widget"]) == (0, 2**64 - 1, {"kind": "seed"})
    assert one_input(Mode, Mode.FAST).schema()["default"] == "fast"
    assert one_input(Image).schema() == {}
    assert one_input(Annotated[str, Choice(("x", "y"))], "x").schema()["enum"] == ["x", "y"]


# --- sockets


ACCEPTS = [
    (float, int, True),
    (int, float, False),
    (int, bool, False),
    (float, bool, False),
    (str, int, False),
    (Animal, Dog, True),
    (Dog, Animal, False),
    (Image, Image, True),
    (Image, Mask, False),
    (Image, Tensor, False),
    (Any, Image, True),
    (Image, Any, True),
    (int | str, str, True),
    (int | str, float, False),
    (int, int | str, False),
    (float | str, int | str, True),
    (int | None, int, True),
    (Literal["a"], str, True),
    (Mode, str, True),
    (T, Image, True),
    (Image, T, True),
    (dict[str, int], Size, True),
    (Size, dict, True),
]


@pytest.mark.parametrize(("target", "source", "wanted"), ACCEPTS)
def test_what_may_be_linked(target: Any, source: Any, wanted: bool) -> None:
    assert accepts(socket_type(target), socket_type(source)) is wanted


def test_join_of_types() -> None:
    number, whole, text = map(socket_type, (float, int, str))
    assert join(number, whole) == join(whole, number) == number
    assert join(number, text) is None
    assert join(ANY, text) == ANY


def test_colors_follow_from_names() -> None:
    assert socket_type(Image).color == socket_type(Image).color != socket_type(Mask).color
    assert len(socket_type(Image).color) == 7
