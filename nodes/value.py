"""Values as nodes, so that several inputs can share one."""

from __future__ import annotations

from typing import Annotated

from graphengine import Multiline, Seed, node


@node(category="value", aliases=("PrimitiveInt",))
def integer(value: int = 0) -> int:
    """A whole number."""
    return value


@node(category="value", aliases=("PrimitiveFloat",))
def number(value: float = 0.0) -> float:
    """A number."""
    return value


@node(category="value", aliases=("PrimitiveString", "PrimitiveStringMultiline"))
def text(value: Annotated[str, Multiline()] = "") -> str:
    """A text."""
    return value


@node(category="value", aliases=("PrimitiveBoolean",))
def boolean(value: bool = False) -> bool:
    """True or false."""
    return value


@node(category="value")
def seed(value: Annotated[int, Seed()] = 0) -> int:
    """A seed of noise, for several samplers at once."""
    return value
