"""Python types as socket types: what may be linked to what, and the markers that make widgets.

A hint becomes a `SocketType`: a class, a name given by `Annotated[..., Socket("image")]`, a union,
a type variable, or anything at all. Markers stand in `Annotated` and teach pydantic what they mean,
so that one `TypeAdapter` of the hint validates a value and writes its JSON Schema.
"""

from __future__ import annotations

import colorsys
import enum
import hashlib
import re
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class Socket:
    """Names a socket type: `Image = Annotated[Tensor, Socket("image")]` keeps pictures apart from
    other tensors.
    """

    name: str


class Widget:
    """A marker that tells how an input is edited. Its fields go into the JSON Schema under
    `x-widget`.
    """

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        fields = {name: value for name, value in vars(self).items() if value}
        return {**handler(core_schema), "x-widget": {"kind": type(self).__name__.lower(), **fields}}


@dataclass(frozen=True)
class Multiline(Widget):
    """A text of several lines."""


@dataclass(frozen=True)
class Color(Widget):
    """A colour, `#rrggbb`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.str_schema(pattern="^#[0-9a-fA-F]{6}$", strict=True)


@dataclass(frozen=True)
class Seed(Widget):
    """A whole number of 64 bits that starts a generator of noise."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.int_schema(ge=0, le=2**64 - 1, strict=True)


@dataclass(frozen=True)
class Choice(Widget):
    """One of the names given, for lists that are made by code: `Choice(tuple(SAMPLERS))`."""

    options: tuple[str, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.literal_schema(list(self.options))


@dataclass(frozen=True)
class File(Widget):
    """A file (or a folder that is one model) below a kind of folder, given by its name there.

    Stands on a parameter of type `Path`. The function gets an absolute path; the content is part of
    the signature.
    """

    folder: str
    suffixes: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.str_schema(min_length=1, strict=True)


@dataclass(frozen=True, slots=True)
class SocketType:
    """What a socket carries. Exactly one of the fields beside `name` is set; none means anything at
    all.
    """

    name: str
    python: type | None = None
    marked: bool = False
    members: tuple[SocketType, ...] = ()
    variable: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def anything(self) -> bool:
        return not (self.python or self.marked or self.members or self.variable)

    @property
    def color(self) -> str:
        """A colour that follows from the name alone, `#rrggbb`."""
        digest = hashlib.sha256(self.name.encode()).digest()
        red, green, blue = colorsys.hls_to_rgb(digest[0] / 256, 0.62, 0.55)
        return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


ANY = SocketType("any")


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def socket_type(hint: Any) -> SocketType:
    """The socket type of a hint. Literals and enums are their values' type; generics are their
    origin.
    """
    if hint is Any or hint is object:
        return ANY
    if isinstance(hint, TypeVar):
        return SocketType(hint.__name__, variable=True)
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *marks = get_args(hint)
        named = next((mark for mark in marks if isinstance(mark, Socket)), None)
        return SocketType(named.name, marked=True) if named else socket_type(inner)
    if origin in (Union, types.UnionType):
        return union(
            socket_type(member) for member in get_args(hint) if member is not types.NoneType
        )
    if origin is Literal:
        return union(socket_type(type(value)) for value in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return union(socket_type(type(member.value)) for member in hint)
    kind = dict if typing.is_typeddict(hint) else origin or hint
    if not isinstance(kind, type):
        raise TypeError(f"{hint!r} is no type that a socket can have")
    return SocketType(snake_case(kind.__name__), python=kind)


def union(types: Iterable[SocketType]) -> SocketType:
    members = tuple(dict.fromkeys(types))
    if any(member.anything for member in members):
        return ANY
    if len(members) == 1:
        return members[0]
    return SocketType(" or ".join(member.name for member in members), members=members)


def accepts(target: SocketType, source: SocketType) -> bool:
    """Whether a value of `source` may be linked to `target`. An int passes as a float, a bool as
    neither.

    Anything goes into and comes out of an untyped socket; such a value is checked when it is there.
    """
    if target == source or target.anything or source.anything or target.variable or source.variable:
        return True
    if source.members:
        return all(accepts(target, member) for member in source.members)
    if target.members:
        return any(accepts(member, source) for member in target.members)
    if target.python is None or source.python is None:
        return False
    if target.python is float and source.python is int:
        return True
    if source.python is bool and target.python in (int, float):
        return False
    try:
        return issubclass(source.python, target.python)
    except TypeError:  # a protocol that can't be asked; such a value is checked when it is there
        return True


def join(one: SocketType, other: SocketType) -> SocketType | None:
    """The type that a type variable gets when both are linked to it, or None if they don't go
    together.
    """
    if accepts(one, other):
        return one
    return other if accepts(other, one) else None


PLAIN = (bool, int, float, str)
"""Types whose JSON form is the value itself."""


def is_json(hint: Any) -> bool:
    """Whether a value of this hint can be written in a workflow file (else it only comes over a
    link).
    """
    if hint is Any or hint is types.NoneType or isinstance(hint, TypeVar):
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if any(isinstance(mark, Socket) for mark in arguments[1:]):
            return False
        return any(isinstance(mark, File) for mark in arguments[1:]) or is_json(arguments[0])
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType, list, dict, tuple):
        return all(is_json(argument) for argument in arguments if argument is not Ellipsis)
    if not isinstance(hint, type):
        return False
    return (
        hint in (*PLAIN, list, dict, tuple)
        or issubclass(hint, enum.Enum)
        or typing.is_typeddict(hint)
    )
