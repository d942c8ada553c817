"""What is known about a type of node: `NodeSpec`, with its `Input`s and `Output`s. All frozen."""

from __future__ import annotations

import enum
import inspect
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, is_typeddict

from graphengine.errors import DefinitionError
from graphengine.resource import Resource
from graphengine.sockets import PLAIN, File, SocketType, is_json

F = TypeVar("F", bound=Callable[..., Any])
MISSING: Any = inspect.Parameter.empty
Migration = Callable[[dict[str, Any], dict[str, Any], int], tuple[dict[str, Any], dict[str, Any]]]
"""(values, links, version they were saved with) -> (values, links) for the version of today."""


@dataclass(frozen=True)
class Input:
    """One input of a node, as its parameter's hint tells it."""

    name: str
    hint: Any
    type: SocketType
    default: Any = MISSING
    many: bool = False
    deferred: bool = False
    variadic: bool = False

    @property
    def required(self) -> bool:
        return self.default is MISSING and not self.variadic

    @property
    def optional(self) -> bool:
        """Whether None may stand in for a value."""
        return self.default is None or types.NoneType in get_args(self.hint)

    @cached_property
    def widget(self) -> bool:
        """Whether a value can stand in the workflow file; if not, the input is only linked."""
        return is_json(self.hint)

    @cached_property
    def plain(self) -> Any:
        """The type whose values need no further check, if the hint is just one of bool, int, float
        and str.
        """
        return self.hint if self.hint in PLAIN else None

    @cached_property
    def file(self) -> File | None:
        return next((mark for mark in _marks(self.hint) if isinstance(mark, File)), None)

    @cached_property
    def adapter(self) -> Any:
        """pydantic's `TypeAdapter` of the hint, strict: "7" is no number and "false" no boolean."""
        from pydantic import ConfigDict, TypeAdapter

        hint = Any if isinstance(self.hint, TypeVar) else self.hint
        if is_typeddict(hint):  # pydantic reads it from Python 3.12 on only
            hint = dict[str, Any]
        return TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True))

    def check(self, value: Any) -> Any:
        """The value as the function gets it. Raises pydantic's `ValidationError`."""
        if type(value) is self.plain:
            return value
        try:
            return self.adapter.validate_python(value)
        except ValueError:
            # an enum's value and a tuple's list are only known in JSON form
            form = json_form(value)
            if type(form) is type(value) or isinstance(value, (enum.Enum, tuple)):
                return self.adapter.validate_json(json.dumps(form))
            raise

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the value, with default, widget and description."""
        schema: dict[str, Any] = dict(self.adapter.json_schema()) if self.widget else {}
        if self.default is not MISSING and self.widget:
            schema["default"] = json_form(self.default)
        return schema

    @property
    def description(self) -> str:
        from pydantic.fields import FieldInfo

        found = (mark.description for mark in _marks(self.hint) if isinstance(mark, FieldInfo))
        return next((text for text in found if text), "")


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a node. `many`: it gives a list, over which the nodes behind it are mapped."""

    name: str
    type: SocketType
    many: bool = False


@dataclass(frozen=True)
class NodeSpec:
    """Everything that is known about a type of node. Made by `@node`; nothing inspects the function
    again.
    """

    id: str
    function: Callable[..., Any]
    title: str
    category: str
    doc: str
    inputs: Mapping[str, Input]
    variadic: Input | None
    outputs: tuple[Output, ...]
    resources: Mapping[str, type[Resource]]
    aliases: tuple[str, ...] = ()
    version: int = 1
    cache: bool = True
    sink: bool = False
    asynchronous: bool = False
    fields: type[tuple[Any, ...]] | None = None
    migrate: Migration | None = None
    output_index: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The inputs that may be left out, with what stands in for them."""
        return {i.name: i.default for i in self.inputs.values() if i.default is not MISSING}

    @cached_property
    def written_defaults(self) -> dict[str, Any]:
        """The defaults as they enter a signature."""
        from pydantic_core import to_jsonable_python

        return {
            name: to_jsonable_python(value, fallback=repr) for name, value in self.defaults.items()
        }

    @cached_property
    def output_types(self) -> tuple[SocketType, ...]:
        return tuple(output.type for output in self.outputs)

    @cached_property
    def output_many(self) -> tuple[bool, ...]:
        return tuple(output.many for output in self.outputs)

    @cached_property
    def generic(self) -> bool:
        """Whether the type of an output, or of links beside each other, is found out in a plan."""
        kinds = [*self.output_types, *(i.type for i in self.inputs.values())]
        return any(kind.variable for kind in kinds) or bool(
            self.variadic and self.variadic.type.variable
        )

    @cached_property
    def file_inputs(self) -> tuple[str, ...]:
        """The inputs that name files. (A variadic one answers for all of its names.)"""
        return tuple(i.name for i in self.inputs.values() if i.file is not None)

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(i.name for i in self.inputs.values() if i.required)

    @property
    def origin(self) -> str:
        """Where the function is written: `module.function (file:line)`."""
        code = inspect.unwrap(self.function).__code__
        return (
            f"{self.function.__module__}.{self.function.__qualname__} "
            f"({code.co_filename}:{code.co_firstlineno})"
        )

    def input(self, name: str) -> Input | None:
        """The input of this name; a variadic parameter answers to every name that is not taken."""
        found = self.inputs.get(name)
        return found or (self.variadic if name not in self.resources else None)


def spec_of(function: Callable[..., Any] | NodeSpec) -> NodeSpec:
    """The spec that `@node` hung on a function."""
    spec = function if isinstance(function, NodeSpec) else getattr(function, "__node__", None)
    if not isinstance(spec, NodeSpec):
        raise DefinitionError(f"{function!r} is no node", "put @node above its definition")
    return spec


def json_form(value: Any) -> Any:
    """A value as it would stand in a file: an enum by its value, a path by its text.

    Raises `ValueError` for an object that has no such form.
    """
    from pydantic_core import to_jsonable_python

    return value if type(value) in PLAIN else to_jsonable_python(value)


def _marks(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return (*marks, *_marks(inner))
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(mark for arm in get_args(hint) for mark in _marks(arm))
    return ()
