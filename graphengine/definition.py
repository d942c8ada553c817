"""`@node`: a typed function becomes a node. The signature is read once, here, into a frozen
`NodeSpec`.

A parameter is one of four things, told by its hint: a value or link (any type), a whole list
(`list[T]`), a deferred link (`Ref[T]`), or a resource (a `Resource` subclass, supplied by the
worker). `**images: Image` takes any number.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from graphengine.errors import DefinitionError
from graphengine.ref import Answer, Ref
from graphengine.resource import Resource
from graphengine.sockets import Socket, socket_type
from graphengine.spec import MISSING, Input, Migration, NodeSpec, Output, json_form

F = TypeVar("F", bound=Callable[..., Any])


@overload
def node(function: F, /) -> F: ...
@overload
def node(
    *,
    id: str | None = ...,
    category: str = ...,
    title: str | None = ...,
    aliases: Sequence[str] = ...,
    version: int = ...,
    cache: bool = ...,
    sink: bool = ...,
    migrate: Migration | None = ...,
) -> Callable[[F], F]: ...
def node(
    function: F | None = None,
    /,
    *,
    id: str | None = None,
    category: str = "",
    title: str | None = None,
    aliases: Sequence[str] = (),
    version: int = 1,
    cache: bool = True,
    sink: bool = False,
    migrate: Migration | None = None,
) -> F | Callable[[F], F]:
    """Mark a function as a node and return the same function.

    `id` is what workflow files call it, `category.name` unless given. `aliases` are found by search
    too. `cache=False`: equal inputs may give another result. `sink`: it has an effect of its own
    (saves a file) and is a target of a run. Raises `DefinitionError` naming the parameter that
    can't be read and what to write instead.
    """

    def mark(function: F) -> F:
        name = function.__name__
        spec = read(
            function,
            id=id or (f"{category.replace('/', '.')}.{name}" if category else name),
            title=title or name.replace("_", " ").capitalize(),
            category=category or (id.rpartition(".")[0] if id else ""),
            aliases=tuple(aliases),
            version=version,
            cache=cache,
            sink=sink,
            migrate=migrate,
        )
        function.__node__ = spec  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)


def read(function: Callable[..., Any], **facts: Any) -> NodeSpec:
    place = f"node {facts['id']!r} ({function.__module__}.{function.__qualname__})"
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as cause:
        hint = "import the names in its hints at run time, not only for type checking"
        raise DefinitionError(f"{place}: a hint can't be read: {cause}", hint) from cause
    inputs: dict[str, Input] = {}
    resources: dict[str, type[Resource]] = {}
    variadic = None
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            remedy = f"name it: `**{name}: Type` takes any number of links, by name"
            raise DefinitionError(
                f"{place}: parameter {name!r} can only be given by position", remedy
            )
        if name not in hints:
            raise DefinitionError(
                f"{place}: parameter {name!r} has no type", f"write `{name}: int`, say"
            )
        hint = hints[name]
        if isinstance(hint, type) and issubclass(hint, Resource):
            resources[name] = hint
            continue
        read_one = _read_input(place, parameter, hint)
        if read_one.variadic:
            variadic = read_one
        else:
            inputs[name] = read_one
    if "return" not in hints:
        raise DefinitionError(f"{place}: no return type", "write `-> Image`, say, or `-> None`")
    outputs, fields = _read_outputs(place, hints["return"])
    return NodeSpec(
        function=function,
        doc=inspect.cleandoc(function.__doc__ or ""),
        inputs=inputs,
        variadic=variadic,
        outputs=outputs,
        resources=resources,
        asynchronous=inspect.iscoroutinefunction(function),
        fields=fields,
        output_index={output.name: index for index, output in enumerate(outputs)},
        **facts,
    )


def _read_input(place: str, parameter: inspect.Parameter, hint: Any) -> Input:
    name, whole = parameter.name, hint
    deferred = get_origin(_bare(hint)) is Ref
    if deferred:
        inner = get_args(_bare(hint))[0]
        whole = hint = Union[inner, None] if types.NoneType in get_args(hint) else inner  # noqa: UP007
    many = get_origin(_bare(hint)) is list
    inner = get_args(_bare(hint))[0] if many else hint
    try:
        kind = socket_type(inner)
    except TypeError as cause:
        raise DefinitionError(
            f"{place}: parameter {name!r}: {cause}", "use a class, a union or Any"
        ) from cause
    found = Input(
        name=name,
        hint=whole,
        type=kind,
        default=parameter.default,
        many=many,
        deferred=deferred,
        variadic=parameter.kind is parameter.VAR_KEYWORD,
    )
    if found.default is not MISSING and found.widget and type(found.default) is not found.plain:
        try:
            found.adapter.validate_python(json_form(found.default), strict=False)
        except (ValueError, TypeError) as cause:
            remedy = f"give a default of type {kind}, or `| None` in the hint"
            raise DefinitionError(
                f"{place}: default {found.default!r} of {name!r} is wrong", remedy
            ) from cause
    return found


def _read_outputs(place: str, hint: Any) -> tuple[tuple[Output, ...], type[tuple[Any, ...]] | None]:
    hint = _without_answers(hint)
    if hint is types.NoneType or hint is None:
        return (), None
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        fields = get_type_hints(hint, include_extras=True)
        return tuple(_read_output(place, name, fields[name]) for name in hint._fields), hint
    return (_read_output(place, None, hint),), None


def _read_output(place: str, name: str | None, hint: Any) -> Output:
    hint = _without_answers(hint)
    many = get_origin(_bare(hint)) is list
    inner = get_args(_bare(hint))[0] if many else hint
    try:
        kind = socket_type(inner)
    except TypeError as cause:
        raise DefinitionError(
            f"{place}: output {name or 'result'}: {cause}", "use a class or a union"
        ) from cause
    if name is None:
        named = kind.marked or (kind.python is not None and is_dataclass(kind.python))
        name = kind.name if named else "result"
    return Output(name, kind, many)


def _without_answers(hint: Any) -> Any:
    """`T` of `T | Graph`, `Ref[T]` and the like; `Any` where only an answer is named."""
    arms = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    values = [
        arm
        for arm in arms
        if not (
            isinstance(get_origin(arm) or arm, type) and issubclass(get_origin(arm) or arm, Answer)
        )
    ]
    if values:
        return Union[tuple(values)]  # noqa: UP007 - built at run time
    inner = next((get_args(arm)[0] for arm in arms if get_args(arm)), Any)
    return inner


def _bare(hint: Any) -> Any:
    """The hint without `Annotated` and without `| None`."""
    if get_origin(hint) is Annotated and not any(isinstance(m, Socket) for m in get_args(hint)[1:]):
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        arms = [arm for arm in get_args(hint) if arm is not types.NoneType]
        if len(arms) == 1:
            return _bare(arms[0])
    return hint
