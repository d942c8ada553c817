"""Lists. A node behind a list is called once for each of its items."""

from __future__ import annotations

import builtins
from typing import Annotated, Any, TypeVar

from pydantic import Field

from graphengine import node

T = TypeVar("T")


@node(category="list", title="Collect")
def collect(**items: T) -> list[T]:
    """Make a list of everything that is linked, in the order of the links."""
    return list(items.values())


@node(category="list", title="Range")
def range(
    start: int = 0,
    stop: int = 4,
    step: Annotated[int, Field(description="May be negative, not 0.")] = 1,
) -> list[int]:
    """Whole numbers from `start` up to, not including, `stop`: seeds for a series of pictures, say."""
    return list(builtins.range(start, stop, step))


@node(category="list", title="Lines")
def lines(text: str = "") -> list[str]:
    """The lines of a text, without empty ones: one prompt each, say."""
    return [line.strip() for line in text.splitlines() if line.strip()]


@node(category="list", title="Length")
def length(items: list[Any]) -> int:
    """How many items a list has."""
    return len(items)
